"""Catalogue, product pages and the cart."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import delete, select, update

from shop.catalog.models import Delivery, Product
from shop.db import changed_rows, db, write
from tests.actors import Browser
from tests.databases import on_all
from tests.pages import form_to, forms, links, send, tags

TSHIRT, TOWEL, MUGS, POSTCARDS, HOODIE = 1, 2, 3, 4, 5


@pytest.fixture
def set_product(app: Flask) -> Callable[..., None]:
    """Return a function that changes a product as its owner would."""

    def change(product_id: int, **values: Any) -> None:
        with app.app_context():
            statement = update(Product).where(Product.id == product_id).values(**values)
            assert write(lambda: changed_rows(statement)) == 1

    return change


def cart(browser: Browser) -> dict[str, int]:
    """Return what lies in the cart: the address of each line and its quantity."""
    lines: dict[str, int] = {}
    for form in forms(browser.get("/cart").text):
        if form.action.startswith("/cart/items/"):  # the first is to change, others remove
            lines.setdefault(form.action.rpartition("/")[2], int(form.fields["quantity"]))
    return lines


def add(browser: Browser, product_id: Any, quantity: Any = 1) -> int:
    return browser.submit("/cart/items", {"product_id": product_id, "quantity": quantity}).status


# --- shelves --------------------------------------------------------------------------------


def test_everything_on_sale_is_in_the_catalogue(browser: Browser) -> None:
    page = browser.get("/shop/")
    assert page.status == 200
    for name in ("T-shirt", "Linen tea towel", "Mug, the last ones", "Postcards, ten"):
        assert name in page.words
    assert {"/shop/t-shirt", "/shop/tea-towel", "/shop/last-mugs"} <= set(links(page.text))
    assert "¥2,000" in page.words


def test_a_product_has_a_page_with_price_and_text(browser: Browser) -> None:
    page = browser.get("/shop/t-shirt")
    assert page.status == 200
    assert "¥2,000" in page.words
    assert "Heavy cotton" in page.words


def test_an_empty_shop_says_so(browser: Browser, set_product: Callable[..., None]) -> None:
    for product_id in (TSHIRT, TOWEL, MUGS, POSTCARDS, HOODIE):
        set_product(product_id, active=False)
    assert "shelves are still empty" in browser.get("/shop/").words
    assert browser.get("/").status == 200


@on_all
def test_what_is_not_sold_is_404(browser: Browser, set_product: Callable[..., None]) -> None:
    set_product(MUGS, active=False)
    for slug in (
        "nothing",
        "last-mugs",
        "T-SHIRT%00",
        "%00",
        "%ED%A0%80",
        "x" * 5000,
        "' OR 1=1 --",
        "日本",
    ):
        answer = browser.get(f"/shop/{slug}")
        assert answer.status == 404, slug
        assert "Nothing was charged" in answer.words
    assert "last mugs" not in browser.get("/shop/").words
    assert "last mugs" not in browser.get("/").words


@pytest.mark.parametrize(
    ("stock", "words"),
    [(None, None), (6, None), (5, "5 left"), (1, "1 left"), (0, "Sold out")],
)
def test_the_stock_is_said_where_it_matters(
    browser: Browser, set_product: Callable[..., None], stock: int | None, words: str | None
) -> None:
    set_product(MUGS, stock=stock)
    set_product(TOWEL, active=False)
    for address in ("/shop/last-mugs", "/shop/", "/"):
        page = browser.get(address).words
        assert (" left" in page or "Sold out" in page) == (words is not None)
        assert words is None or words in page


def test_what_is_sold_out_has_no_button(browser: Browser, set_product: Callable[..., None]) -> None:
    set_product(MUGS, stock=0)
    page = browser.get("/shop/last-mugs").text
    assert form_to(page, "/payments/session") is None
    assert "/cart/items" not in links(page)
    # Where a delivery is to be chosen, the window leads to the product's page.
    offered = [found.get("aria-describedby") for _tag, found in tags(browser.get("/").text)]
    assert f"good-{MUGS}" not in offered
    assert f"good-{TSHIRT}" in offered


def test_the_window_sells_at_once_where_nothing_is_to_be_chosen(app: Flask) -> None:
    with app.app_context():
        write(lambda: changed_rows(delete(Delivery).where(Delivery.id == 2)))
    bought = [form.fields.get("product_id") for form in forms(Browser(app).get("/").text)]
    assert str(TSHIRT) in bought


def test_a_product_that_cannot_be_paid_has_no_button(make_app: Callable[..., Flask]) -> None:
    browser = Browser(make_app(SHOP_SANDBOX="off"))
    for address in ("/shop/t-shirt", "/"):
        page = browser.get(address)
        assert form_to(page.text, "/payments/session") is None
        assert "switched off" in page.words


def test_a_name_with_html_is_a_name(browser: Browser, set_product: Callable[..., None]) -> None:
    set_product(TSHIRT, name="<script>alert(1)</script>", description="<b>bold</b>")
    browser.submit("/cart/items", {"product_id": TSHIRT, "quantity": 1})
    for address in ("/shop/t-shirt", "/shop/", "/", "/cart"):
        page = browser.get(address).text
        assert "<script>" not in page
        assert "<b>bold" not in page


@pytest.mark.parametrize(("language", "price"), [("en", "¥2,000"), ("ja", "¥2,000")])
def test_prices_are_written_for_their_reader(browser: Browser, language: str, price: str) -> None:
    browser.get(f"/?lang={language}")
    assert price in browser.get("/shop/t-shirt").words


def test_prices_are_in_the_shops_currency(make_app: Callable[..., Flask]) -> None:
    assert "$20.00" in Browser(make_app(SHOP_CURRENCY="usd")).get("/shop/t-shirt").words


# --- the cart -------------------------------------------------------------------------------


def test_an_empty_cart_says_so(browser: Browser) -> None:
    page = browser.get("/cart")
    assert "Your cart is empty" in page.words
    assert form_to(page.text, "/payments/session") is None


def test_what_is_added_lies_in_the_cart(browser: Browser) -> None:
    added = browser.submit("/cart/items", {"product_id": TSHIRT, "quantity": 2})
    assert (added.status, added.location) == (303, "/cart")
    page = browser.get("/cart")
    assert "It is in your cart" in page.words
    assert "¥4,000" in page.words
    assert cart(browser) == {"1": 2}
    assert "Cart (2)" in browser.get("/").words
    assert "It is in your cart" not in browser.get("/cart").words


def test_one_piece_is_added_where_no_number_is_said(browser: Browser) -> None:
    assert browser.submit("/cart/items", {"product_id": TSHIRT}).status == 303
    assert cart(browser) == {"1": 1}


def test_adding_again_adds_up(browser: Browser) -> None:
    assert [add(browser, TSHIRT, 2), add(browser, TOWEL), add(browser, TSHIRT, 3)] == [303] * 3
    assert cart(browser) == {"1": 5, "2": 1}
    assert "¥11,200" in browser.get("/cart").words


def test_the_products_page_leads_into_the_cart(browser: Browser) -> None:
    page = browser.get("/shop/t-shirt").text
    assert "/cart/items" in links(page)
    form = form_to(page, "/payments/session")
    assert form is not None
    assert browser.post("/cart/items", form.fields | {"quantity": "3"}).status == 303
    assert cart(browser) == {"1": 3}


def test_the_quantity_can_be_changed_and_0_takes_out(browser: Browser) -> None:
    add(browser, TSHIRT, 2)
    add(browser, TOWEL, 1)
    for quantity, left in ((7, {"1": 7, "2": 1}), (1, {"1": 1, "2": 1}), (0, {"2": 1})):
        changed = browser.submit("/cart/items/1", {"quantity": quantity})
        assert (changed.status, changed.location) == (303, "/cart")
        assert cart(browser) == left
    assert browser.submit("/cart/items/1", {"quantity": 0}).status == 303
    assert browser.submit("/cart/items/2", {"quantity": 0}).status == 303
    assert "Your cart is empty" in browser.get("/cart").words


@pytest.mark.parametrize(
    "quantity", ["", "0", "-1", "100", "1.5", "x", "٣", "9" * 30, "9" * 4301, "1e1"]
)
def test_a_number_that_makes_no_sense_is_refused_and_changes_nothing(
    browser: Browser, quantity: str
) -> None:
    add(browser, TSHIRT, 2)
    refused = browser.submit("/cart/items", {"product_id": TSHIRT, "quantity": quantity})
    assert refused.status == 422
    assert "from 1 to 99" in refused.words
    if quantity != "0":
        assert browser.submit("/cart/items/1", {"quantity": quantity}).status == 422
    assert cart(browser) == {"1": 2}


def test_no_more_than_99_of_a_product_add_up(browser: Browser) -> None:
    assert add(browser, TSHIRT, 99) == 303
    assert add(browser, TSHIRT, 1) == 422
    assert cart(browser) == {"1": 99}


@pytest.mark.parametrize(
    "product_id", ["", "0", "-1", "987654", "x", "٣", "9" * 30, str(2**63), "1.0"]
)
def test_what_is_not_sold_does_not_get_into_the_cart(browser: Browser, product_id: str) -> None:
    assert add(browser, product_id) == 404
    assert cart(browser) == {}


def test_a_product_that_is_taken_off_sale_leaves_the_cart(
    browser: Browser, set_product: Callable[..., None]
) -> None:
    add(browser, TSHIRT)
    add(browser, TOWEL)
    set_product(TSHIRT, active=False)
    page = browser.get("/cart").words
    assert "“T-shirt” is no longer sold" in page
    assert "Pay ¥1,200" in page
    assert add(browser, TSHIRT) == 404
    assert browser.submit("/cart/items/1", {"quantity": 0}).status == 303
    assert "T-shirt" not in browser.get("/cart").words
    assert cart(browser) == {"2": 1}


def test_the_cart_says_at_the_line_how_many_there_are(
    app: Flask, browser: Browser, set_product: Callable[..., None]
) -> None:
    add(browser, MUGS, 4)
    assert "5 left" in browser.get("/cart").words
    for stock, words in ((3, "Only 3 are left"), (1, "Only 1 is left"), (0, "Sold out meanwhile")):
        set_product(MUGS, stock=stock)
        assert words in browser.get("/cart").words
    set_product(MUGS, stock=4)
    assert browser.submit("/payments/session", {}).status == 303
    # The last ones are kept for this very cart.
    page = browser.get("/cart").words
    assert "Sold out" not in page
    assert "Pay ¥7,200" in page
    assert "Sold out" in Browser(app).get("/shop/last-mugs").words


def test_the_price_is_the_shops_whatever_the_browser_says(
    browser: Browser, set_product: Callable[..., None]
) -> None:
    forged = {"product_id": TSHIRT, "quantity": 1, "price": 1, "unit_amount": 1, "amount": 1}
    assert browser.submit("/cart/items", forged).status == 303
    assert "¥2,000" in browser.get("/cart").words
    set_product(TSHIRT, unit_amount=2500)
    assert "¥2,500" in browser.get("/cart").words


def test_each_visitor_has_a_cart_of_their_own(app: Flask) -> None:
    one, other = Browser(app), Browser(app)
    add(one, TSHIRT, 3)
    assert cart(other) == {}
    add(other, TOWEL)
    assert (cart(one), cart(other)) == ({"1": 3}, {"2": 1})


def test_a_cart_holds_what_a_cookie_can_keep(app: Flask, browser: Browser) -> None:
    def unit() -> None:
        for number in range(40):
            db.session.add(Product(slug=f"p-{number}", name=f"P {number}", unit_amount=1))
            db.session.flush()

    with app.app_context():
        write(unit)
        first = db.session.scalar(select(Product.id).where(Product.slug == "p-0")) or 0
    statuses = [add(browser, product_id, 99) for product_id in range(first, first + 40)]
    assert statuses == [303] * 30 + [422] * 10
    full = browser.submit("/cart/items", {"product_id": first + 35})
    assert "30 different products" in full.words
    assert browser.submit(f"/cart/items/{first + 36}", {"quantity": 1}).status == 422
    assert len(cart(browser)) == 30
    assert add(browser, 1, 0) == 422
    assert browser.submit(f"/cart/items/{first}", {"quantity": 1}).status == 303
    client: Any = browser._client
    assert len(client.get_cookie("session", domain="127.0.0.1").value) < 3500


def test_the_cart_needs_a_cookie_but_the_shop_does_not(app: Flask) -> None:
    for address in ("/", "/shop/", "/shop/t-shirt", "/cart"):
        assert send(app, address).status == 200


def test_search_engines_are_given_the_pages_that_are_shown(app: Flask) -> None:
    answer = Browser(app).get("/sitemap.xml")
    assert answer.headers["Content-Type"].startswith("application/xml")
    found = re.findall(r"<loc>http://127\.0\.0\.1:5000(.*?)</loc>", answer.text)
    assert found[:2] == ["/", "/shop/"]
    assert {"/shop/t-shirt", "/shop/hoodie", "/legal", "/privacy"} <= set(found)
    assert len(found) == 4 + 5
    assert "Sitemap: http://127.0.0.1:5000/sitemap.xml" in Browser(app).get("/robots.txt").text
