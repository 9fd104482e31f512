"""Shops whose events never came, buyers who went away: nothing stays open for ever."""

import json
from datetime import datetime, timedelta
from typing import Any

import pytest
import time_machine
from flask import Flask
from sqlalchemy import text

from shop.db import db
from tests.actors import Buyer, Switches
from tests.conftest import Till
from tests.databases import each_row_on_all, on_all
from tests.wire import Wire

pytestmark = on_all


@pytest.fixture
def settings() -> dict[str, str]:
    return {"SHOP_LEGACY_CHARGE": "on", "STRIPE_PUBLISHABLE_KEY": "pk_test_standalone"}


def run(app: Flask, *arguments: str) -> Any:
    result = app.test_cli_runner().invoke(args=["shop", "reconcile", "--json", *arguments])
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


def grow_old(app: Flask) -> None:
    """Let all orders and attempts be an hour older."""
    with app.app_context(), db.engine.begin() as connection:
        for table, column in (
            ("orders", "created_at"),
            ("attempts", "created_at"),
            ("attempts", "expires_at"),
        ):
            connection.execute(text(f"UPDATE {table} SET {column} = '2026-01-01 00:00:00'"))


def test_it_settles_what_no_event_told(till: Till) -> None:
    till.sandbox.webhooks("drop")
    paid, expired, waiting = (till.buyer().order(3, 1) for _ in range(3))
    till.buyer().pay(paid["url"])
    slip = {"email": "fill_never@example.com", "method": "konbini"}
    till.buyer().post(waiting["url"], slip)
    till.sandbox.clock(40 * 60)
    would = run(till.app, "--dry-run")
    assert [order["state"] for order in till.orders()] == ["pending"] * 3
    assert (would["checked"], would["settled"]) == (3, 0)
    did = run(till.app)
    assert (did["checked"], did["settled"]) == (3, 3)
    assert did["mismatches"] == would["mismatches"]
    assert {(row["order"], row["stripe"]) for row in did["mismatches"]} == {
        (paid["order"], "paid"),
        (expired["order"], "cancelled"),
        (waiting["order"], "awaiting_payment"),
    }
    assert till.stock("last-mugs") == 3
    assert run(till.app) == {"checked": 1, "settled": 0, "mismatches": []}


def test_it_learns_of_a_charge_whose_answer_was_lost(till: Till) -> None:
    till.sandbox.webhooks("drop")
    buyer = till.buyer()
    buyer.submit("/cart/items", {"product_id": 1, "quantity": 1})
    till.sandbox.api("lost")
    assert buyer.submit("/payments/charge", {"stripeToken": "tok_visa"}).status == 503
    till.sandbox.api("ok")
    assert run(till.app)["settled"] == 1
    assert till.orders()[0]["state"] == "paid"
    assert len(till.sandbox.state["charges"]) == 1


def test_it_says_in_one_line_that_stripe_does_not_answer(till: Till) -> None:
    till.buyer().order()
    till.sandbox.api("refuse")
    result = till.app.test_cli_runner().invoke(args=["shop", "reconcile"])
    assert result.exit_code == 1
    assert "cannot reach" in result.output
    assert "Traceback" not in result.output


def test_goods_of_a_buyer_who_was_declined_and_left_are_sold_to_the_next(app: Flask) -> None:
    gone = Buyer(app)
    order = gone.order(3, 5)["order"]
    form = {"stripeToken": "tok_chargeDeclined", "order": order}
    assert gone.submit("/payments/charge", form).status == 402
    assert Buyer(app).submit("/payments/session", {"product_id": 3, "quantity": 1}).status == 409
    grow_old(app)
    Buyer(app).buy(3, 1)
    assert gone.see(order)["state"] == "cancelled"


def test_goods_of_an_order_whose_session_never_came_are_sold_to_the_next(app: Flask) -> None:
    gone = Buyer(app)
    gone.post("/sandbox/control/api", {"mode": "refuse"})
    assert gone.submit("/payments/session", {"product_id": 3, "quantity": 5}).status == 503
    gone.post("/sandbox/control/api", {"mode": "ok"})
    grow_old(app)
    Buyer(app).buy(3, 1)


def test_an_order_that_can_still_be_paid_keeps_its_goods(app: Flask) -> None:
    slow = Buyer(app)
    order = slow.order(3, 5)
    grow_old(app)
    assert Buyer(app).submit("/payments/session", {"product_id": 3, "quantity": 1}).status == 409
    assert slow.pay(order["url"]).status == 303
    assert slow.see(order["order"])["state"] == "paid"


def test_it_learns_of_a_session_whose_answer_was_lost(till: Till) -> None:
    till.sandbox.webhooks("drop")
    till.sandbox.api("lost", times=1)
    assert till.buyer().submit("/payments/session", {"product_id": 1}).status == 503
    till.buyer().pay(till.sandbox.state["sessions"][0]["url"])
    assert till.orders()[0]["state"] == "pending"
    assert run(till.app, "--dry-run")["mismatches"][0]["stripe"] == "paid"
    assert run(till.app)["settled"] == 1
    assert till.orders()[0]["state"] == "paid"
    assert len(till.sandbox.state["sessions"]) == 1


def test_a_session_nobody_knew_of_when_its_order_was_replaced_is_ended(till: Till) -> None:
    buyer = till.buyer()
    buyer.submit("/cart/items", {"product_id": 1, "quantity": 1})
    till.sandbox.api("lost", times=2)  # the second time it is asked for again, to be ended
    assert buyer.submit("/payments/session", {}).status == 503
    buyer.submit("/cart/items", {"product_id": 1, "quantity": 1})
    assert buyer.submit("/payments/session", {}).status == 303
    open_ones = [s for s in till.sandbox.state["sessions"] if s["status"] == "open"]
    assert [session["amount_total"] for session in open_ones] == [4000, 2000]
    run(till.app, "--dry-run")
    assert run(till.app)["checked"] == 2
    assert run(till.app)["checked"] == 1
    open_ones = [s for s in till.sandbox.state["sessions"] if s["status"] == "open"]
    assert [session["amount_total"] for session in open_ones] == [4000]
    assert sorted(order["state"] for order in till.orders()) == ["cancelled", "pending"]


def test_a_session_that_never_was_is_begun_and_can_be_paid(till: Till) -> None:
    till.sandbox.api("refuse", times=1)
    buyer = till.buyer()
    assert buyer.submit("/payments/session", {"product_id": 1}).status == 503
    assert run(till.app)["settled"] == 0
    assert buyer.pay(buyer.order()["url"]).status == 303
    assert len(till.sandbox.state["sessions"]) == 1
    assert till.orders()[0]["state"] == "paid"


def force(app: Flask, state: str, outcome: str) -> None:
    """Make the database say something of the only order that Stripe does not."""
    with app.app_context(), db.engine.begin() as connection:
        connection.execute(text(f"UPDATE orders SET state = '{state}', dedup_key = NULL"))
        closed = f"UPDATE attempts SET outcome = '{outcome}', open_order_id = NULL"
        connection.execute(text(closed))


def test_it_finds_what_was_paid_after_the_order_was_given_up(till: Till) -> None:
    till.sandbox.webhooks("drop")
    buyer = till.buyer()
    order = buyer.order()
    buyer.pay(order["url"])
    force(till.app, "cancelled", "expired")
    row = {"order": order["order"], "kind": "state", "ours": "cancelled", "stripe": "paid"}
    assert run(till.app, "--dry-run") == {"checked": 0, "settled": 0, "mismatches": [row]}
    assert run(till.app) == {"checked": 0, "settled": 1, "mismatches": [row]}
    assert till.orders()[0]["state"] == "paid"
    assert run(till.app) == {"checked": 0, "settled": 0, "mismatches": []}


def test_it_tells_of_what_is_paid_here_alone_and_changes_nothing(till: Till) -> None:
    order = till.buyer().order()
    force(till.app, "paid", "paid")
    row = {"order": order["order"], "kind": "state", "ours": "paid", "stripe": "pending"}
    assert run(till.app) == run(till.app) == {"checked": 0, "settled": 0, "mismatches": [row]}
    assert till.orders()[0]["state"] == "paid"


def test_it_tells_of_a_refund_that_stripe_does_not_have(till: Till) -> None:
    token = till.buyer().buy()
    with till.app.app_context(), db.engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO ledger (order_id, kind, stripe_id, amount, currency, state,"
                " acknowledged, payment_id, created_at) SELECT order_id, 'refund', 're_nobody',"
                " 500, 'jpy', 'succeeded', acknowledged, id, created_at FROM ledger"
            )
        )
    rows = run(till.app)["mismatches"]
    assert [(row["order"], row["kind"], row["ours"]) for row in rows] == [
        (token, "refund", "succeeded")
    ]


@each_row_on_all
@pytest.mark.parametrize("label", ["two\nlines", "x" * 400])
def test_what_another_program_labels_its_money_with_hides_nothing(till: Till, label: str) -> None:
    till.sandbox.webhooks("drop")
    buyer = till.buyer()
    order = buyer.order()
    buyer.pay(order["url"])
    force(till.app, "cancelled", "expired")
    names = {f"metadata[{name}]": label for name in ("order", "attempt")}
    other = till.sandbox.call("charges", amount=900, currency="jpy", source="tok_visa", **names)
    till.sandbox.call("refunds", charge=other["id"], **{"metadata[refund]": label})
    assert run(till.app)["settled"] == 1
    assert till.orders()[0]["state"] == "paid"


def test_one_payment_that_is_not_answered_keeps_nobody_else_waiting(app: Flask) -> None:
    buyer = Buyer(app)
    buyer.post("/sandbox/control/webhooks", {"mode": "drop"})
    first, second = Buyer(app).order(), Buyer(app).order()
    for order in (first, second):
        buyer.pay(order["url"])
    wire = Wire(app)
    wire.change = lambda answer: {} if answer.get("id") == first["id"] else answer
    result = app.test_cli_runner().invoke(args=["shop", "reconcile", "--json"])
    assert result.exit_code == 1
    assert json.loads(result.stdout)["settled"] == 1
    assert "cannot reach" in result.stderr
    assert buyer.see(second["order"])["state"] == "paid"


def test_an_event_about_money_that_stripe_does_not_show_is_asked_for_again(app: Flask) -> None:
    buyer = Buyer(app)
    buyer.post("/sandbox/control/webhooks", {"mode": "drop"})
    buyer.pay(buyer.order()["url"])
    charge = buyer.get("/sandbox/control/state").json["charges"][0]["id"]
    buyer.post(f"/sandbox/control/charges/{charge}/refund", {})
    events = buyer.get("/sandbox/control/state").json["events"]
    event = next(e["id"] for e in events if e["type"] == "charge.refunded")
    wire = Wire(app)
    wire.refuse = ("GET", 404, "resource_missing")
    path = f"/sandbox/control/events/{event}/resend"
    assert buyer.post(path, {}, Accept="application/json").json["response_code"] == 503
    wire.refuse = None
    assert buyer.post(path, {}, Accept="application/json").json["response_code"] == 200


def test_events_that_will_not_come_again_are_forgotten(app: Flask) -> None:
    Buyer(app).buy()
    (first,) = events_kept(app)
    with time_machine.travel(datetime.now().astimezone() + timedelta(days=59), tick=True):
        Buyer(app).order()
        assert first in events_kept(app)
    with time_machine.travel(datetime.now().astimezone() + timedelta(days=61), tick=True):
        Buyer(app).order(2)
        assert first not in events_kept(app)


def events_kept(app: Flask) -> list[str]:
    with app.app_context():
        return list(db.session.execute(text("SELECT id FROM stripe_events")).scalars())


def test_what_stripe_says_nonsense_about_keeps_nothing_else_from_healing(app: Flask) -> None:
    stripe = Switches(Buyer(app), "http://127.0.0.1:5000/sandbox")
    stripe.webhooks("drop")
    buyer = Buyer(app)
    paid = buyer.buy()
    for _ in range(4):
        Buyer(app).order()
    stripe.press(f"charges/{stripe.state['charges'][0]['id']}/refund", amount=500)
    Wire(app).change = lambda found: found if found["object"] == "list" else {"object": "fish"}
    result = app.test_cli_runner().invoke(args=["shop", "reconcile", "--json"])
    assert result.exit_code == 1
    assert buyer.see(paid)["refunded"] == 500
