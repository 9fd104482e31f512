"""Goods are never sold twice, and never kept from somebody who could have them."""

from datetime import datetime, timedelta

import pytest
import time_machine
from flask import Flask

from tests.actors import Buyer
from tests.conftest import Till
from tests.databases import on_all

MUGS = 3

pytestmark = on_all


def wants(buyer: Buyer, quantity: int) -> int:
    form = {"product_id": MUGS, "quantity": quantity}
    return buyer.submit("/payments/session", form).status


def test_nobody_is_kept_from_goods_by_their_own_order(till: Till) -> None:
    buyer = till.buyer()
    first = buyer.order(MUGS, 4)
    second = buyer.order(MUGS, 5)
    assert first["order"] != second["order"]
    assert buyer.see(first["order"])["state"] == "cancelled"
    assert buyer.pay(first["url"]).status == 410
    assert buyer.pay(second["url"]).status == 303
    assert till.stock("last-mugs") == 0


def test_nobody_is_kept_from_goods_by_their_own_cart(till: Till) -> None:
    buyer = till.buyer()
    buyer.submit("/cart/items", {"product_id": MUGS, "quantity": 3})
    cart = buyer.submit("/payments/session", {}, Accept="application/json").json
    assert wants(buyer, 5) == 303
    assert buyer.see(cart["order"])["state"] == "cancelled"
    assert till.stock("last-mugs") == 0


def test_an_own_order_stays_where_its_goods_would_not_be_enough(till: Till) -> None:
    Buyer(till.app if till.in_process else None, till.base).order(MUGS, 3)
    buyer = till.buyer()
    own = buyer.order(MUGS, 1)
    assert wants(buyer, 3) == 409
    assert buyer.see(own["order"])["state"] == "pending"
    assert till.stock("last-mugs") == 1


def test_an_own_order_that_was_just_paid_is_shown_instead(till: Till) -> None:
    till.sandbox.webhooks("drop")
    buyer = till.buyer()
    own = buyer.order(MUGS, 4)
    buyer.pay(own["url"])
    answer = buyer.submit("/payments/session", {"product_id": MUGS, "quantity": 5})
    assert answer.location == f"/orders/{own['order']}"
    assert buyer.see(own["order"])["state"] == "paid"


def test_goods_of_a_session_that_ended_unheard_are_sold_to_the_next(till: Till) -> None:
    till.sandbox.webhooks("drop")
    gone = till.buyer()
    order = gone.order(MUGS, 5)
    assert wants(till.buyer(), 1) == 409
    till.sandbox.clock(3600)
    with time_machine.travel(datetime.now().astimezone() + timedelta(hours=1), tick=True):
        assert wants(till.buyer(), 2) == 303
    assert gone.see(order["order"])["state"] == "cancelled"
    assert till.stock("last-mugs") == 3


def test_goods_of_a_session_that_was_paid_unheard_are_not(till: Till) -> None:
    till.sandbox.webhooks("drop")
    silent = till.buyer()
    order = silent.order(MUGS, 5)
    silent.pay(order["url"])
    with time_machine.travel(datetime.now().astimezone() + timedelta(hours=1), tick=True):
        assert wants(till.buyer(), 1) == 409
    assert silent.see(order["order"])["state"] == "paid"
    assert till.stock("last-mugs") == 0


@pytest.mark.parametrize("email", ["expire_with_delay@example.com", "aya@example.com"])
def test_goods_of_a_konbini_slip_wait_for_stripe(till: Till, email: str) -> None:
    till.sandbox.webhooks("drop")
    buyer = till.buyer()
    order = buyer.order(MUGS, 5)
    buyer.post(order["url"], {"email": email, "method": "konbini"})
    assert buyer.see(order["order"])["state"] == "awaiting_payment"
    assert wants(buyer, 1) == wants(till.buyer(), 1) == 409


def test_low_stock_is_shown_and_sold_out_too(app: Flask) -> None:
    buyer = Buyer(app)
    assert "5 left" in buyer.get("/shop/last-mugs").words
    buyer.order(MUGS, 4)
    assert "1 left" in Buyer(app).get("/shop/last-mugs").words
    Buyer(app).order(MUGS, 1)
    assert "Sold out" in Buyer(app).get("/shop/").words
