"""The address for hosts whose cron can only fetch a page."""

from collections.abc import Callable

import pytest
from flask import Flask

from tests.actors import Buyer

TOKEN = "a task token of a shop 0123456789"


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    return make_app(SHOP_TASK_TOKEN=TOKEN)


def call(app: Flask, token: str | None = TOKEN) -> tuple[int, object]:
    headers = {} if token is None else {"X_Task_Token": token}
    answer = Buyer(app).post("/tasks", Accept="application/json", **headers)
    return answer.status, answer.json


def test_it_puts_orders_right_and_sends_what_is_due(app: Flask) -> None:
    buyer = Buyer(app)
    order = buyer.order()
    buyer.post("/sandbox/control/webhooks", {"mode": "drop"})
    buyer.pay(order["url"])
    assert call(app) == (200, {"mails": 2, "orders": 1})
    assert buyer.see(order["order"])["state"] == "paid"
    assert call(app) == (200, {"mails": 0, "orders": 0})


@pytest.mark.parametrize("token", [None, "", "wrong", "é", TOKEN + "x"])
def test_who_does_not_know_the_token_is_refused(app: Flask, token: str | None) -> None:
    assert call(app, token)[0] == 403


def test_without_a_token_there_is_no_such_address(make_app: Callable[..., Flask]) -> None:
    assert call(make_app())[0] == 404


def test_it_is_answered_where_stripe_is_not(app: Flask) -> None:
    buyer = Buyer(app)
    buyer.order()
    buyer.post("/sandbox/control/api", {"mode": "refuse"})
    assert call(app) == (200, {"mails": 0, "orders": 0})


def test_a_shop_whose_paying_is_off_still_sends_its_mail(make_app: Callable[..., Flask]) -> None:
    app = make_app(SHOP_SANDBOX="off", SHOP_TASK_TOKEN=TOKEN)
    assert call(app) == (200, {"mails": 0, "orders": 0})
