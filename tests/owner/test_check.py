"""The self-check in the back office: what it shows, keeps and leaves alone."""

from collections.abc import Callable

import pytest
from flask import Flask
from sqlalchemy import select, text

from shop import doctor
from shop.db import db
from shop.doctor import reach
from shop.doctor.host import Finding
from shop.owner import owners
from shop.payments.models import KeyValue
from tests.actors import Browser
from tests.databases import on_all
from tests.owner.conftest import EMAIL, PASSWORD, sign_in


def rows(owner: Browser, method: str = "get") -> dict[str, dict[str, str]]:
    """Return what a program is told, by name."""
    form = {} if method == "get" else {"csrf_token": owner.token()}
    answer = owner._request(method.upper(), "/owner/check", form, {"Accept": "application/json"})
    assert answer.status == 200
    return {row["name"]: row for row in answer.json}


@on_all
def test_what_was_found_is_kept_until_it_is_looked_at_again(
    app: Flask, owner: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = owner.get("/owner/check").words
    assert "Nothing is wrong with what could be looked at" in page
    assert "Database Not known Not looked at yet. What to do: Press “Check now”." in page
    damaged = Finding("database", "broken", "綿が破れました \x00 " * 99, "直して")
    monkeypatch.setitem(doctor.SLOW, "database", lambda: damaged)
    for _ in range(2):
        answer = owner.submit("/owner/check", {})
        assert (answer.status, answer.headers["Location"]) == (303, "/owner/check")
    page = owner.get("/owner/check").words
    assert "Database Broken 綿が破れました" in page
    assert page.index("Database Broken") < page.index("Python Fine")
    assert "All is well" not in page
    assert "Looked at on" in page
    assert "The shop’s self-check found 1 thing" in owner.get("/owner/").words
    monkeypatch.undo()
    assert rows(owner)["database"]["verdict"] == "broken"  # nobody has looked since
    assert {*rows(owner, "post")["database"]} == {"name", "verdict", "what", "todo"}
    assert "All is well" in owner.get("/owner/check").words
    assert "self-check" not in owner.get("/owner/").words
    with app.app_context():
        kept = db.session.scalars(select(KeyValue.name)).all()
        assert [name for name in kept if name.startswith("check")] == ["check sandbox"]


def test_today_looks_only_at_what_costs_no_time(
    app: Flask, owner: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(
        doctor, "SLOW", {name: lambda: asked.append("slow") for name in doctor.SLOW}
    )
    with app.app_context(), db.engine.begin() as connection:
        connection.execute(text("UPDATE products SET active = 0"))
    assert "The shop’s self-check found 1 thing" in owner.get("/owner/").words
    assert (
        "Goods on the shelf Worth a look Nothing is on the shelf."
        in owner.get("/owner/check").words
    )
    assert not asked
    owner.submit("/owner/check", {})
    assert len(asked) == len(doctor.SLOW)


def test_a_request_does_not_ask_its_own_shop(
    make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(SHOP_PUBLIC_URL="https://shop.example", SHOP_PROXY="for=1,proto=1")
    with app.app_context():
        owners.add(EMAIL, PASSWORD)
    owner = Browser(app, "https://shop.example")
    assert sign_in(owner).status == 303
    exposed = Finding("exposed", "broken", "Everybody can read them")
    asked = [exposed]
    monkeypatch.setattr(doctor, "FROM_OUTSIDE", {"address": asked.pop, "exposed": asked.pop})
    found = rows(owner, "post")
    assert asked == [exposed]
    assert found["address"]["todo"] == "Run “flask shop doctor” on the shop’s server."
    monkeypatch.setitem(doctor.FROM_OUTSIDE, "address", lambda: None)
    app.test_cli_runner().invoke(args=["shop", "doctor"])
    # What the command has found stays until the command finds something else.
    found = rows(owner, "post")
    assert (found["exposed"]["verdict"], "address" in found) == ("broken", False)
    assert found["visit"]["what"].startswith("This visit seems to come from a machine beside")
    assert "for=2,proto=2" in found["visit"]["todo"]
    far = owner.get("/owner/check", Accept="application/json", X_Forwarded_For="8.8.8.8").json
    assert {row["name"]: row["verdict"] for row in far}["visit"] == "ok"


def test_a_proxy_that_is_not_told_of(make_app: Callable[..., Flask]) -> None:
    app = make_app(SHOP_PUBLIC_URL="https://shop.example")
    with app.app_context():
        plain = reach.visit("http", "8.8.8.8")
        assert plain is not None
        assert plain.verdict == "look"
        assert "SHOP_PROXY=for=1,proto=1" in plain.todo
        for remote in ("127.0.0.1", "10.0.0.7", "::1", "", None):
            near = reach.visit("https", remote)
            assert near is not None
            assert near.verdict == "look", remote
        far = reach.visit("https", "2606:4700::1111")
        assert far is not None
        assert far.verdict == "ok"
    with make_app().app_context():
        assert reach.visit("http", "127.0.0.1") is None
