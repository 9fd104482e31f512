"""Stripe down, slow, wrong or silent: nothing is lost, nothing is paid twice, people are told."""

import time
from typing import Any

import pytest
from flask import Flask

from shop.payments.gateway import client
from tests.actors import Buyer
from tests.conftest import Till
from tests.databases import each_row_both_ways, each_row_on_all, on_all, on_sqlite
from tests.wire import Wire

DEEP: Any = 1
for _ in range(400):
    DEEP = {"a": DEEP}
MODES = ["refuse", "rate_limit", "error", "garbage", "lost", "slow"]

pytestmark = on_all


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A fault of Stripe's; one that is slow is so for longer than anybody waits."""
    if request.param == "slow":
        monkeypatch.setattr(client, "ANSWER_SECONDS", 0.3)
    return str(request.param)


def break_api(till: Till, mode: str) -> None:
    till.sandbox.api(mode, seconds=1)


@each_row_both_ways
def test_starting_a_payment_fails_in_words_and_a_retry_pays_once(till: Till, mode: str) -> None:
    buyer = till.buyer()
    break_api(till, mode)
    failed = buyer.submit("/payments/session", {"product_id": 3, "quantity": 2})
    assert failed.status == 503
    assert "Nothing was charged" in failed.words
    assert "Try again" in failed.words
    assert till.stock("last-mugs") == 3
    till.sandbox.api("ok")
    order = buyer.order(3, 2)
    assert buyer.pay(order["url"]).status == 303
    assert buyer.see(order["order"])["state"] == "paid"
    assert len(till.orders()) == 1
    assert len(till.sandbox.state["sessions"]) == 1
    assert till.stock("last-mugs") == 3


@each_row_both_ways
def test_coming_back_from_paying_is_answered_and_settled_later(till: Till, mode: str) -> None:
    till.sandbox.webhooks("drop")
    buyer = till.buyer()
    order = buyer.order()
    back = buyer.pay(order["url"]).location
    break_api(till, mode)
    waiting = buyer.get(back)
    assert waiting.status == 503
    assert "being confirmed" in waiting.words
    assert buyer.see(order["order"])["state"] == "pending"
    till.sandbox.api("ok")
    assert buyer.get(back).status == 303
    assert buyer.see(order["order"])["state"] == "paid"
    assert len(till.mails()) == 2


@each_row_both_ways
def test_an_event_that_cannot_be_confirmed_comes_again(till: Till, mode: str) -> None:
    buyer = till.buyer()
    order = buyer.order()
    break_api(till, mode)
    assert buyer.pay(order["url"]).status == 303
    till.sandbox.api("ok")
    till.sandbox.clock(3600)
    assert buyer.see(order["order"])["state"] == "paid"
    assert len(till.mails()) == 2


@on_sqlite
def test_other_pages_do_not_notice(till: Till, mode: str) -> None:
    break_api(till, mode)
    buyer = till.buyer()
    assert [buyer.get(path).status for path in ("/", "/shop/", "/shop/t-shirt", "/cart")] == [
        200
    ] * 4


@on_sqlite
@pytest.mark.parametrize("till", ["standalone"], indirect=True)
def test_a_stripe_that_hangs_keeps_nobody_waiting_for_longer_than_15_seconds(till: Till) -> None:
    buyer = till.buyer()
    token = buyer.token()
    till.sandbox.api("slow", seconds=12)
    before = time.monotonic()
    form = {"csrf_token": token, "product_id": 1, "quantity": 1}
    assert buyer.post("/payments/session", form).status == 503
    assert time.monotonic() - before < 15


@each_row_on_all
@pytest.mark.parametrize(
    "change",
    [
        {"client_reference_id": "somebody else's"},
        {"url": None},
        {"url": "javascript:alert(1)"},
        {"url": "https://x.example/\r\nSet-Cookie: a=b"},
        {"id": "cs_\x00"},
        {"id": None},
        {"livemode": "no"},
        {"currency": "\ud800"},
        {"amount_total": 10**30},
        {"payment_status": []},
        {"customer_details": 7},
        {"deep": DEEP},
    ],
)
def test_an_answer_that_makes_no_sense_is_no_answer(app: Flask, change: dict[str, Any]) -> None:
    wire = Wire(app)
    wire.change = lambda answer: answer | change
    form = {"product_id": 1, "quantity": 1}
    answer = Buyer(app).submit("/payments/session", form)
    assert answer.status in (303, 503)
    if answer.status == 303:
        assert set(change) <= {"livemode", "currency", "payment_status", "customer_details", "deep"}


@on_sqlite
def test_a_decline_where_there_is_no_card_is_no_answer(app: Flask) -> None:
    buyer = Buyer(app)
    order = buyer.order()
    wire = Wire(app)
    wire.refuse = ("GET", 402, "card_declined")
    assert buyer.get(f"/payments/success?session_id={order['id']}").status == 503
    assert buyer.see(order["order"])["state"] == "pending"


class Stubborn:
    """A Stripe that fails at the first session, before or after making it, and says so for ever."""

    def __init__(self, app: Flask, *, is_made: bool) -> None:
        self._ask, self._is_made = app.extensions["stripe_wsgi"], is_made
        self._key = ""
        app.extensions["stripe_wsgi"] = self

    def __call__(self, method: str, url: str, headers: Any, data: Any) -> Any:
        key = headers.get("Idempotency-Key", "")
        if method != "post" or (self._key and key != self._key):
            return self._ask(method, url, headers, data)
        replayed = {"Idempotent-Replayed": "true"} if self._key else {}
        if not self._key and self._is_made:
            self._ask(method, url, headers, data)
        self._key = key
        return b'{"error": {"type": "api_error", "message": "sorry"}}', 500, replayed


@pytest.mark.parametrize("is_made", [True, False])
def test_an_error_that_stripe_repeats_for_a_day_does_not_keep_a_buyer_waiting(
    app: Flask, is_made: bool
) -> None:
    Stubborn(app, is_made=is_made)
    buyer = Buyer(app)
    assert buyer.submit("/payments/session", {"product_id": 1}).status == 503
    order = buyer.order()
    assert buyer.pay(order["url"]).status == 303
    assert buyer.see(order["order"])["state"] == "paid"
    state = buyer.get("/sandbox/control/state").json
    # Nobody has the address of one that was made before the error.
    assert len(state["sessions"]) == 1 + is_made
    assert len(state["charges"]) == 1
