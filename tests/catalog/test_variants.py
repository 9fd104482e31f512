"""Variants: how they are chosen, bought, sold out and hidden."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select, update

from shop.catalog.models import Product
from shop.db import changed_rows, db, write
from shop.mail.outbox import Mail
from shop.orders.models import OrderLine
from tests.actors import Answer, Browser, Buyer
from tests.databases import on_all
from tests.pages import form_to, tags

HOODIE = 5
Change = Callable[..., None]


@pytest.fixture
def sizes(app: Flask) -> dict[str, int]:
    """The ids of the hoodie's sizes, by their names."""
    with app.app_context():
        mine = select(Product).where(Product.parent_id == HOODIE)
        return {one.name: one.id for one in db.session.scalars(mine)}


@pytest.fixture
def change(app: Flask) -> Change:
    """Return a function that changes a product or variant as its owner would."""

    def change(product_id: int, **values: Any) -> None:
        with app.app_context():
            statement = update(Product).where(Product.id == product_id).values(**values)
            assert write(lambda: changed_rows(statement)) == 1

    return change


def buy(buyer: Browser, product_id: int, quantity: int = 1) -> Answer:
    wanted = {"product_id": product_id, "quantity": quantity}
    return buyer.submit("/payments/session", wanted, Accept="application/json")


def radios(page: str) -> dict[str, dict[str, str | None]]:
    """Return the buttons by which a variant is chosen, by their values."""
    inputs = [found for tag, found in tags(page) if tag == "input"]
    mine = [one for one in inputs if one.get("type") == "radio" and one["name"] == "product_id"]
    return {str(one["value"]): one for one in mine}


@on_all
def test_a_size_is_bought_under_its_products_name(app: Flask, sizes: dict[str, int]) -> None:
    buyer = Buyer(app)
    buyer.submit("/cart/items", {"product_id": sizes["M"], "quantity": 2})
    page = buyer.get("/cart")
    assert "Hoodie, M" in page.words
    assert "/shop/hoodie" in page.text
    order = buyer.order(sizes["L"], 2)
    assert "Hoodie, L" in buyer.get(order["url"]).words
    paid = buyer.pay(order["url"])
    assert buyer.get(paid.location).status == 303
    assert [line["name"] for line in buyer.see(order["order"])["lines"]] == ["Hoodie, L"]
    assert "Hoodie, L" in buyer.get(f"/orders/{order['order']}").words
    with app.app_context():
        told = db.session.scalars(select(Mail.context)).all()
        assert len(told) == 2
        assert all("Hoodie, L" in one for one in told)
        listed = app.test_cli_runner().invoke(args=["shop", "orders", "--json"]).output
        assert "Hoodie, L" in listed
        assert db.session.get_one(Product, sizes["L"]).stock == 1
        assert db.session.scalar(select(OrderLine.tax_rate)) == 1000


def test_the_page_offers_the_sizes_and_what_differs(
    browser: Browser, sizes: dict[str, int], change: Change
) -> None:
    shown = radios(browser.get("/shop/hoodie").text)
    assert list(shown) == [str(sizes[name]) for name in ("S", "M", "L", "XL")]
    disabled = [value for value, found in shown.items() if "disabled" in found]
    assert disabled == [str(sizes["XL"])]
    assert not [value for value, found in shown.items() if "checked" in found]
    page = browser.get("/shop/hoodie").words
    assert "3 left" in page
    assert "from ¥5,800" not in page
    change(sizes["L"], unit_amount=6200)
    page = browser.get("/shop/hoodie").words
    assert "from ¥5,800" in page
    assert "¥6,200" in page
    assert "from ¥5,800" in browser.get("/shop/").words
    assert "from ¥5,800" in browser.get("/").words


def test_the_only_size_that_is_left_is_chosen(
    browser: Browser, sizes: dict[str, int], change: Change
) -> None:
    for name in ("S", "M"):
        change(sizes[name], stock=0)
    shown = radios(browser.get("/shop/hoodie").text)
    assert [value for value, found in shown.items() if "checked" in found] == [str(sizes["L"])]


@pytest.mark.parametrize("address", ["/payments/session", "/cart/items"])
def test_who_chooses_no_size_is_asked_again_and_keeps_the_quantity(
    browser: Browser, address: str
) -> None:
    form = form_to(browser.get("/shop/hoodie").text, "/payments/session")
    assert form is not None
    # What a browser sends that does not mind `required`: the hidden field alone.
    asked = browser.post(address, form.fields | {"product_id": str(HOODIE), "quantity": "3"})
    assert asked.status == 422
    assert "comes in several kinds" in asked.words
    again = form_to(asked.text, "/payments/session")
    assert again is not None
    assert again.fields["quantity"] == "3"
    assert again.fields["product_id"] == str(HOODIE)


def test_the_size_counts_before_the_product_that_is_sent_with_it(
    app: Flask, sizes: dict[str, int]
) -> None:
    buyer = Buyer(app)
    both = {"product_id": [sizes["M"], HOODIE], "quantity": "1"}
    assert buyer.submit("/cart/items", both).status == 303
    assert "Hoodie, M" in buyer.get("/cart").words
    assert buyer.submit("/payments/session", both, Accept="application/json").status == 201


def test_programs_are_told_by_code(app: Flask) -> None:
    refused = buy(Buyer(app), HOODIE)
    assert (refused.status, refused.json["error"]["code"]) == (422, "choose_variant")


def test_all_sizes_sold_out_is_sold_out(
    app: Flask, browser: Browser, sizes: dict[str, int], change: Change
) -> None:
    for product_id in sizes.values():
        change(product_id, stock=0)
    for address in ("/", "/shop/", "/shop/hoodie"):
        assert "Sold out" in browser.get(address).words
    assert not radios(browser.get("/shop/hoodie").text)
    assert buy(Buyer(app), sizes["M"]).json["error"]["code"] == "sold_out"


def test_a_product_of_which_all_sizes_are_hidden_is_not_sold_without_one(
    app: Flask, browser: Browser, sizes: dict[str, int], change: Change
) -> None:
    buyer = Buyer(app)
    buyer.submit("/cart/items", {"product_id": sizes["S"], "quantity": 1})
    for product_id in sizes.values():
        change(product_id, active=False)
    assert "Sold out" in browser.get("/shop/hoodie").words
    assert form_to(browser.get("/shop/hoodie").text, "/payments/session") is None
    assert buy(buyer, HOODIE).json["error"]["code"] == "sold_out"
    assert buy(buyer, sizes["S"]).status == 404
    assert "“Hoodie, S” is no longer sold" in buyer.get("/cart").words


def test_a_size_sells_only_while_its_product_does(
    app: Flask, sizes: dict[str, int], change: Change
) -> None:
    buyer = Buyer(app)
    buyer.submit("/cart/items", {"product_id": sizes["M"], "quantity": 1})
    waiting = buyer.order(sizes["S"])
    change(HOODIE, active=False)
    assert buy(buyer, sizes["M"]).status == 404
    page = buyer.get("/cart")
    assert "“Hoodie, M” is no longer sold" in page.words
    assert buyer.submit(f"/cart/items/{sizes['M']}", {"quantity": 0}).status == 303
    assert "no longer sold" not in buyer.get("/cart").words
    # The order was made before, at the price it was made with.
    change(sizes["S"], unit_amount=9999)
    assert buyer.pay(waiting["url"]).status == 303
    assert buyer.see(waiting["order"])["amount"] == 5800


def test_search_engines_read_an_offer_for_each_size(
    browser: Browser, sizes: dict[str, int], change: Change
) -> None:
    change(sizes["L"], unit_amount=6200)
    change(HOODIE, description="</script><b>&")
    for slug, offers in (
        ("t-shirt", [("T-shirt", "2000", "InStock")]),
        ("hoodie", [("Hoodie, S", "5800", "InStock"), ("Hoodie, M", "5800", "InStock"),
                    ("Hoodie, L", "6200", "InStock"), ("Hoodie, XL", "5800", "OutOfStock")]),
    ):  # fmt: skip
        page = browser.get(f"/shop/{slug}").text
        found = re.findall(r'<script type="application/ld\+json">(.*?)</script>', page)
        data = json.loads(found[0])
        assert data["url"] == f"http://127.0.0.1:5000/shop/{slug}"
        told = [
            (one["name"], one["price"], one["availability"].rpartition("/")[2])
            for one in data["offers"]
        ]
        assert told == offers
        assert {one["priceCurrency"] for one in data["offers"]} == {"JPY"}
    assert data["description"] == "</script><b>&"


def test_a_size_has_no_page_and_is_not_found_by_name(browser: Browser) -> None:
    assert browser.get("/shop/M").status == 404
    assert browser.get("/shop/None").status == 404
    assert "Nothing here is called" in browser.get("/shop/?q=XL").words


def test_an_order_that_was_given_up_says_so_when_its_product_got_sizes(
    app: Flask, change: Change
) -> None:
    def split() -> None:
        db.session.add(Product(parent_id=1, name="One", position=1))
        db.session.flush()

    buyer = Buyer(app)
    order = buyer.order(1)
    with app.app_context():
        write(split)
    # The session is still open, so it is gone on with: its order was made before.
    again = buyer.submit("/payments/session", {"order": order["order"]}, Accept="application/json")
    assert again.json["url"] == order["url"]
    closed = "UPDATE orders SET state = 'cancelled', dedup_key = NULL, holds_stock = 0"
    with app.app_context(), db.engine.begin() as connection:
        connection.exec_driver_sql(closed)
    asked = buyer.submit("/payments/session", {"order": order["order"]})
    assert asked.status == 422
    assert "“T-shirt” comes in several kinds" in asked.words
    change(1, active=False)
    gone = buyer.submit("/payments/session", {"order": order["order"]})
    assert (gone.status, "Nothing was charged" in gone.words) == (404, True)
