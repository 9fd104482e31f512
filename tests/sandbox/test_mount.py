"""The sandbox inside a shop: where it answers, and to whom."""

from collections.abc import Callable

import pytest
from flask import Flask

from tests.actors import Browser, Buyer

PUBLIC = "http://shop.example"


@pytest.fixture
def public_app(make_app: Callable[..., Flask]) -> Flask:
    return make_app(SHOP_PUBLIC_URL=PUBLIC, SHOP_SANDBOX="on")


def test_a_public_sandbox_sells_but_shows_its_switches_to_nobody(public_app: Flask) -> None:
    buyer = Buyer(public_app, PUBLIC)
    token = buyer.buy()
    assert buyer.see(token)["state"] == "paid"
    assert buyer.get("/sandbox/").status == 403
    assert buyer.get("/sandbox/control/state").status == 403
    assert buyer.post("/sandbox/control/api", {"mode": "error"}).status == 403


def test_a_public_sandbox_lets_nobody_else_use_its_api(public_app: Flask) -> None:
    browser = Browser(public_app, PUBLIC)
    key = {"Authorization": "Bearer sk_test_guessed"}
    assert browser.get("/sandbox/v1/events", **key).status == 401
    assert browser.get("/sandbox/v1/events").status == 401


def test_on_a_developers_machine_any_test_key_will_do(app: Flask) -> None:
    key = {"Authorization": "Bearer sk_test_mine"}
    assert Browser(app).get("/sandbox/v1/events", **key).status == 200


def test_a_forged_host_reaches_neither_shop_nor_sandbox(app: Flask) -> None:
    browser = Browser(app, "http://evil.example")
    assert browser.get("/sandbox/").status == 400
    assert browser.get("/").status == 400


def test_there_is_no_sandbox_beside_a_real_key(make_app: Callable[..., Flask]) -> None:
    app = make_app(STRIPE_SECRET_KEY="sk_test_real")
    assert Browser(app).get("/sandbox/").status == 404
