"""Money that goes back: never more than was paid, never twice, wherever it was asked for."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from threading import Barrier, Event
from typing import Any

import pytest
import time_machine
from click.testing import Result
from flask import Flask
from sqlalchemy import text

from shop.db import db
from shop.errors import ShopError
from shop.orders import ledger
from shop.payments import gateway
from shop.payments import refunds as giving_back
from shop.payments.gateway.objects import Refund
from tests.actors import Buyer
from tests.conftest import Till
from tests.databases import each_row_both_ways, on_all, on_sqlite, on_two
from tests.wire import Wire

FAILS_LATER = "4000000000005126"
PENDING = "4000000000007726"

pytestmark = on_two


@pytest.fixture
def settings() -> dict[str, str]:
    return {"SHOP_LEGACY_CHARGE": "on", "STRIPE_PUBLISHABLE_KEY": "pk_test_standalone"}


def command(app: Flask, *arguments: str, given: str | None = None) -> Result:
    return app.test_cli_runner().invoke(args=["shop", *arguments], input=given)


def refund(app: Flask, number: int, *more: str) -> Result:
    return command(app, "refund", str(number), "--yes", *more)


def refund_at_stripe(till: Till, **form: Any) -> Any:
    """Do what the owner does in Stripe's dashboard."""
    charge = till.sandbox.state["charges"][0]
    return till.sandbox.call("refunds", charge=charge["id"], **form)


def kinds(till: Till) -> list[str]:
    return [mail["kind"] for mail in till.mails()]


def state(till: Till) -> tuple[str, int]:
    order = till.orders()[0]
    return order["state"], order["refunded"]


def test_all_of_it_goes_back(till: Till) -> None:
    token = till.buyer().buy()
    done = refund(till.app, 1)
    assert (done.exit_code, "¥2,000" in done.output) == (0, True), done.output
    assert state(till) == ("refunded", 2000)
    assert [r["amount"] for r in till.sandbox.state["refunds"]] == [2000]
    assert kinds(till) == ["customer_paid", "staff_new_order", "customer_refunded"]
    page = till.buyer().get(f"/orders/{token}").words
    assert "Refunded. ¥2,000" in page


def test_parts_go_back_until_nothing_is_left(till: Till) -> None:
    till.buyer().buy()
    refund(till.app, 1, "--amount", "500")
    assert state(till) == ("partially_refunded", 500)
    too_much = refund(till.app, 1, "--amount", "1501")
    assert too_much.exit_code == 1
    assert "up to ¥1,500" in too_much.output
    assert refund(till.app, 1, "--amount", "1500").exit_code == 0
    assert state(till) == ("refunded", 2000)
    nothing = refund(till.app, 1)
    assert (nothing.exit_code, "nothing left" in nothing.output) == (1, True)
    assert len(till.sandbox.state["refunds"]) == 2
    assert kinds(till)[2:] == ["customer_refunded", "customer_refunded"]


@on_sqlite
@pytest.mark.parametrize("amount", ["0", "-1", "2001", "99999999999999999999"])
def test_an_amount_that_cannot_be_is_refused(till: Till, amount: str) -> None:
    till.buyer().buy()
    assert refund(till.app, 1, "--amount", amount).exit_code != 0
    assert state(till) == ("paid", 0)
    assert till.sandbox.state["refunds"] == []


@on_sqlite
def test_it_asks_first(till: Till) -> None:
    till.buyer().buy()
    refund(till.app, 1, "--amount", "100")
    asked = command(till.app, "refund", "1", given="n\n")
    assert (asked.exit_code, "all that is left, ¥1,900, of order 1?" in asked.output) == (1, True)
    assert state(till) == ("partially_refunded", 100)
    assert command(till.app, "refund", "1", given="y\n").exit_code == 0
    assert state(till) == ("refunded", 2000)


def test_the_shop_goes_on_while_the_owner_thinks(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    Buyer(app).buy()
    held: list[bool] = []
    monkeypatch.setattr("click.confirm", lambda *_, **__: held.append(_holds_a_transaction()))
    assert command(app, "refund", "1").exit_code == 0
    assert held == [False]


def _holds_a_transaction() -> bool:
    return db.session().in_transaction()


@pytest.mark.parametrize("number", ["7", "0", "99999999999999999999"])
def test_an_order_that_is_none_is_refused_in_one_line(till: Till, number: str) -> None:
    done = refund(till.app, int(number))
    assert (done.exit_code, "cannot find this order" in done.output) == (1, True)


def test_an_order_that_nobody_paid_gives_nothing_back(till: Till) -> None:
    till.buyer().order()
    assert refund(till.app, 1).exit_code == 1
    assert till.sandbox.state["refunds"] == []


def test_a_charge_of_a_card_token_goes_back(till: Till) -> None:
    buyer = till.buyer()
    buyer.submit("/cart/items", {"product_id": 1, "quantity": 1})
    assert buyer.submit("/payments/charge", {"stripeToken": "tok_visa"}).status == 303
    assert refund(till.app, 1, "--amount", "700").exit_code == 0
    assert state(till) == ("partially_refunded", 700)


@on_all
def test_clicks_at_once_give_back_once(app: Flask) -> None:
    Buyer(app).buy()
    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda _: _refund_in_thread(app, 2000), range(32)))
    assert done.count(True) >= 1
    till = Till.mounted(app)
    assert state(till) == ("refunded", 2000)
    refunds = Buyer(app).get("/sandbox/control/state").json["refunds"]
    assert sum(one["amount"] for one in refunds) == 2000
    assert kinds(till).count("customer_refunded") == 1


@on_all
def test_parts_at_once_never_add_up_to_more_than_was_paid(app: Flask) -> None:
    Buyer(app).buy()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda wish: _refund_in_thread(app, 300, f"wish-{wish}"), range(24)))
    till = Till.mounted(app)
    refunds = Buyer(app).get("/sandbox/control/state").json["refunds"]
    assert sum(one["amount"] for one in refunds) == state(till)[1] <= 2000


@on_all
def test_two_who_ask_at_the_same_moment_have_one_wish(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second finds the row that the first has written, and both ask Stripe for it together."""
    Buyer(app).buy()
    meet = Barrier(2, timeout=20)
    asked = gateway.create_refund

    def ask(*what: Any) -> Refund:
        meet.wait()
        return asked(*what)

    monkeypatch.setattr(gateway, "create_refund", ask)
    with ThreadPoolExecutor(2) as pool:
        assert any(pool.map(lambda _: _refund_in_thread(app, 500), range(2)))
    refunds = Buyer(app).get("/sandbox/control/state").json["refunds"]
    assert [one["amount"] for one in refunds] == [500]


class Slow:
    """A Stripe that finishes a refund only after it has told the next asker to wait for it."""

    def __init__(self, app: Flask) -> None:
        self._ask, self._told = app.extensions["stripe_wsgi"], Event()
        self._busy = False
        app.extensions["stripe_wsgi"] = self

    def __call__(self, method: str, url: str, headers: Any, data: Any) -> Any:
        if method.upper() == "GET":
            return self._ask(method, url, headers, data)
        if self._busy:
            self._told.set()
            error = {"type": "invalid_request_error", "code": "idempotency_key_in_use"}
            return json.dumps({"error": error}).encode(), 409, {}
        self._busy = True
        assert self._told.wait(20)
        return self._ask(method, url, headers, data)


@on_all
def test_who_is_second_at_stripe_is_left_in_doubt_and_gives_back_nothing_more(app: Flask) -> None:
    Buyer(app).buy()
    Slow(app)
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda _: _refund_in_thread(app, 500), range(2)))
    assert sorted(done) == [False, True]
    assert not _refund_in_thread(app, 500)
    refunds = Buyer(app).get("/sandbox/control/state").json["refunds"]
    assert [one["amount"] for one in refunds] == [500]


def _refund_in_thread(app: Flask, amount: int, key: str | None = None) -> bool:
    with app.app_context():
        try:
            giving_back.refund(1, amount, key)
        except ShopError:
            return False
    return True


@each_row_both_ways
@pytest.mark.parametrize("mode", ["refuse", "rate_limit", "error", "garbage", "lost"])
def test_an_answer_that_did_not_come_is_asked_for_again_and_gives_back_once(
    till: Till, mode: str
) -> None:
    till.buyer().buy()
    till.sandbox.api(mode)
    failed = refund(till.app, 1, "--amount", "500")
    assert (failed.exit_code, "Nothing is refunded twice" in failed.output) == (1, True)
    till.sandbox.api("ok")
    again = refund(till.app, 1, "--amount", "500")
    # Where the answer alone was lost, the refund's event may have told of it meanwhile.
    assert again.exit_code == 0 or (mode == "lost" and "went back already" in again.output)
    assert state(till) == ("partially_refunded", 500)
    assert [one["amount"] for one in till.sandbox.state["refunds"]] == [500]


def test_the_same_key_again_is_the_same_refund(till: Till) -> None:
    till.buyer().buy()
    for _click in range(3):
        assert refund(till.app, 1, "--amount", "500", "--key", "mug-broken").exit_code == 0
    assert state(till) == ("partially_refunded", 500)
    assert refund(till.app, 1, "--amount", "500", "--key", "late").exit_code == 0
    assert state(till) == ("partially_refunded", 1000)
    assert refund(till.app, 1, "--key", "no such! key").exit_code == 1


def test_the_same_amount_within_a_day_is_refused_and_the_earlier_one_named(till: Till) -> None:
    till.buyer().buy()
    assert refund(till.app, 1, "--amount", "500").exit_code == 0
    again = refund(till.app, 1, "--amount", "500")
    assert (again.exit_code, "¥500 of this order went back already" in again.output) == (1, True)
    assert refund(till.app, 1, "--amount", "400").exit_code == 0
    with time_machine.travel(datetime.now().astimezone() + timedelta(days=2), tick=True):
        assert refund(till.app, 1, "--amount", "500").exit_code == 0
    assert state(till) == ("partially_refunded", 1400)


def test_what_went_back_before_stands_beside_the_question(till: Till) -> None:
    till.buyer().buy()
    refund(till.app, 1, "--amount", "500")
    asked = command(till.app, "refund", "1", "--amount", "500", given="y\n")
    assert "¥500 went back on" in asked.output
    assert state(till) == ("partially_refunded", 1000)


def test_reconciling_carries_out_what_was_not_answered(till: Till) -> None:
    till.sandbox.webhooks("drop")
    till.buyer().buy()
    till.sandbox.api("refuse")
    assert refund(till.app, 1).exit_code == 1
    till.sandbox.api("ok")
    assert command(till.app, "reconcile").exit_code == 0
    assert state(till) == ("refunded", 2000)
    assert len(till.sandbox.state["refunds"]) == 1


@pytest.mark.parametrize("amount", [["--amount", "500"], []])
def test_who_asks_again_after_reconciling_does_not_give_back_more(
    till: Till, amount: list[str]
) -> None:
    till.sandbox.webhooks("drop")
    till.buyer().buy()
    till.sandbox.api("lost")
    assert refund(till.app, 1, *amount).exit_code == 1
    till.sandbox.api("ok")
    command(till.app, "reconcile")
    again = refund(till.app, 1, *amount)
    said = "went back already" if amount else "nothing left to refund"
    assert (again.exit_code, said in again.output) == (1, True), again.output
    assert len(till.sandbox.state["refunds"]) == 1


def test_all_that_is_left_goes_back_after_a_part_whose_answer_was_lost(till: Till) -> None:
    till.buyer().buy()
    till.sandbox.api("lost")
    assert refund(till.app, 1, "--amount", "500").exit_code == 1
    till.sandbox.api("ok")
    # The first request may have carried out the unanswered part, and that alone.
    while state(till)[1] < 2000:
        assert refund(till.app, 1).exit_code == 0
    assert state(till) == ("refunded", 2000)
    assert sorted(one["amount"] for one in till.sandbox.state["refunds"]) == [500, 1500]


def test_a_refund_of_a_day_ago_is_looked_for_and_not_sent_again(till: Till) -> None:
    till.sandbox.webhooks("drop")
    till.buyer().buy()
    till.sandbox.api("lost")
    assert refund(till.app, 1, "--amount", "500").exit_code == 1
    till.sandbox.api("ok")
    with time_machine.travel(datetime.now().astimezone() + timedelta(days=2), tick=True):
        assert refund(till.app, 1, "--amount", "500").exit_code == 0
    assert state(till) == ("partially_refunded", 500)
    assert len(till.sandbox.state["refunds"]) == 1


def test_a_refund_of_a_day_ago_that_never_arrived_is_given_up(till: Till) -> None:
    till.buyer().buy()
    till.sandbox.api("refuse")
    assert refund(till.app, 1).exit_code == 1
    till.sandbox.api("ok")
    with time_machine.travel(datetime.now().astimezone() + timedelta(days=2), tick=True):
        assert "never reached Stripe" in refund(till.app, 1).output
        assert refund(till.app, 1).exit_code == 0
    assert state(till) == ("refunded", 2000)
    assert len(till.sandbox.state["refunds"]) == 1


def test_what_stripe_refuses_is_said_and_can_be_asked_for_again(app: Flask) -> None:
    Buyer(app).buy()
    wire = Wire(app)
    wire.refuse = ("POST", 400, "charge_disputed")
    refused = refund(app, 1)
    assert (refused.exit_code, "Stripe refused the refund" in refused.output) == (1, True)
    wire.refuse = None
    assert refund(app, 1).exit_code == 0


def test_one_of_two_payments_goes_back_where_the_other_is_disputed(app: Flask) -> None:
    disputed = pay_twice(app)
    Buyer(app).post(f"/sandbox/control/charges/{disputed}/dispute")
    done = refund(app, 1)
    assert done.exit_code == 1
    assert "¥2,000 goes back" in done.output
    assert "No money has moved" not in done.output
    till = Till.mounted(app)
    assert state(till) == ("paid", 2000)
    assert kinds(till)[2:4] == ["staff_paid_twice", "staff_dispute"]
    assert "No money has moved" in refund(app, 1, "--key", "the-other").output


def test_a_second_payment_for_what_was_refunded_is_kept_money_until_it_goes_back(
    app: Flask,
) -> None:
    # With the page leave the refund's own events, so that none of them tells of the payment after.
    pay_twice(app, between=lambda: (refund(app, 1), Buyer(app).get("/")))
    till = Till.mounted(app)
    assert state(till) == ("paid", 2000)
    assert "staff_paid_twice" in kinds(till)
    assert refund(app, 1, "--key", "the-other").exit_code == 0
    assert state(till) == ("refunded", 4000)


def pay_twice(app: Flask, between: Callable[[], Any] = lambda: None) -> str:
    """Pay an order through two sessions and return the first payment's charge."""
    buyer = Buyer(app)
    earlier = buyer.order()
    with app.app_context(), db.engine.begin() as connection:
        connection.execute(text("UPDATE attempts SET outcome = 'expired', open_order_id = NULL"))
    order = buyer.order()
    assert order["order"] == earlier["order"]
    buyer.pay(order["url"])
    charge = buyer.get("/sandbox/control/state").json["charges"][0]["id"]
    between()
    buyer.pay(earlier["url"])
    return str(charge)


@each_row_both_ways
@pytest.mark.parametrize("webhooks", ["deliver", "duplicate", "reorder", "drop"])
def test_a_refund_in_stripes_dashboard_comes_in(till: Till, webhooks: str) -> None:
    till.buyer().buy()
    till.sandbox.webhooks(webhooks)
    refund_at_stripe(till, amount=300)
    refund_at_stripe(till, amount=200)
    if webhooks == "drop":
        report = json.loads(command(till.app, "reconcile", "--json").output)
        assert (report["settled"] >= 1, report["mismatches"]) == (True, [])
    assert state(till) == ("partially_refunded", 500)
    assert kinds(till).count("customer_refunded") == 2
    refund_at_stripe(till)
    command(till.app, "reconcile")
    assert state(till) == ("refunded", 2000)
    assert kinds(till).count("customer_refunded") == 3
    assert len(kinds(till)) == 5


def test_a_refund_that_fails_later_is_money_here_again(till: Till) -> None:
    buyer = till.buyer()
    order = buyer.order()
    buyer.pay(order["url"], FAILS_LATER)
    assert refund(till.app, 1, "--amount", "1500").exit_code == 0
    assert state(till) == ("partially_refunded", 1500)
    till.sandbox.clock(3600)
    assert state(till) == ("paid", 0)
    assert kinds(till)[-1] == "staff_refund_failed"
    assert refund(till.app, 1).exit_code == 0


def test_a_refund_that_fails_while_no_event_comes_is_learned_of(till: Till) -> None:
    buyer = till.buyer()
    order = buyer.order()
    buyer.pay(order["url"], FAILS_LATER)
    till.sandbox.webhooks("drop")
    refund(till.app, 1)
    till.sandbox.clock(3600)
    assert state(till) == ("refunded", 2000)
    command(till.app, "reconcile")
    assert state(till) == ("paid", 0)


def test_a_refund_that_takes_its_time_counts_at_once(till: Till) -> None:
    buyer = till.buyer()
    order = buyer.order()
    buyer.pay(order["url"], PENDING)
    refund(till.app, 1)
    assert state(till) == ("refunded", 2000)
    till.sandbox.clock(3600)
    assert state(till) == ("refunded", 2000)
    assert kinds(till).count("customer_refunded") == 1


def test_old_events_change_nothing(till: Till) -> None:
    buyer = till.buyer()
    order = buyer.order()
    buyer.pay(order["url"], FAILS_LATER)
    refund(till.app, 1)
    till.sandbox.clock(3600)
    before = (state(till), len(till.mails()))
    for event in reversed(till.sandbox.state["events"]):
        till.sandbox.resend(event["id"])
    forget_inbox(till.app)
    for event in till.sandbox.state["events"]:
        till.sandbox.resend(event["id"])
    assert (state(till), len(till.mails())) == before


def test_a_refund_is_heard_of_before_its_payment(till: Till) -> None:
    till.sandbox.webhooks("drop")
    buyer = till.buyer()
    order = buyer.order()
    buyer.pay(order["url"])
    refund_at_stripe(till, amount=300)
    assert state(till) == ("pending", 0)
    for type_ in ("refund.created", "charge.refunded"):
        till.sandbox.resend(till.sandbox.events(type_)[0]["id"])
        assert state(till) == ("partially_refunded", 300)
    till.sandbox.resend(till.sandbox.events("checkout.session.completed")[0]["id"])
    assert state(till) == ("partially_refunded", 300)
    assert len(till.mails()) == 3


def test_somebody_elses_refund_is_taken_and_ignored(till: Till) -> None:
    till.buyer().buy()
    other = till.sandbox.call("charges", amount=900, currency="jpy", source="tok_visa")
    till.sandbox.call("refunds", charge=other["id"])
    answers = {d["response_code"] for d in till.sandbox.state["deliveries"]}
    assert answers == {200}
    assert state(till) == ("paid", 0)


def test_what_konbini_gives_back_waits_for_the_customer_and_may_come_back(till: Till) -> None:
    buyer = till.buyer()
    order = buyer.order()
    slip = {"email": "succeed_immediately@example.com", "method": "konbini"}
    buyer.post(order["url"], slip)
    till.sandbox.clock(60)
    assert state(till) == ("paid", 0)
    assert refund(till.app, 1).exit_code == 0
    assert state(till) == ("refunded", 2000)
    till.sandbox.clock(46 * 86400)
    assert state(till) == ("paid", 0)


def test_an_answer_that_was_overtaken_by_a_newer_one_changes_nothing(app: Flask) -> None:
    """Two calls ask Stripe, and the one that asked first is the last to write."""
    buyer = Buyer(app)
    order = buyer.order()
    buyer.pay(order["url"], FAILS_LATER)
    refund(app, 1)
    wire = Wire(app)
    earlier: list[dict[str, Any]] = []
    wire.change = lambda answer: earlier.append(answer) or answer
    tell_again(app, buyer)
    buyer.post("/sandbox/control/clock", {"advance": 3600})
    assert buyer.see(order["order"])["refunded"] == 0
    old = next(answer for answer in earlier if answer.get("object") == "list")
    assert old["data"][0]["status"] == "succeeded"
    wire.change = lambda answer: old if answer.get("object") == "list" else answer
    tell_again(app, buyer)
    assert buyer.see(order["order"])["state"] == "paid"
    assert buyer.see(order["order"])["refunded"] == 0


def tell_again(app: Flask, buyer: Buyer) -> None:
    """Have Stripe send a refund's event once more, as if it were a new one."""
    forget_inbox(app)
    events = buyer.get("/sandbox/control/state").json["events"]
    found = next(event["id"] for event in events if event["type"] == "charge.refunded")
    buyer.post(f"/sandbox/control/events/{found}/resend")


def forget_inbox(app: Flask) -> None:
    with app.app_context(), db.engine.begin() as connection:
        connection.execute(text("DELETE FROM stripe_events"))


def test_one_key_on_two_orders_is_two_refunds(app: Flask) -> None:
    for number in (1, 2):
        Buyer(app).buy()
        assert refund(app, number, "--amount", "500", "--key", "mug-broken").exit_code == 0
    assert [order["refunded"] for order in Till.mounted(app).orders()] == [500, 500]


def test_the_same_key_over_two_payments_is_one_refund_of_both(app: Flask) -> None:
    pay_twice(app)
    for _click in range(2):
        assert refund(app, 1, "--amount", "3000", "--key", "all-of-it").exit_code == 0
    assert state(Till.mounted(app)) == ("partially_refunded", 3000)


def test_an_amount_over_two_payments_is_recognised_within_a_day(app: Flask) -> None:
    pay_twice(app)
    assert refund(app, 1, "--amount", "1500").exit_code == 0
    assert refund(app, 1, "--amount", "1000").exit_code == 0
    with app.app_context():
        assert [entry.amount for entry in ledger.entries(1)][2:] == [1500, 500, 500]
    again = refund(app, 1, "--amount", "1000")
    assert (again.exit_code, "¥1,000 of this order went back already" in again.output) == (1, True)


def test_an_unanswered_refund_goes_first_whatever_is_asked_for_next(app: Flask) -> None:
    till = Till.mounted(app)
    till.buyer().buy()
    till.sandbox.api("refuse")
    assert refund(app, 1, "--amount", "500", "--key", "first").exit_code == 1
    till.sandbox.api("ok")
    answered = refund(app, 1, "--amount", "700", "--key", "second")
    assert (answered.exit_code, "¥500 of order 1 goes back" in answered.output) == (0, True)
    assert state(till) == ("partially_refunded", 500)
    assert refund(app, 1, "--amount", "700", "--key", "second").exit_code == 0
    assert state(till) == ("partially_refunded", 1200)


@pytest.mark.parametrize("status", [None, "requires_action", "something_new"])
def test_a_refund_in_a_state_that_nobody_knows_is_on_its_way(app: Flask, status: Any) -> None:
    Buyer(app).buy()
    wire = Wire(app)
    wire.change = lambda answer: (
        answer | ({"status": status} if answer.get("object") == "refund" else {})
    )
    assert refund(app, 1, "--amount", "500").exit_code == 0
    assert state(Till.mounted(app)) == ("partially_refunded", 500)
