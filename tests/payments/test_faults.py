"""Stripe down, slow, wrong or silent: nothing is lost, nothing is paid twice, people are told."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
import requests
import time_machine
from flask import Flask

from shop.payments import gateway
from shop.payments.gateway import client
from tests.actors import Buyer
from tests.conftest import Till
from tests.databases import each_row_both_ways, each_row_on_all, on_sqlite, on_two
from tests.wire import Wire

DEEP: Any = 1
for _ in range(400):
    DEEP = {"a": DEEP}
MODES = ["refuse", "rate_limit", "error", "garbage", "lost", "slow"]

pytestmark = on_two


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
    """A Stripe that fails at the next thing to make, before or after, and says so for ever.

    `keys` are those that it is asked with.
    """

    def __init__(self, app: Flask, *, is_made: bool) -> None:
        self._ask, self._is_made = app.extensions["stripe_wsgi"], is_made
        self.keys: list[str] = []
        app.extensions["stripe_wsgi"] = self

    def __call__(self, method: str, url: str, headers: Any, data: Any) -> Any:
        key = headers.get("Idempotency-Key", "")
        if method != "post" or url.endswith("/expire"):
            return self._ask(method, url, headers, data)
        self.keys.append(key)
        if key != self.keys[0]:
            return self._ask(method, url, headers, data)
        is_first = len(self.keys) == 1
        if is_first and self._is_made:
            self._ask(method, url, headers, data)
        replayed = {} if is_first else {"Idempotent-Replayed": "true"}
        return b'{"error": {"type": "api_error", "message": "sorry"}}', 500, replayed


@pytest.mark.parametrize("is_made", [True, False])
def test_an_error_that_stripe_repeats_for_a_day_does_not_keep_a_buyer_waiting(
    app: Flask, is_made: bool
) -> None:
    stripe = Stubborn(app, is_made=is_made)
    buyer = Buyer(app)
    assert buyer.submit("/payments/session", {"product_id": 1}).status == 503
    order = buyer.order()
    assert buyer.pay(order["url"]).status == 303
    assert buyer.see(order["order"])["state"] == "paid"
    state = buyer.get("/sandbox/control/state").json
    # Nobody has the address of one that was made before the error.
    assert len(state["sessions"]) == 1 + is_made
    assert len(state["charges"]) == 1
    reference = state["sessions"][0]["client_reference_id"]
    assert stripe.keys == [f"checkout-{reference}-{number}" for number in (1, 1, 2)]


def test_a_session_made_before_such_an_error_is_found_by_its_reference_if_it_is_paid(
    app: Flask,
) -> None:
    from tests.payments.test_settle import _deliver, _event

    Stubborn(app, is_made=True)
    buyer = Buyer(app)
    buyer.submit("/payments/session", {"product_id": 1})
    order = buyer.order()
    sessions = buyer.get("/sandbox/control/state").json["sessions"]
    first = next(session for session in sessions if session["id"] != order["id"])
    buyer.post("/sandbox/control/webhooks", {"mode": "drop"})
    assert buyer.pay(first["url"]).status == 303
    assert _deliver(app, _event("checkout.session.completed", first | {"metadata": {}})) == 200
    assert [found["state"] for found in Till.mounted(app).orders()] == ["paid"]
    sessions = buyer.get("/sandbox/control/state").json["sessions"]
    assert {one["id"]: one["status"] for one in sessions} == {
        first["id"]: "complete",
        order["id"]: "expired",
    }


@pytest.mark.parametrize("is_made", [True, False])
def test_an_error_that_stripe_repeats_gives_no_charge_a_second_key_before_its_list_was_read(
    app: Flask, is_made: bool
) -> None:
    buyer = Buyer(app)
    buyer.post("/sandbox/control/webhooks", {"mode": "drop"})
    stripe = Stubborn(app, is_made=is_made)
    buyer.submit("/cart/items", {"product_id": 1, "quantity": 1})
    for _click in range(3):
        assert buyer.submit("/payments/charge", {"stripeToken": "tok_visa"}).status == 503
    assert len(set(stripe.keys)) == 1
    with time_machine.travel(datetime.now(UTC) + timedelta(days=2), tick=True):
        assert buyer.submit("/payments/charge", {"stripeToken": "tok_visa"}).status == 303
    charges = buyer.get("/sandbox/control/state").json["charges"]
    assert [charge["metadata"]["attempt"] for charge in charges] == [stripe.keys[-1]]
    reference = charges[0]["metadata"]["order"]
    assert stripe.keys[0] == f"charge-{reference}-1"
    assert set(stripe.keys[1:]) == {
        f"charge-{reference}-{n}" for n in ((1,) if is_made else (1, 2))
    }


@pytest.mark.parametrize("is_made", [True, False])
def test_an_error_that_stripe_repeats_gives_no_refund_a_second_key_before_its_list_was_read(
    app: Flask, is_made: bool
) -> None:
    buyer = Buyer(app)
    buyer.buy()
    buyer.post("/sandbox/control/webhooks", {"mode": "drop"})
    stripe = Stubborn(app, is_made=is_made)

    def refund() -> int:
        asked = ["shop", "refund", "1", "--amount", "500", "--yes"]
        return app.test_cli_runner().invoke(args=asked).exit_code

    assert [refund() for _ in range(3)] == [1, 1, 1]
    assert len(set(stripe.keys)) == 1
    with time_machine.travel(datetime.now(UTC) + timedelta(days=2), tick=True):
        # What never arrived is said so, and asked for anew by the next request.
        assert [refund() for _ in range(1 if is_made else 2)][-1] == 0
    assert len(set(stripe.keys)) == (1 if is_made else 2)
    refunds = buyer.get("/sandbox/control/state").json["refunds"]
    assert [one["amount"] for one in refunds] == [500]


class Slow:
    """In the place of the sockets to Stripe: none answers, and each call takes `seconds`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
        self.waits: list[tuple[float, float]] = []
        self._now, self._seconds = 0.0, seconds
        monkeypatch.setattr(client, "time", SimpleNamespace(monotonic=lambda: self._now))
        monkeypatch.setattr(requests.Session, "request", self._wait)

    def _wait(self, *_: Any, timeout: tuple[float, float], **__: Any) -> None:
        self.waits.append(timeout)
        self._now += min(self._seconds, sum(timeout))
        raise requests.exceptions.ReadTimeout


@on_sqlite
@pytest.mark.parametrize(
    ("seconds", "waits"),
    [
        (0, [(3, 10)] * 4),
        (4, [(3, 10), (3, 6), (2.5, 2.5)]),
        (8, [(3, 10), (2.5, 2.5)]),
        (60, [(3, 10)]),
    ],
)
def test_all_calls_of_one_request_together_take_13_seconds(
    make_app: Callable[..., Flask],
    monkeypatch: pytest.MonkeyPatch,
    seconds: float,
    waits: list[tuple[float, float]],
) -> None:
    app = make_app(STRIPE_SECRET_KEY="sk_test_x")
    stripe = Slow(monkeypatch, seconds)
    with app.test_request_context():
        for _ in range(4):
            with pytest.raises(gateway.StripeUnreachable):
                gateway.retrieve_session("cs_test_x")
    assert stripe.waits == waits


@on_sqlite
def test_a_command_waits_as_long_for_each_call(
    make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(STRIPE_SECRET_KEY="sk_test_x")
    stripe = Slow(monkeypatch, 60)
    with app.app_context():
        for _ in range(3):
            with pytest.raises(gateway.StripeUnreachable):
                gateway.retrieve_session("cs_test_x")
    assert stripe.waits == [(3, 10)] * 3
