"""Shops whose events never came, buyers who went away: nothing stays open for ever."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote

import pytest
import time_machine
from flask import Flask
from sqlalchemy import text

from shop.db import db
from shop.payments import gateway, webhook
from shop.payments.gateway.objects import Event
from tests.actors import Buyer, Switches
from tests.conftest import Till
from tests.databases import each_row_on_all, on_two
from tests.wire import Wire

pytestmark = on_two


@pytest.fixture
def settings() -> dict[str, str]:
    return {"SHOP_LEGACY_CHARGE": "on", "STRIPE_PUBLISHABLE_KEY": "pk_test_standalone"}


def run(app: Flask, *arguments: str) -> Any:
    result = app.test_cli_runner().invoke(args=["shop", "reconcile", "--json", *arguments])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def say(app: Flask, *arguments: str) -> str:
    """Return what the owner reads."""
    result = app.test_cli_runner().invoke(args=["shop", "reconcile", *arguments])
    assert result.exit_code == 0, result.output
    return str(result.output)


def fail(app: Flask) -> str:
    """Return how the command says that not all was done."""
    result = app.test_cli_runner().invoke(args=["shop", "reconcile"])
    assert (result.exit_code, "Traceback" in result.output) == (1, False)
    return str(result.stderr)


def change(app: Flask, *statements: str) -> None:
    with app.app_context(), db.engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))


def kept(app: Flask, name: str) -> int | None:
    with app.app_context():
        value = db.session.scalar(text(f"SELECT value FROM key_values WHERE name = '{name}'"))
    return None if value is None else int(value)


def without_events(answer: Any) -> Any:
    """What Stripe lists once it has forgotten its events."""
    return answer | {"data": []} if answer.get("url") == "/v1/events" else answer


def drop_events(app: Flask) -> Buyer:
    buyer = Buyer(app)
    buyer.post("/sandbox/control/webhooks", {"mode": "drop"})
    return buyer


def pay_unheard(app: Flask, quantity: int = 1) -> dict[str, str]:
    """Pay an order while no event arrives and the buyer does not come back."""
    buyer = drop_events(app)
    order = buyer.order(1, quantity)
    buyer.pay(order["url"])
    return order


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
    assert did["mismatches"] == []
    assert [(row["order"], row["kind"], row["stripe"]) for row in would["mismatches"]] == [
        (paid["order"], "state", "paid"),
        (expired["order"], "state", "cancelled"),
        (waiting["order"], "state", "awaiting_payment"),
    ]
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
    # A charge of a card token has no payment intent, and is known by its own id.
    assert "1 payment agrees with Stripe." in say(till.app)


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
    assert run(till.app) == {"checked": 0, "settled": 1, "mismatches": []}
    assert till.orders()[0]["state"] == "paid"
    assert run(till.app) == {"checked": 0, "settled": 0, "mismatches": []}


def test_it_tells_of_a_refund_that_stripe_does_not_have(till: Till) -> None:
    token = till.buyer().buy()
    with till.app.app_context(), db.engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO ledger (order_id, kind, stripe_id, amount, currency, state,"
                " payment_id, created_at) SELECT order_id, 'refund', 're_nobody',"
                " 500, 'jpy', 'succeeded', id, created_at FROM ledger"
            )
        )
    row = {"order": token, "kind": "refund", "ours": "500", "stripe": "0"}
    assert run(till.app) == run(till.app) == {"checked": 0, "settled": 0, "mismatches": [row]}
    assert say(till.app).startswith("Order 1: refunded ¥500 here, ¥0 at Stripe.")


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
    assert "order 1 (Stripe did not answer)" in result.stderr
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
    first = set(events_kept(app))
    with time_machine.travel(datetime.now().astimezone() + timedelta(days=59), tick=True):
        Buyer(app).order()
        assert first <= set(events_kept(app))
    with time_machine.travel(datetime.now().astimezone() + timedelta(days=61), tick=True):
        Buyer(app).order(2)
        assert not first & set(events_kept(app))


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
    assert "order 5 (Stripe did not answer)" in result.stderr
    assert buyer.see(paid)["refunded"] == 500


def test_what_cannot_be_read_in_a_list_is_named_and_stops_nothing_else(app: Flask) -> None:
    buyer = Buyer(app)
    paid = [buyer.buy(), buyer.buy()]
    stripe = Switches(buyer, "http://127.0.0.1:5000/sandbox")
    stripe.webhooks("drop")
    for charge in stripe.state["charges"]:
        stripe.press(f"charges/{charge['id']}/refund", amount=500)
    broken: list[str] = []

    def break_first(found: dict[str, Any]) -> dict[str, Any]:
        wrong = {"/v1/charges": {"amount": "a lot"}, "/v1/events": {"type": None}}
        if found.get("url") in wrong and found["data"]:
            found["data"][0] |= wrong[found["url"]]
            broken.append(found["data"][0]["id"])
        return found

    Wire(app).change = break_first
    result = app.test_cli_runner().invoke(args=["shop", "reconcile", "--json"])
    assert (result.exit_code, json.loads(result.stdout)["mismatches"]) == (0, [])
    assert len(broken) == 2
    assert all(f" {one}: " in result.stderr for one in broken)
    assert sum(buyer.see(token)["refunded"] for token in paid) == 1000


STEPS = [
    ("checkout.session", "order 2", True),
    ("/v1/events", "missed events", True),
    ("refund", "the refund of order 1", True),
    ("/v1/charges", "the books", False),
]


@pytest.mark.parametrize(("broken", "name", "are_compared"), STEPS)
def test_each_step_fails_alone_and_is_named(
    app: Flask, broken: str, name: str, are_compared: bool
) -> None:
    buyer = Buyer(app)
    buyer.buy()
    buyer.post("/sandbox/control/api", {"mode": "refuse"})
    app.test_cli_runner().invoke(args=["shop", "refund", "1", "--amount", "500", "--yes"])
    buyer.post("/sandbox/control/api", {"mode": "ok"})
    pay_unheard(app)
    wire = Wire(app)
    wire.change = lambda found: {} if broken in (found.get("url"), found.get("object")) else found
    result = app.test_cli_runner().invoke(args=["shop", "reconcile"])
    assert (result.exit_code, f"{name} (Stripe did not answer)" in result.stderr) == (1, True)
    assert (" with Stripe." in result.stdout) == are_compared
    states = [(order["state"], order["refunded"]) for order in orders(app)]
    assert states[0] == ("partially_refunded", 500)
    assert (states[1] == ("paid", 0)) == (broken != "checkout.session")
    wire.change = lambda found: found
    assert "2 payments agree with Stripe." in say(app)
    assert [order["state"] for order in orders(app)] == ["partially_refunded", "paid"]


def orders(app: Flask) -> list[dict[str, Any]]:
    till = Till(app, None, "", in_process=True)  # type: ignore[arg-type]
    return till.orders()


def test_a_stripe_that_is_down_is_not_asked_about_everything(app: Flask) -> None:
    for _ in range(5):
        Buyer(app).order()
    buyer = Buyer(app)
    buyer.post("/sandbox/control/api", {"mode": "refuse"})
    wire = Wire(app)
    said = fail(app)
    assert "order 3 (Stripe did not answer), open payments (Stripe did not answer)" in said
    assert "order 4" not in said
    assert len(wire.requests) == 3 + 2


def test_a_key_that_is_refused_makes_no_payment_unknown(app: Flask) -> None:
    Buyer(app).order()
    wire = Wire(app)
    wire.refuse = ("GET", 401, "api_key_expired")
    result = app.test_cli_runner().invoke(args=["shop", "reconcile"])
    assert (result.exit_code, "does not know" in result.output) == (1, False)
    assert "order 1 (Stripe refused: AuthenticationError)" in result.stderr


def test_a_session_that_stripe_does_not_have_is_told_of(app: Flask) -> None:
    order = Buyer(app).order()
    change(app, "UPDATE attempts SET stripe_id = 'cs_test_gone'")
    (row,) = run(app)["mismatches"]
    assert row == {
        "order": order["order"],
        "kind": "unknown_at_stripe",
        "ours": "pending",
        "stripe": "resource_missing",
    }
    assert "Order 1: pending here, but Stripe does not know its payment." in say(app)


def test_agreement_is_said_as_plainly_as_difference(app: Flask) -> None:
    assert "0 payments agree with Stripe." in say(app)
    Buyer(app).buy()
    assert say(app) == "0 open payments asked about, 0 orders put right.\n" + (
        "1 payment agrees with Stripe.\n"
    )
    Buyer(app).buy()
    pay_unheard(app)
    assert say(app) == "1 open payment asked about, 1 order put right.\n" + (
        "3 payments agree with Stripe.\n"
    )


def test_a_dry_run_writes_nothing(app: Flask) -> None:
    empty = rows(app)
    say(app, "--dry-run")
    assert rows(app) == empty
    order = pay_unheard(app)
    Buyer(app).order()
    before = rows(app)
    said = say(app, "--dry-run")
    assert rows(app) == before
    assert said == (
        "Order 1: pending here, paid at Stripe.\n"
        "2 open payments asked about, nothing written.\n"
        "0 payments agree with Stripe.\n"
    )
    row = {"order": order["order"], "kind": "state", "ours": "pending", "stripe": "paid"}
    assert run(app, "--dry-run") == {"checked": 2, "settled": 0, "mismatches": [row]}


def rows(app: Flask) -> dict[str, list[Any]]:
    """Return all that the database holds."""
    with app.app_context(), db.engine.begin() as connection:
        tables = db.metadata.sorted_tables
        return {str(table): list(connection.execute(table.select())) for table in tables}


def test_where_paying_is_off_it_says_so(make_app: Callable[..., Flask]) -> None:
    result = make_app(SHOP_SANDBOX="off").test_cli_runner().invoke(args=["shop", "reconcile"])
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert "not" in result.stderr.lower()
    assert "Stripe did not answer" not in result.stderr


def test_orders_of_another_mode_are_left_alone(app: Flask) -> None:
    Buyer(app).order()
    Buyer(app).buy()
    change(app, "UPDATE orders SET mode = 'test' WHERE id = 1")
    wire = Wire(app)
    assert run(app) == {"checked": 0, "settled": 0, "mismatches": []}
    assert not [request for request in wire.requests if "sessions" in request]
    assert kept(app, "events test") is None


def test_events_are_read_from_a_cursor_with_a_days_overlap(app: Flask) -> None:
    start = datetime.now(UTC).replace(microsecond=0)
    wire = Wire(app)
    with time_machine.travel(start, tick=False):
        run(app)
    assert since(wire) == start - timedelta(days=30)
    assert kept(app, "events sandbox") == int(start.timestamp())
    with time_machine.travel(start + timedelta(days=10), tick=False):
        run(app)
    assert since(wire) == start - timedelta(days=1)
    with time_machine.travel(start + timedelta(days=60), tick=False):
        run(app)
    assert since(wire) == start + timedelta(days=30)
    # Once the clock was wrong, and put right.
    run(app)
    assert since(wire) < start


def since(wire: Wire) -> datetime:
    """Return from when on events were asked for first, and forget the requests."""
    asked = [request for request in wire.requests if request.startswith("GET /events")]
    wire.requests.clear()
    found = re.search(r"created\[gte\]=(\d+)", unquote(asked[0]))
    assert found
    return datetime.fromtimestamp(int(found[1]), UTC)


def test_an_event_that_fails_holds_the_cursor_and_nothing_else(app: Flask) -> None:
    run(app)
    before = kept(app, "events sandbox")
    failing, other = pay_unheard(app), pay_unheard(app)
    wire = Wire(app)
    wire.change = lambda found: {} if found.get("id") == failing["id"] else found
    with time_machine.travel(datetime.now(UTC) + timedelta(days=20), tick=True):
        assert "missed events (Stripe did not answer)" in fail(app)
        assert kept(app, "events sandbox") == before
        assert taken(app) == {other["id"]}
        wire.change = lambda found: found
        run(app)
        assert taken(app) == {other["id"], failing["id"]}
        assert (kept(app, "events sandbox") or 0) > (before or 0)


def taken(app: Flask) -> set[str]:
    """Return the sessions of which an event was taken."""
    with app.app_context():
        found = "SELECT object_id FROM stripe_events WHERE type LIKE 'checkout.session.%'"
        return set(db.session.execute(text(found)).scalars())


def test_events_of_somebody_elses_money_are_asked_about_once(till: Till) -> None:
    till.sandbox.webhooks("drop")
    names = {"metadata[order]": "theirs", "metadata[shop]": "their shop"}
    other = till.sandbox.call("charges", amount=900, currency="jpy", source="tok_visa", **names)
    till.sandbox.call("refunds", charge=other["id"])
    assert run(till.app) == {"checked": 0, "settled": 0, "mismatches": []}
    assert {event["id"] for event in till.sandbox.events("charge.refunded")} <= set(
        events_kept(till.app)
    )


def test_events_of_our_types_alone_are_taken_and_the_oldest_first(till: Till) -> None:
    till.sandbox.webhooks("drop")
    for _ in range(3):
        buyer = till.buyer()
        buyer.pay(buyer.order()["url"])
    assert {"payment_intent.succeeded"} <= {event["type"] for event in till.sandbox.state["events"]}
    listed: list[str] = []
    told: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        ask, receive = gateway.list_events, webhook.receive

        def list_events(*span: Any) -> list[Event]:
            found = ask(*span)
            listed.extend(event.type for event in found)
            return found

        patch.setattr(gateway, "list_events", list_events)
        patch.setattr(webhook, "receive", lambda event: (told.append(event.id), receive(event))[1])
        run(till.app)
    assert set(listed) == {"checkout.session.completed", "charge.succeeded"}
    ours = [event["id"] for event in till.sandbox.state["events"] if event["type"] in listed]
    assert told == sorted(told, key=ours.index, reverse=True)
    assert len(told) == 6


def test_what_no_event_tells_of_is_learned_from_the_charges(app: Flask) -> None:
    buyer = drop_events(app)
    paid = Buyer(app).order()
    buyer.pay(paid["url"])
    buyer.get(f"/payments/success?session_id={paid['id']}")
    late = pay_unheard(app)
    charges = buyer.get("/sandbox/control/state").json["charges"]
    first = next(one["id"] for one in charges if one["metadata"]["number"] == "1")
    buyer.post(f"/sandbox/control/charges/{first}/refund", {"amount": 300})
    buyer.post(f"/sandbox/control/charges/{first}/dispute", {})
    change(
        app,
        "UPDATE orders SET state = 'cancelled', dedup_key = NULL WHERE id = 2",
        "UPDATE attempts SET outcome = 'expired', open_order_id = NULL WHERE order_id = 2",
    )
    Wire(app).change = without_events
    assert [(row["order"], row["kind"]) for row in run(app, "--dry-run")["mismatches"]] == [
        (late["order"], "state"),
        (paid["order"], "refund"),
        (paid["order"], "dispute"),
    ]
    assert run(app) == {"checked": 0, "settled": 2, "mismatches": []}
    assert [(order["state"], order["refunded"]) for order in orders(app)] == [
        ("partially_refunded", 300),
        ("paid", 0),
    ]
    assert run(app) == {"checked": 0, "settled": 0, "mismatches": []}


def test_it_tells_of_a_payment_whose_order_is_not_here(app: Flask) -> None:
    Buyer(app).buy()
    Buyer(app).buy()
    charges = Buyer(app).get("/sandbox/control/state").json["charges"]
    lost = next(one["id"] for one in charges if one["metadata"]["number"] == "1")
    tables = ("ledger", "attempts", "timeline", "order_lines")
    change(
        app,
        *(f"DELETE FROM {table} WHERE order_id = 1" for table in tables),
        "DELETE FROM orders WHERE id = 1",
        "DELETE FROM stripe_events",
    )
    row = {"order": "", "kind": "missing_here", "ours": "order 1", "stripe": lost}
    assert run(app, "--dry-run")["mismatches"] == [row]
    assert run(app) == run(app) == {"checked": 0, "settled": 0, "mismatches": [row]}
    said = say(app)
    assert f"Stripe has the payment {lost} of order 1, which is not here." in said
    assert "1 payment agrees with Stripe." in said
    # A copy of another shop knows that these are not its own.
    change(app, "UPDATE key_values SET value = 'another shop' WHERE name = 'shop'")
    assert run(app)["mismatches"] == []


def test_money_that_has_nothing_of_ours_is_somebody_elses(till: Till) -> None:
    till.buyer().buy()
    for labels in ({}, {"metadata[order]": "theirs", "metadata[shop]": "their shop"}):
        till.sandbox.call("charges", amount=900, currency="jpy", source="tok_visa", **labels)
    assert run(till.app) == {"checked": 0, "settled": 0, "mismatches": []}
    assert "1 payment agrees with Stripe." in say(till.app)


def test_a_card_that_was_declined_is_no_payment_to_be_compared(app: Flask) -> None:
    buyer = Buyer(app)
    form = {"stripeToken": "tok_chargeDeclined", "order": buyer.order()["order"]}
    assert buyer.submit("/payments/charge", form).status == 402
    assert run(app)["mismatches"] == []
    assert "0 payments agree with Stripe." in say(app)


def test_it_tells_of_a_payment_that_stripe_does_not_have(till: Till) -> None:
    token = till.buyer().buy()
    change(till.app, "UPDATE ledger SET stripe_id = 'pi_nobody'", "DELETE FROM attempts")
    rows = run(till.app)["mismatches"]
    assert {"order": token, "kind": "unknown_at_stripe", "ours": "paid"}.items() <= rows[-1].items()
    assert till.orders()[0]["state"] == "paid"
    assert run(till.app)["mismatches"] == rows


def test_it_tells_of_another_amount(app: Flask) -> None:
    token = Buyer(app).buy()
    change(app, "UPDATE ledger SET amount = 1999")
    row = {"order": token, "kind": "amount", "ours": "1999", "stripe": "2000"}
    assert run(app)["mismatches"] == [row]


def test_money_for_the_owner_to_decide_about_agrees(app: Flask) -> None:
    pay_unheard(app)
    wire = Wire(app)
    wire.change = lambda found: (
        found | ({"amount_total": 1} if found.get("object") == "checkout.session" else {})
    )
    Buyer(app).get(f"/orders/{orders(app)[0]['order']}")
    assert orders(app)[0]["state"] == "needs_review"
    wire.change = lambda found: found
    change(app, "UPDATE ledger SET amount = 2000")
    assert "1 payment agrees with Stripe." in say(app)


def test_payments_at_the_edge_of_ninety_days_are_not_told_falsely(app: Flask) -> None:
    Buyer(app).buy()
    wire = Wire(app)
    with time_machine.travel(datetime.now(UTC) + timedelta(days=89), tick=True):
        assert "1 payment agrees with Stripe." in say(app)
    later = datetime.now(UTC) + timedelta(days=91)
    with time_machine.travel(later, tick=True):
        assert "0 payments agree with Stripe." in say(app)
    assert not [request for request in wire.requests if "sessions/" in request]
    # The order was settled a week after it was paid.
    settled_at = (later - timedelta(days=84)).strftime("%Y-%m-%d %H:%M:%S")
    change(app, f"UPDATE ledger SET created_at = '{settled_at}'")
    with time_machine.travel(later, tick=True):
        assert "at Stripe" not in say(app)


def test_a_list_with_what_cannot_be_read_goes_on(app: Flask) -> None:
    pay_unheard(app)
    fish = {"object": "fish", "id": None, "data": None}
    Wire(app).change = lambda found: (
        found | {"data": [fish, *found["data"], None]} if found.get("object") == "list" else found
    )
    assert run(app) == {"checked": 1, "settled": 1, "mismatches": []}


def test_long_lists_are_read_to_the_end(till: Till, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway, "PAGE_SIZE", 2)
    till.sandbox.webhooks("drop")
    for _ in range(5):
        buyer = till.buyer()
        buyer.pay(buyer.order()["url"])
    change(till.app, "UPDATE attempts SET open_order_id = NULL")
    assert run(till.app)["settled"] == 5
    assert "5 payments agree with Stripe." in say(till.app)
