"""Ordering and paying, as buyers and Stripe see it, over both transports."""

from tests.actors import DECLINED
from tests.conftest import Till


def test_a_paid_order_is_shown_and_both_are_told(till: Till) -> None:
    buyer = till.buyer()
    token = buyer.buy(quantity=2)
    order = buyer.see(token)
    assert order["state"] == "paid"
    assert order["amount"] == 4000
    assert "Paid. Thank you" in buyer.get(f"/orders/{token}").words
    kinds = [(mail["kind"], mail["to"]) for mail in till.mails()]
    assert kinds == [
        ("customer_paid", "aya@example.com"),
        ("staff_new_order", "owner@shop.example"),
    ]


def test_a_declined_card_can_be_followed_by_a_good_one(till: Till) -> None:
    buyer = till.buyer()
    order = buyer.order()
    declined = buyer.pay(order["url"], DECLINED)
    assert declined.status == 402
    assert buyer.see(order["order"])["state"] == "pending"
    paid = buyer.pay(order["url"])
    assert buyer.get(paid.location).status == 303
    assert buyer.see(order["order"])["state"] == "paid"
    assert len(till.orders()) == 1
