"""The address for hosts whose cron can only fetch a page."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from flask import Flask
from sqlalchemy import text

from shop.db import db
from shop.payments import reconcile, report
from shop.payments.models import KeyValue
from tests.actors import Buyer
from tests.wire import Wire

TOKEN = "a task token of a shop 0123456789"


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    return make_app(SHOP_TASK_TOKEN=TOKEN)


def call(app: Flask, token: str | None = TOKEN) -> tuple[int, Any]:
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


def test_a_sandbox_with_orders_of_real_money_still_sends_its_mail(app: Flask) -> None:
    Buyer(app).order()
    with app.app_context(), db.engine.begin() as connection:
        connection.execute(text("UPDATE orders SET mode = 'live'"))
    assert call(app) == (200, {"mails": 0, "orders": 0})


def test_what_does_not_fit_into_the_time_is_done_the_next_time(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    buyer = Buyer(app)
    buyer.post("/sandbox/control/webhooks", {"mode": "drop"})
    for _ in range(6):
        buyer.pay(Buyer(app).order()["url"])
    # Each answer of Stripe's takes two seconds.
    clock = [0.0]
    for module in (report, reconcile):
        monkeypatch.setattr(module, "monotonic", lambda: clock[0])

    def answer_slowly(found: Any) -> Any:
        clock[0] += 2
        return found

    Wire(app).change = answer_slowly
    done: list[int] = []
    while sum(done) < 6:
        begun = clock[0]
        status, answer = call(app)
        assert (status, len(done) < 6, clock[0] - begun <= 12) == (200, True, True)
        done.append(answer["orders"])
    assert max(done) < 6
    for _ in range(6):
        call(app)
    assert kept(app, "events sandbox") is not None
    assert kept(app, "compared sandbox") is not None


def kept(app: Flask, name: str) -> str | None:
    with app.app_context():
        found = db.session.get(KeyValue, name)
        return found.value if found else None


def test_it_compares_the_books_once_a_day(app: Flask) -> None:
    Buyer(app).buy()
    wire = Wire(app)
    compared = []
    for hours in (0, 1, 19, 21):
        with time_machine.travel(datetime.now(UTC) + timedelta(hours=hours), tick=True):
            call(app)
        compared.append(any("/charges" in request for request in wire.requests))
        wire.requests.clear()
    assert compared == [True, False, False, True]
