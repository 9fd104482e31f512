"""The way into the back office, and that there is no other."""

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
import time_machine
from flask import Flask
from sqlalchemy import select

from shop.db import db, end_read, now
from shop.owner import owners
from shop.owner.models import AuditEntry, Owner, OwnerSession
from tests.actors import Browser
from tests.databases import on_all
from tests.owner.conftest import EMAIL, PASSWORD, sign_in
from tests.pages import send

METHOD = owners.METHOD
OPEN = {"owner.login", "owner.sign_in", "owner.way_in", "owner.take_way_in"}


def say(app: Flask, *arguments: str, given: str | None = None) -> str:
    result = app.test_cli_runner().invoke(args=["shop", *arguments], input=given)
    assert result.exit_code == 0, result.output
    return str(result.output)


def refused(app: Flask, *arguments: str, given: str | None = None) -> str:
    result = app.test_cli_runner().invoke(args=["shop", *arguments], input=given)
    assert result.exit_code == 1, result.output
    return str(result.output)


def addresses(app: Flask) -> list[tuple[str, str, str]]:
    """Return endpoint, address and method of everything under /owner."""
    found = []
    for rule in app.url_map.iter_rules():
        if rule.rule.startswith("/owner"):
            path = re.sub(r"<row:\w+>", "1", rule.rule).replace("<token>", "t")
            found += [(rule.endpoint, path, method) for method in sorted(rule.methods or ())]
    return found


def test_a_stranger_opens_nothing(app: Flask) -> None:
    stranger = Browser(app)
    token = stranger.token()
    seen = 0
    for endpoint, path, method in addresses(app):
        if endpoint in OPEN:
            continue
        for given in ({}, {"csrf_token": token}):
            answer = stranger._request(method, path, given if method == "POST" else None, {})
            assert answer.status in (303, 400, 401), (path, method, answer.status)
            if answer.status == 303:
                assert answer.headers["Location"].startswith("/owner/login"), path
            seen += 1
    assert seen > 30
    for method in ("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"):
        assert stranger._request(method, "/owner/nothing-here", None, {}).status >= 400
        assert stranger._request(method, "/owner/goods", None, {}).status != 200


def test_programs_are_told_that_they_are_strangers(app: Flask) -> None:
    answer = Browser(app).get("/owner/goods", Accept="application/json")
    assert (answer.status, answer.json["error"]["code"]) == (401, "not_signed_in")


@on_all
def test_an_owner_comes_in_and_goes_out(app: Flask, make_owner: Callable[..., None]) -> None:
    make_owner()
    browser = Browser(app)
    wanted = browser.get("/owner/goods?q=mug").headers["Location"]
    answer = sign_in(browser, email=f"  {EMAIL.upper()} ", next="/owner/goods?q=mug")
    assert "next=" in wanted
    assert (answer.status, answer.headers["Location"]) == (303, "/owner/goods?q=mug")
    page = browser.get("/owner/goods")
    assert page.status == 200
    assert page.headers["Cache-Control"] == "no-store"
    assert page.headers["X-Robots-Tag"] == "noindex"
    assert "form-action 'self';" in page.headers["Content-Security-Policy"] + ";"
    assert "stripe" not in page.headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]
    assert browser.submit("/owner/logout", {}).status == 303
    assert browser.get("/owner/goods").status == 303


@pytest.mark.parametrize(
    "elsewhere",
    ["https://evil.example/owner/", "//evil.example/owner/", "/shop/", "/owner", "javascript:alert",
     "/\\evil.example", "/owner/\nX: y", "", "/owners/"],
)  # fmt: skip
def test_next_leads_nowhere_else(app: Flask, owner: Browser, elsewhere: str) -> None:
    answer = sign_in(Browser(app), next=elsewhere)
    assert answer.headers["Location"] == "/owner/"


@pytest.mark.parametrize(
    ("email", "password"),
    [
        (EMAIL, "wrong"), (EMAIL, ""), ("", ""), ("nobody@shop.example", PASSWORD),
        (EMAIL, PASSWORD + " "), ("hana\x00@shop.example", PASSWORD), ("é" * 300, "x" * 5000),
    ],
)  # fmt: skip
def test_who_is_wrong_stays_out_and_keeps_the_address(
    app: Flask, make_owner: Callable[..., None], email: str, password: str
) -> None:
    make_owner()
    browser = Browser(app)
    answer = sign_in(browser, email, password)
    assert answer.status == 422
    assert "Address or password is wrong" in answer.words
    if email.isprintable() and email:
        assert email in answer.text
    if len(password) > 3:
        assert f'value="{password}"' not in answer.text
    assert browser.get("/owner/").status == 303


def test_an_account_takes_a_few_tries_and_others_are_free(
    app: Flask, make_owner: Callable[..., None]
) -> None:
    make_owner()
    make_owner("ken@shop.example")
    for _ in range(10):
        assert sign_in(Browser(app), password="wrong").status == 422
    answer = sign_in(Browser(app))
    assert answer.status == 429
    assert int(answer.headers["Retry-After"]) > 0
    assert EMAIL in answer.text
    assert sign_in(Browser(app), "ken@shop.example").status == 303


def test_the_cookie_opens_nothing_after_the_password_is_changed(app: Flask, owner: Browser) -> None:
    thief = Browser(app)
    assert sign_in(thief).status == 303
    assert thief.get("/owner/").status == 200
    wrong = owner.submit("/owner/account", {"present": "no", "password": "another password"})
    assert wrong.status == 422
    assert "not your present password" in wrong.words
    short = owner.submit("/owner/account", {"present": PASSWORD, "password": "short"})
    assert short.status == 422
    answer = owner.submit("/owner/account", {"present": PASSWORD, "password": "another password"})
    assert answer.status == 303
    assert owner.get("/owner/").status == 200
    assert thief.get("/owner/").status == 303
    assert sign_in(Browser(app)).status == 422
    assert sign_in(Browser(app), password="another password").status == 303


def test_a_browser_is_signed_out_from_another(app: Flask, owner: Browser) -> None:
    other, third = Browser(app), Browser(app)
    sign_in(other)
    sign_in(third)
    page = owner.get("/owner/account").text
    ids = re.findall(r"/owner/account/sessions/(\d+)/end", page)
    assert len(ids) == 3
    with app.app_context():
        rows = db.session.scalars(select(OwnerSession).order_by(OwnerSession.id)).all()
        second = rows[1].id
    assert owner.submit(f"/owner/account/sessions/{second}/end", {}).status == 303
    assert [b.get("/owner/").status for b in (owner, other, third)] == [200, 303, 200]
    owner.submit("/owner/account/sessions/end", {})
    assert [b.get("/owner/").status for b in (owner, third)] == [200, 303]


def test_nobody_ends_the_sessions_of_another_owner(
    app: Flask, owner: Browser, make_owner: Callable[..., None]
) -> None:
    make_owner("ken@shop.example")
    ken = Browser(app)
    sign_in(ken, "ken@shop.example")
    ken.submit("/owner/account/sessions/1/end", {})
    assert owner.get("/owner/").status == 200


def test_signing_in_changes_token_and_session(app: Flask, make_owner: Callable[..., None]) -> None:
    make_owner()
    browser = Browser(app)
    before = browser.token()
    sign_in(browser)
    stale = browser.post("/owner/logout", {"csrf_token": before})
    assert stale.status == 400
    assert browser.get("/owner/").status == 200
    with app.app_context():
        before = set(db.session.scalars(select(OwnerSession.token_hash)))
        sign_in(browser)
        after = set(db.session.scalars(select(OwnerSession.token_hash)))
        assert len(after) == len(before) == 1
        assert after != before


def test_what_a_signed_out_owner_typed_is_kept(app: Flask) -> None:
    answer = Browser(app).submit("/owner/goods/new", {"name": "A long story", "price": "5"})
    assert answer.status == 401
    assert "A long story" in answer.text


@on_all
def test_a_way_in_without_the_password_works_once(app: Flask, owner: Browser) -> None:
    link = say(app, "owner", "link", EMAIL).strip()
    path = link.removeprefix("http://127.0.0.1:5000")
    browser = Browser(app)
    assert browser.get(path).status == 200
    assert browser.get(path).status == 200  # a mail program that looks uses nothing up
    short = browser.submit(path, {"password": "short"})
    assert short.status == 422
    assert browser.submit(path, {"password": "a new password"}).headers["Location"] == "/owner/"
    assert browser.get("/owner/").status == 200
    assert owner.get("/owner/").status == 303
    assert Browser(app).get(path).status == 404
    assert Browser(app).submit(path, {"password": "a third password"}).status == 404
    assert sign_in(Browser(app), password="a new password").status == 303


def test_a_way_in_is_void_after_another_and_after_an_hour(
    app: Flask, make_owner: Callable[..., None]
) -> None:
    make_owner()
    with time_machine.travel(now(), tick=False) as clock:
        first, second = (say(app, "owner", "link", EMAIL).strip() for _ in range(2))
        assert Browser(app).get(first).status == 404
        clock.shift(timedelta(minutes=59))
        assert Browser(app).get(second).status == 200
        clock.shift(timedelta(minutes=1))
        assert Browser(app).get(second).status == 404
        assert Browser(app).submit(second, {"password": "a new password"}).status == 404


def test_a_browser_stays_signed_in_while_it_is_used(
    app: Flask, make_owner: Callable[..., None]
) -> None:
    make_owner()
    used, left = Browser(app), Browser(app)
    with time_machine.travel(now(), tick=False) as clock:
        sign_in(used)
        sign_in(left)
        for _ in range(3):  # the cookie's own signature is good for 31 days
            clock.shift(timedelta(days=20))
            assert used.get("/owner/").status == 200
        assert left.get("/owner/").status == 303
        clock.shift(timedelta(days=31))
        assert used.get("/owner/").status == 303


@on_all
def test_a_password_that_changes_while_somebody_signs_in_lets_them_in_no_longer(
    app: Flask, make_owner: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_owner()
    is_password = owners.is_password

    def slow(password_hash: str, password: str) -> bool:
        monkeypatch.undo()
        right = is_password(password_hash, password)
        end_read()  # SQLite lets nobody write while somebody reads
        owner = owners.get(EMAIL)
        owners.replace_password(owner, "another password")
        return right

    browser = Browser(app)
    monkeypatch.setattr(owners, "is_password", slow)
    assert sign_in(browser).status == 422
    assert browser.get("/owner/").status == 303


def test_owners_are_made_and_removed_by_command(app: Flask) -> None:
    assert "Nobody yet" in say(app, "owner", "list")
    said = say(app, "owner", "add", "Hana@Shop.example", "--password-stdin", given=f"{PASSWORD}\n")
    assert "hana@shop.example may sign in at http://127.0.0.1:5000/owner/login" in said
    again = refused(app, "owner", "add", EMAIL, "--password-stdin", given=f"{PASSWORD}\n")
    assert "already" in again
    for bad in ("short", "x@shop.example", "aaaaaaaaaaaa"):
        said = refused(app, "owner", "add", "x@shop.example", "--password-stdin", given=f"{bad}\n")
        assert "at least 10 characters" in said
    assert "no mail address" in refused(
        app, "owner", "add", "nobody", "--password-stdin", given=f"{PASSWORD}\n"
    )
    browser = Browser(app)
    assert sign_in(browser).status == 303
    say(app, "owner", "passwd", EMAIL, "--password-stdin", given="another password\n")
    assert browser.get("/owner/").status == 303
    assert sign_in(browser, password="another password").status == 303
    assert EMAIL in say(app, "owner", "list")
    say(app, "owner", "remove", EMAIL, "--yes")
    assert browser.get("/owner/").status == 303
    assert "no owner" in refused(app, "owner", "remove", EMAIL, "--yes")


def test_the_demos_owner_looks_around_on_this_machine_alone(
    app: Flask, make_app: Callable[..., Flask]
) -> None:
    said = say(app, "demo")
    first = re.findall(r"password (\S+)", said)[0]
    assert sign_in(Browser(app), owners.DEMO_EMAIL, first).status == 303
    second = re.findall(r"password (\S+)", say(app, "demo"))[0]
    assert sign_in(Browser(app), owners.DEMO_EMAIL, first).status == 422
    browser = Browser(app)
    assert sign_in(browser, owners.DEMO_EMAIL, second).status == 303
    assert "flask shop demo" in Browser(app).get("/owner/login").words
    public = make_app(SHOP_PUBLIC_URL="http://shop.example", SHOP_SANDBOX="on")
    stranger = Browser(public, "http://shop.example")
    assert "flask shop demo" not in stranger.get("/owner/login").words
    assert sign_in(stranger, owners.DEMO_EMAIL, second).status == 422
    assert "password" not in say(public, "demo")
    with app.app_context():
        assert db.session.scalar(select(Owner)) is None
    assert browser.get("/owner/").status == 303


def test_a_real_owner_with_the_demos_address_keeps_the_password(
    app: Flask, make_owner: Callable[..., None]
) -> None:
    make_owner(owners.DEMO_EMAIL)
    with app.app_context():
        assert owners.make_demo_owner() is None
    assert sign_in(Browser(app), owners.DEMO_EMAIL).status == 303


def test_what_an_owner_does_is_written_down(app: Flask, owner: Browser) -> None:
    owner.submit("/owner/goods/new", {"name": "Bowl", "price": "1200", "stock": ""})
    owner.submit("/owner/goods/1", {"price": "2,100", "stock": ""})
    with app.app_context():
        rows = db.session.scalars(select(AuditEntry).order_by(AuditEntry.id)).all()
        assert [(row.who, row.action) for row in rows] == [
            ("flask shop", "owner_added"), (EMAIL, "signed_in"), (EMAIL, "goods_added"),
            (EMAIL, "goods_changed"),
        ]  # fmt: skip
    page = owner.get("/owner/account").words
    assert "Put on the shelf: Bowl" in page
    assert "Changed: T-shirt: Price 2,100" in page


def test_no_second_cookie_signs_anybody_in(app: Flask) -> None:
    for value in ("1|x", "\xe9|\xe9"):
        answer = send(app, "/owner/", Cookie=f"remember_token={value}")
        assert answer.status == 303


def test_neither_password_nor_token_is_stored(app: Flask, owner: Browser) -> None:
    link = say(app, "owner", "link", EMAIL).strip().rpartition("/")[2]
    assert owner._client is not None
    with owner._client.session_transaction(base_url=owner.base) as cookie:
        token = cookie["_user_id"]
    with app.app_context(), db.engine.connect() as connection:
        for table in ("owners", "owner_sessions", "audit"):
            rows = connection.exec_driver_sql(f"SELECT * FROM {table}").fetchall()
            assert PASSWORD not in str(rows)
            assert link not in str(rows)
            assert token not in str(rows)


def test_a_password_is_hashed_so_that_guessing_is_dear(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owners, "METHOD", METHOD)
    assert owners.hash_password(PASSWORD, EMAIL).startswith("scrypt:32768:8:3$")
    assert owners.NOBODY.startswith("scrypt:32768:8:3$")
    assert not owners.is_password(owners.hash_of(None), PASSWORD)
