"""How goods come to the customer: what is offered, what it costs, what becomes of it."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import delete

from shop.catalog import deliveries
from shop.catalog.models import Delivery, Product
from shop.db import changed_rows, db, write
from shop.money import MOST_AMOUNT
from tests.actors import Answer, Browser, Buyer
from tests.conftest import Till
from tests.databases import on_all
from tests.pages import tags

PICKUP, PARCEL = 1, 2
TOWEL = 2  # 1,200 yen
JSON = {"Accept": "application/json"}
Set = Callable[..., None]


@pytest.fixture
def change(app: Flask) -> Set:
    """Return a function that changes columns of a delivery."""

    def change(delivery_id: int, **values: Any) -> None:
        with app.app_context():
            write(lambda: deliveries.change(deliveries.get(delivery_id), values))

    return change


def remove(app: Flask, *ids: int) -> None:
    with app.app_context():
        write(lambda: changed_rows(delete(Delivery).where(Delivery.id.in_(ids))))


def make_unsent(app: Flask, product_id: int) -> None:
    with app.app_context():

        def unit() -> None:
            db.session.get_one(Product, product_id).needs_shipping = False

        write(unit)


def start(buyer: Browser, **fields: Any) -> Answer:
    return buyer.submit("/payments/session", fields, **JSON)


def bought(buyer: Buyer, **fields: Any) -> dict[str, Any]:
    """Order and return the order's JSON."""
    answer = start(buyer, **fields)
    assert answer.status == 201, answer.text
    return buyer.see(answer.json["order"])


@on_all
def test_the_delivery_of_the_cart_is_in_the_total_before_stripe_is_asked(till: Till) -> None:
    buyer = till.buyer()
    buyer.submit("/cart/items", {"product_id": 1, "quantity": 1})
    page = buyer.get("/cart")
    assert "Pay ¥2,000" in page.words
    assert buyer.submit("/cart/delivery", {"delivery": PARCEL}).status == 303
    assert "Pay ¥2,600" in buyer.get("/cart").words
    buyer.submit("/cart/items", {"product_id": TOWEL, "quantity": 1})
    assert "Pay ¥3,800" in buyer.get("/cart").words
    order = bought(buyer)
    assert order["delivery"] == {"name": "Parcel", "amount": 600}
    assert order["amount"] == 3800
    [session] = till.sandbox.state["sessions"]
    assert session["amount_total"] == 3800
    assert session["total_details"]["amount_shipping"] == 600


def test_who_chooses_nothing_has_the_first(app: Flask, change: Set) -> None:
    buyer = Buyer(app)
    assert bought(buyer, product_id=1)["delivery"] == {"name": "Pick-up in the shop", "amount": 0}
    change(PICKUP, position=9)
    assert bought(Buyer(app), product_id=1)["delivery"] == {"name": "Parcel", "amount": 600}


def test_the_product_page_offers_what_fits_and_says_the_total_of_one(app: Flask) -> None:
    page = Browser(app).get("/shop/t-shirt").words
    assert "Parcel ¥600 free from ¥8,000 ¥2,600 together" in page
    assert "Pick-up in the shop free" in page
    make_unsent(app, 1)
    assert "Parcel" not in Browser(app).get("/shop/t-shirt").words


def test_it_is_free_from_the_very_amount(app: Flask, change: Set) -> None:
    change(PARCEL, free_from_amount=4000)
    below = bought(Buyer(app), product_id=1, quantity=1, delivery=PARCEL)
    at = bought(Buyer(app), product_id=1, quantity=2, delivery=PARCEL)
    assert (below["amount"], below["delivery"]["amount"]) == (2600, 600)
    assert (at["amount"], at["delivery"]["amount"]) == (4000, 0)


def test_what_needs_no_sending_asks_for_no_delivery(app: Flask) -> None:
    make_unsent(app, 1)
    assert bought(Buyer(app), product_id=1, delivery=PARCEL)["delivery"] is None
    mixed = Buyer(app)
    mixed.submit("/cart/items", {"product_id": 1, "quantity": 1})
    assert "Parcel" not in mixed.get("/cart").words
    mixed.submit("/cart/items", {"product_id": TOWEL, "quantity": 1})
    assert "Parcel" in mixed.get("/cart").words
    assert bought(mixed, delivery=PARCEL)["amount"] == 2000 + 1200 + 600


def test_a_shop_without_deliveries_sells_as_before(app: Flask) -> None:
    remove(app, PICKUP, PARCEL)
    buyer = Buyer(app)
    order = buyer.see(buyer.buy())
    assert (order["delivery"], order["amount"], order["state"]) == (None, 2000, "paid")


@on_all
def test_another_delivery_is_another_order_in_place_of_the_first(app: Flask) -> None:
    buyer = Buyer(app)
    buyer.submit("/cart/items", {"product_id": 1, "quantity": 1})
    first, again = start(buyer, delivery=PICKUP), start(buyer, delivery=PICKUP)
    assert first.json["id"] == again.json["id"]
    other = start(buyer, delivery=PARCEL)
    assert other.json["order"] != first.json["order"]
    assert buyer.see(first.json["order"])["state"] == "cancelled"


@pytest.mark.parametrize("wrong", ["99", "x", "-1", "9" * 30, "１", "\x00"])
def test_a_delivery_that_is_none_is_said_and_nothing_is_ordered(app: Flask, wrong: str) -> None:
    buyer = Buyer(app)
    refused = start(buyer, product_id=1, delivery=wrong)
    assert (refused.status, refused.json["error"]["code"]) == (409, "delivery_gone")
    buyer.submit("/cart/items", {"product_id": 1, "quantity": 1})
    assert buyer.submit("/cart/delivery", {"delivery": wrong}).status == 303
    assert "no longer offered" in buyer.get("/cart").words
    assert Till.mounted(app).orders() == []


def test_a_delivery_deleted_in_another_tab_is_asked_for_again(app: Flask) -> None:
    """The page asks with what was chosen, and its form goes on from there."""
    buyer = Buyer(app)
    remove(app, PICKUP)
    page = buyer.submit("/payments/session", {"product_id": 1, "quantity": 3, "delivery": PICKUP})
    assert page.status == 409
    assert "Nothing was charged" in page.words
    assert "T-shirt × 3" in page.words
    assert 'name="quantity" value="3"' in page.text
    going_on = bought(buyer, product_id=1, quantity=3, delivery=PARCEL)
    assert going_on["amount"] == 6600


def test_a_cart_whose_delivery_is_gone_has_the_first_that_fits(app: Flask) -> None:
    buyer = Buyer(app)
    buyer.submit("/cart/items", {"product_id": 1, "quantity": 1})
    buyer.submit("/cart/delivery", {"delivery": PARCEL})
    remove(app, PARCEL)
    assert "Pay ¥2,000" in buyer.get("/cart").words
    assert bought(buyer)["delivery"]["name"] == "Pick-up in the shop"


def test_a_changed_delivery_changes_no_old_order(app: Flask, change: Set) -> None:
    buyer = Buyer(app)
    order = start(buyer, product_id=1, delivery=PARCEL).json
    change(PARCEL, name="Courier", amount=900)
    remove(app, PICKUP)
    paid = buyer.pay(order["url"])
    assert paid.status == 422  # an address is asked for
    assert buyer.see(order["order"])["delivery"] == {"name": "Parcel", "amount": 600}
    again = start(buyer, order=order["order"])
    assert again.json["id"] == order["id"]


def test_ordering_anew_asks_again_where_the_delivery_is_gone(app: Flask) -> None:
    buyer, till = Buyer(app), Till.mounted(app)
    order = start(buyer, product_id=1, delivery=PARCEL).json
    till.sandbox.clock(40 * 60)
    assert buyer.see(order["order"])["state"] == "cancelled"
    anew = start(buyer, order=order["order"])
    assert buyer.see(anew.json["order"])["delivery"] == {"name": "Parcel", "amount": 600}
    till.sandbox.clock(40 * 60)
    remove(app, PARCEL)
    page = buyer.submit("/payments/session", {"order": anew.json["order"]})
    assert page.status == 409
    assert f'name="order" value="{anew.json["order"]}"' in page.text
    chosen = start(buyer, order=anew.json["order"], delivery=PICKUP)
    assert buyer.see(chosen.json["order"])["amount"] == 2000


def test_a_total_that_is_too_much_for_stripe_is_said(app: Flask, change: Set) -> None:
    change(PARCEL, amount=MOST_AMOUNT - 1000, free_from_amount=None)
    refused = start(Buyer(app), product_id=1, delivery=PARCEL)
    assert (refused.status, refused.json["error"]["code"]) == (422, "amount_too_large")


def test_the_first_is_chosen_until_another_one_is(app: Flask) -> None:
    def chosen(page: Answer) -> list[str | None]:
        inputs = [found for tag, found in tags(page.text) if tag == "input"]
        return [one["value"] for one in inputs if one["name"] == "delivery" and "checked" in one]

    buyer = Buyer(app)
    assert chosen(buyer.get("/shop/t-shirt")) == [str(PICKUP)]
    buyer.submit("/cart/items", {"product_id": 1, "quantity": 1})
    assert chosen(buyer.get("/cart")) == [str(PICKUP)]
    buyer.submit("/cart/delivery", {"delivery": PARCEL})
    assert chosen(buyer.get("/cart")) == [str(PARCEL)]


def test_the_id_of_a_delivery_that_is_gone_is_never_anothers(app: Flask) -> None:
    """Or an order that is placed anew would go by a way that nobody has chosen."""
    buyer, till = Buyer(app), Till.mounted(app)
    order = start(buyer, product_id=1, delivery=PARCEL).json
    till.sandbox.clock(40 * 60)
    buyer.see(order["order"])
    remove(app, PARCEL)
    with app.app_context():
        write(lambda: deliveries.add({"name": "Courier", "amount": 9000, "countries": "JP"}))
    assert buyer.submit("/payments/session", {"order": order["order"]}).status == 409
