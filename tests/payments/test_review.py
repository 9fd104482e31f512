"""What the owner decides: odd money is taken or given back; goods are shipped."""

import json
from typing import Any

import pytest
from flask import Flask

from shop.mail.outbox import newest
from tests.actors import Buyer
from tests.conftest import Till
from tests.databases import on_two
from tests.payments.test_refunds import command, kinds
from tests.wire import Wire

MUGS = 3

pytestmark = on_two


def odd_order(app: Flask, change: dict[str, Any]) -> Till:
    """Have somebody pay what does not fit the order."""
    wire = Wire(app)
    buyer = Buyer(app)
    order = buyer.order(MUGS, 1)
    wire.change = lambda answer: answer | change if answer.get("status") == "complete" else answer
    buyer.pay(order["url"])
    wire.change = lambda answer: answer
    till = Till.mounted(app)
    assert till.orders()[0]["state"] == "needs_review"
    return till


def late_order(app: Flask) -> Till:
    """Have somebody pay for goods that were sold to others meanwhile."""
    from tests.payments.test_settle import _cancelled_order, _deliver, _event, _paid_session

    wire, buyer, order = _cancelled_order(app)
    Buyer(app).order(MUGS, 2)
    paid = _paid_session(buyer, order)
    wire.change = lambda _: paid
    assert _deliver(app, _event("checkout.session.completed", paid)) == 200
    wire.change = lambda answer: answer
    return Till.mounted(app)


def test_odd_money_is_taken_as_paid(app: Flask) -> None:
    till = odd_order(app, {"amount_total": 1700})
    assert kinds(till) == ["staff_needs_review", "customer_received"]
    assert command(app, "decide", "1", "paid", "--yes").exit_code == 0
    assert till.orders()[0]["state"] == "paid"
    assert kinds(till)[2:] == ["customer_paid", "staff_new_order"]
    assert till.stock("last-mugs") == 4
    again = command(app, "decide", "1", "paid", "--yes")
    assert (again.exit_code, "nothing to decide" in again.output) == (1, True)


def test_goods_that_are_gone_are_promised_to_nobody(app: Flask) -> None:
    till = late_order(app)
    done = command(app, "decide", "1", "paid", "--yes")
    assert (done.exit_code, "not enough left of" in done.output) == (0, True)
    assert till.orders()[0]["state"] == "paid"
    page = Buyer(app).get(f"/orders/{till.orders()[0]['order']}").words
    assert ("we start packing" in page, "has sold out" in page) == (False, True)
    with app.app_context():
        told = {row.kind: json.loads(row.context) for row in newest()}
    assert told["customer_paid"]["goods_missing"] is True
    assert "Mug" in told["staff_new_order"]["missing"]


def test_what_was_taken_as_paid_counts_as_all_of_it(app: Flask) -> None:
    till = odd_order(app, {"amount_total": 1700})
    command(app, "decide", "1", "paid", "--yes")
    assert command(app, "refund", "1", "--amount", "700", "--yes").exit_code == 0
    assert till.orders()[0]["state"] == "partially_refunded"
    assert command(app, "refund", "1", "--yes").exit_code == 0
    assert (till.orders()[0]["state"], till.orders()[0]["refunded"]) == ("refunded", 1700)


def test_what_went_back_before_it_was_taken_as_paid_still_counts(app: Flask) -> None:
    till = odd_order(app, {"amount_total": 1700})
    assert command(app, "refund", "1", "--amount", "700", "--yes").exit_code == 0
    assert command(app, "decide", "1", "paid", "--yes").exit_code == 0
    assert (till.orders()[0]["state"], till.orders()[0]["refunded"]) == ("partially_refunded", 700)


def test_money_whose_amount_nobody_said_is_taken_as_paid(app: Flask) -> None:
    till = odd_order(app, {"amount_total": None})
    assert command(app, "decide", "1", "paid", "--yes").exit_code == 0
    assert till.orders()[0]["state"] == "paid"


def test_odd_money_is_given_back(app: Flask) -> None:
    till = odd_order(app, {"client_reference_id": "somebody else's"})
    assert command(app, "decide", "1", "refunded", "--yes").exit_code == 0
    assert (till.orders()[0]["state"], till.orders()[0]["refunded"]) == ("refunded", 1800)
    assert kinds(till)[2:] == ["customer_refunded"]


def test_a_charge_that_names_another_order_is_given_back(app: Flask) -> None:
    wire = Wire(app)
    odd = {"metadata": {"order": "somebody else's"}}
    wire.change = lambda answer: answer | odd if answer.get("object") == "charge" else answer
    buyer = Buyer(app)
    buyer.submit("/cart/items", {"product_id": MUGS, "quantity": 1})
    buyer.submit("/payments/charge", {"stripeToken": "tok_visa"})
    wire.change = lambda answer: answer
    till = Till.mounted(app)
    assert till.orders()[0]["state"] == "needs_review"
    assert "unknown" not in command(app, "reconcile").output
    done = command(app, "decide", "1", "refunded", "--yes")
    assert (done.exit_code, till.orders()[0]["state"]) == (0, "refunded"), done.output


def test_odd_money_whose_refund_comes_back_is_to_be_decided_again(app: Flask) -> None:
    till = odd_order(app, {"client_reference_id": "somebody else's"})
    assert command(app, "decide", "1", "refunded", "--yes").exit_code == 0
    buyer = Buyer(app)
    refund = buyer.get("/sandbox/control/state").json["refunds"][0]["id"]
    buyer.post(f"/sandbox/control/refunds/{refund}/fail", {})
    assert (till.orders()[0]["state"], till.orders()[0]["refunded"]) == ("needs_review", 0)
    assert command(app, "ship", "1").exit_code == 1
    assert "staff_refund_failed" in kinds(till)
    assert command(app, "decide", "1", "paid", "--yes").exit_code == 0
    assert till.orders()[0]["state"] == "paid"


def test_odd_money_that_was_given_back_at_stripe_needs_nobody(app: Flask) -> None:
    till = odd_order(app, {"amount_total": 1700})
    buyer = Buyer(app)
    charge = buyer.get("/sandbox/control/state").json["charges"][0]["id"]
    buyer.post(f"/sandbox/control/charges/{charge}/refund", {"amount": 700})
    assert till.orders()[0]["state"] == "needs_review"
    buyer.post(f"/sandbox/control/charges/{charge}/refund", {"amount": 1000})
    assert till.orders()[0]["state"] == "refunded"


def test_late_money_for_goods_that_are_gone_is_taken_when_the_owner_says_so(app: Flask) -> None:
    till = late_order(app)
    assert till.orders()[0]["state"] == "needs_review"
    assert command(app, "decide", "1", "paid", "--yes").exit_code == 0
    assert till.orders()[0]["state"] == "paid"
    assert till.stock("last-mugs") == 3


@pytest.mark.parametrize("outcome", ["paid", "refunded"])
def test_an_order_in_order_is_not_to_be_decided(till: Till, outcome: str) -> None:
    till.buyer().buy()
    refused = command(till.app, "decide", "1", outcome, "--yes")
    assert (refused.exit_code, "nothing to decide" in refused.output) == (1, True)
    assert till.orders()[0]["state"] == "paid"
    assert command(till.app, "decide", "1", "lost", "--yes").exit_code == 2


def test_it_is_shipped_once_and_the_customer_hears_of_it(till: Till) -> None:
    buyer = till.buyer()
    token = buyer.buy()
    assert command(till.app, "ship", "1").exit_code == 0
    assert command(till.app, "ship", "1").exit_code == 1
    assert kinds(till)[2:] == ["customer_shipped"]
    page = buyer.get(f"/orders/{token}").words
    assert "on its way to you" in page
    assert "Shipped" in page


def test_what_nobody_paid_is_not_shipped(till: Till) -> None:
    till.buyer().order()
    refused = command(till.app, "ship", "1")
    assert (refused.exit_code, "Nothing changed" in refused.output) == (1, True)


def test_an_order_of_another_mode_is_not_touched(app: Flask) -> None:
    from sqlalchemy import update

    from shop.db import changed_rows, write
    from shop.orders.models import Order

    Buyer(app).buy()
    with app.app_context():
        write(lambda: changed_rows(update(Order).values(mode="test")))
    for arguments in (("refund", "1", "--yes"), ("decide", "1", "paid", "--yes"), ("ship", "1")):
        assert "cannot find this order" in command(app, *arguments).output
