"""Whatever an owner's browser sends gets an answer below 500."""

from dataclasses import replace

import pytest
from flask import Flask

from shop.throttle import LIMITS
from tests.actors import Browser
from tests.fuzz_world import World, rules_of
from tests.knocks import known_troubles
from tests.oddities import SEED_NUMBERS, SEED_TEXTS, USUAL
from tests.owner.conftest import EMAIL, PASSWORD, sign_in


# What a database refuses to keep (NUL, halves of letters) is PostgreSQL's; what it cannot count is
# SQLite's own.
@pytest.mark.parametrize(
    ("database", "troubles"),
    [("sqlite", SEED_NUMBERS[:1]), ("postgresql", SEED_TEXTS[:3] + SEED_NUMBERS[1:2])],
    indirect=["database"],
)
def test_no_known_trouble_breaks_the_back_office(
    app: Flask,
    owner: Browser,
    troubles: list[str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setitem(LIMITS, "login", replace(LIMITS["login"], most=10**6))
    usual = USUAL | {"email": [EMAIL], "password": [PASSWORD]}
    world = World([], [("", ""), ("", "")], usual, [])
    rules = [rule for rule in rules_of(world, {"": app.url_map}, owner) if "/owner" in rule.address]
    statuses = []
    for rule in rules:
        sign_in(owner)  # one of the pages signs out
        token = owner.token()
        assert owner._client is not None
        cookie = owner._client.get_cookie("session", domain="127.0.0.1")
        assert cookie is not None
        world.visitors[1] = f"session={cookie.value}", token
        for knock in known_troubles(world, rule, troubles):
            answer = knock.send(app, "whsec_none")
            assert answer.status < 500, knock
            statuses.append(answer.status)
    assert len(rules) >= 12
    assert {200, 422} <= set(statuses)
    assert "Traceback" not in caplog.text
