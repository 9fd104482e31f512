"""Goods in the back office, and what visitors see of them."""

import json
import re
from collections.abc import Callable
from html import unescape
from io import BytesIO
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import func, select
from werkzeug.datastructures import FileStorage
from werkzeug.test import encode_multipart

from shop.catalog.models import Product
from shop.db import db, write
from tests.actors import Answer, Browser, Buyer
from tests.catalog.test_pictures import drawn
from tests.databases import on_all
from tests.pages import form_to

NEW = {"name": "Bowl", "price": "1,200", "stock": "7", "description": "Round.", "tax_rate": "10",
       "needs_shipping": "on", "active": "on"}  # fmt: skip


def shelved(app: Flask, name: str) -> Any:
    """Return the row of a product, without its session."""
    with app.app_context():
        row = db.session.scalar(select(Product).where(Product.name == name))
        assert row is not None, name
        db.session.expunge(row)
        return row


def put(owner: Browser, app: Flask, **values: str) -> int:
    """Put a product on the shelf by the form and return its id."""
    answer = owner.submit("/owner/goods/new", NEW | values)
    assert answer.status == 303, answer.words
    return int(answer.headers["Location"].rpartition("/")[2])


def fields(page: Answer, action: str) -> dict[str, str]:
    form = form_to(page.text, action)
    assert form is not None, action
    return form.fields


@on_all
def test_an_owner_fills_the_shelf_and_a_visitor_buys(app: Flask, owner: Browser) -> None:
    product_id = put(owner, app)
    for size, price, stock in (("Small", "", "2"), ("Large", "1,500", "0")):
        answer = owner.submit(
            f"/owner/goods/{product_id}/variants", {"name": size, "price": price, "stock": stock}
        )
        assert answer.status == 303, answer.words
    picture = {"picture": (BytesIO(drawn()), "bowl.jpg"), "alt": "A round bowl"}
    assert owner.submit(f"/owner/goods/{product_id}/pictures", picture).status == 303
    page = Browser(app).get("/shop/bowl")
    assert 'alt="A round bowl"' in page.text
    assert "from ¥1,200" in page.words
    small, large = shelved(app, "Small").id, shelved(app, "Large").id
    buyer = Buyer(app)
    wanted = buyer.submit("/cart/items", {"product_id": product_id, "quantity": 1})
    assert (wanted.status, "comes in several kinds" in wanted.words) == (422, True)
    refused = buyer.submit(
        "/payments/session", {"product_id": product_id}, Accept="application/json"
    )
    assert (refused.status, refused.json["error"]["code"]) == (422, "choose_variant")
    sold_out = buyer.submit("/payments/session", {"product_id": large}, Accept="application/json")
    assert sold_out.status == 409
    buyer.submit("/cart/items", {"product_id": small, "quantity": 1})
    assert "Bowl, Small" in buyer.get("/cart").words
    buyer.submit("/cart/items", {"product_id": small, "quantity": 0})
    order = buyer.see(buyer.buy(small, 2))
    assert order["lines"] == [
        {"name": "Bowl, Small", "quantity": 2, "unit_amount": 1200, "amount": 2400}
    ]
    assert shelved(app, "Small").stock == 0
    assert "Sold out" in Browser(app).get("/shop/").words
    with app.app_context():
        rate = db.session.connection().exec_driver_sql("SELECT tax_rate FROM order_lines").scalar()
        assert rate == 1000


@pytest.mark.parametrize(
    ("price", "amount"),
    [("2,000", 2000), ("１９８０", 1980), ("¥ 2,000", 2000), ("2000円", 2000), (" 500 ", 500),
     ("99,999,999", 99_999_999), ("JPY 300", 300), ("1.00", 1)],
)  # fmt: skip
def test_a_price_is_read_as_people_write_it(
    app: Flask, owner: Browser, price: str, amount: int
) -> None:
    put(owner, app, price=price)
    assert shelved(app, "Bowl").unit_amount == amount


@pytest.mark.parametrize(
    ("price", "amount"), [("19.99", 1999), ("$2,000", 200_000), ("0.5", 50), ("１９.９９", 1999)]
)
def test_a_price_has_the_decimals_of_its_currency(
    make_app: Callable[..., Flask], price: str, amount: int
) -> None:
    from shop.catalog.goods import BadValue, read_price

    app = make_app(SHOP_CURRENCY="usd")
    with app.test_request_context("/"):
        assert read_price(price) == amount
        for bad in (
            "19.999",
            "19,99",
            "1.980",
            "1.2.3",
            "-5",
            "1e5",
            "",
            "nan",
            "0",
            "1,000,000.00",
        ):
            with pytest.raises(BadValue):
                read_price(bad)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("price", "free", "Please write the price"), ("price", "-5", "Please write the price"),
        ("price", "19.99", "Please write the price"), ("price", "", "Please write the price"),
        ("price", "0", "more than nothing"), ("price", "100,000,000", "no more than ¥99,999,999"),
        ("price", "9" * 400, "no more than"), ("stock", "many", "how many there are"),
        ("stock", "-1", "how many there are"), ("stock", "1000001", "how many there are"),
        ("tax_rate", "a lot", "tax rate"), ("tax_rate", "100", "tax rate"),
        ("tax_rate", "7.777", "tax rate"), ("name", "", "1 to 120 characters"),
        ("name", "\u200b\u3164", "1 to 120 characters"), ("name", "x" * 121, "1 to 120 characters"),
        ("description", "x" * 5001, "at most 5000"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_said_beside_its_field_and_nothing_is_lost(
    app: Flask, owner: Browser, field: str, value: str, said: str
) -> None:
    answer = owner.submit("/owner/goods/new", NEW | {field: value})
    assert answer.status == 422
    assert said in answer.words
    assert "Nothing is saved yet" in answer.words
    kept = fields(answer, "/owner/goods/new")
    for name in ("name", "price", "stock", "description", "tax_rate"):
        if name != field:
            assert kept[name] == NEW[name]
    with app.app_context():
        assert db.session.scalar(select(func.count(Product.id)).where(Product.name == "Bowl")) == 0


def test_price_and_stock_are_edited_in_the_list(app: Flask, owner: Browser) -> None:
    page = owner.get("/owner/goods")
    form = fields(page, "/owner/goods/1")
    answer = owner.submit("/owner/goods/1", form | {"price": "2,500", "stock": "3"})
    assert answer.headers["Location"].startswith("/owner/goods#")
    product = shelved(app, "T-shirt")
    assert (product.unit_amount, product.stock, product.name) == (2500, 3, "T-shirt")
    assert "¥2,500" in Browser(app).get("/shop/t-shirt").words
    assert "Saved: T-shirt" in owner.get("/owner/goods").words
    wrong = owner.submit("/owner/goods/1", {"price": "a lot", "stock": "3"})
    assert wrong.status == 422
    assert 'value="a lot"' in wrong.text


def test_what_was_sold_while_the_owner_typed_stays_sold(app: Flask, owner: Browser) -> None:
    form = fields(owner.get("/owner/goods"), "/owner/goods/3")
    assert form["stock"] == "5"
    Buyer(app).buy(3, 2)
    owner.submit("/owner/goods/3", form | {"price": "1900"})
    assert shelved(app, "Mug, the last ones").stock == 3
    form = fields(owner.get("/owner/goods"), "/owner/goods/3")
    Buyer(app).buy(3, 1)
    owner.submit("/owner/goods/3", form | {"stock": "13"})  # ten more came in
    assert shelved(app, "Mug, the last ones").stock == 12


@on_all
def test_the_second_of_two_owners_is_told_and_loses_nothing(app: Flask, owner: Browser) -> None:
    mine = fields(owner.get("/owner/goods/1"), "/owner/goods/1")
    owner.submit("/owner/goods/1", mine | {"name": "Shirt", "price": "2100"})
    answer = owner.submit("/owner/goods/1", mine | {"description": "Mine", "price": "2200"})
    assert answer.status == 409
    assert "Somebody has changed this product" in answer.words
    assert "Saved now: Shirt, price 2100" in answer.words
    kept = fields(answer, "/owner/goods/1")
    assert (kept["description"], kept["price"]) == ("Mine", "2200")
    assert owner.submit("/owner/goods/1", kept).status == 303
    product = shelved(app, "T-shirt")
    assert (product.description, product.unit_amount) == ("Mine", 2200)


def test_goods_are_moved_by_buttons(app: Flask, owner: Browser) -> None:
    def order() -> list[str]:
        return re.findall(r'class="good-name[^>]*>([^<]+)<', Browser(app).get("/shop/").text)

    before = order()
    owner.submit("/owner/goods/3/move", {"direction": "up"})
    assert order() == [before[0], before[2], before[1], *before[3:]]
    owner.submit("/owner/goods/3/move", {"direction": "down"})
    owner.submit("/owner/goods/1/move", {"direction": "up"})
    owner.submit("/owner/goods/5/move", {"direction": "down"})
    assert order() == before


def test_a_hidden_product_leaves_the_shop_but_not_the_back_office(
    app: Flask, owner: Browser
) -> None:
    buyer = Buyer(app)
    waiting = buyer.order(1)
    buyer.submit("/cart/items", {"product_id": 1, "quantity": 1})
    owner.submit("/owner/goods/1", {"active": "off"})
    assert Browser(app).get("/shop/t-shirt").status == 404
    assert "T-shirt" not in Browser(app).get("/shop/").words
    assert "Hidden" in owner.get("/owner/goods").words
    assert "no longer sold" in buyer.get("/cart").words
    # Who has begun may finish: the order was made before.
    assert buyer.pay(waiting["url"]).status == 303
    assert owner.submit("/owner/goods/1", {"active": "on"}).status == 303
    assert Browser(app).get("/shop/t-shirt").status == 200


def test_a_product_that_gets_variants_is_told_of_in_the_cart(app: Flask, owner: Browser) -> None:
    buyer = Buyer(app)
    buyer.submit("/cart/items", {"product_id": 1, "quantity": 1})
    buyer.submit("/cart/items", {"product_id": 2, "quantity": 1})
    owner.submit("/owner/goods/1/variants", {"name": "M", "price": "", "stock": ""})
    page = buyer.get("/cart")
    assert "“T-shirt” now comes in several kinds" in page.words
    assert "Pay ¥1,200" in page.words
    assert buyer.submit("/payments/session", {}).status == 303


def test_variants_are_named_once_and_follow_their_product(app: Flask, owner: Browser) -> None:
    variants = "/owner/goods/5/variants"
    twice = owner.submit(variants, {"name": " m ", "price": "", "stock": "4"})
    assert twice.status == 422
    assert "There is a variant “m” already" in twice.words
    assert fields(twice, variants)["stock"] == "4"
    medium = shelved(app, "M").id
    renamed = owner.submit(f"/owner/goods/{medium}", {"name": "S"})
    assert renamed.status == 422
    owner.submit("/owner/goods/5", {"active": "off"})
    refused = Buyer(app).submit(
        "/payments/session", {"product_id": medium}, Accept="application/json"
    )
    assert refused.status == 404
    owner.submit("/owner/goods/5", {"active": "on"})
    owner.submit(f"/owner/goods/{medium}", {"active": "off"})
    page = Browser(app).get("/shop/hoodie").text
    assert f'value="{medium}"' not in page
    assert owner.submit(f"/owner/goods/{medium}/variants", {"name": "x"}).status == 404


def test_a_picture_that_is_none_costs_nothing_typed(app: Flask, owner: Browser) -> None:
    def lie() -> dict[str, Any]:
        return {"picture": (BytesIO(b"<svg></svg>"), "a.png")}

    answer = owner.submit("/owner/goods/new", NEW | lie())
    assert answer.status == 422
    assert "cannot be shown as a picture" in answer.words
    assert fields(answer, "/owner/goods/new")["description"] == "Round."
    answer = owner.submit("/owner/goods/1/pictures", {"alt": "Typed", **lie()})
    assert answer.status == 422
    assert "Typed" in answer.text
    assert "choose a picture first" in owner.submit("/owner/goods/1/pictures", {}).words
    with app.app_context():
        for table in ("pictures", "picture_files"):
            count = db.session.connection().exec_driver_sql(f"SELECT count(*) FROM {table}")
            assert count.scalar() == 0


def test_pictures_are_described_moved_and_removed(app: Flask, owner: Browser) -> None:
    for size in (700, 800):
        file = {"picture": (BytesIO(drawn(size, size)), "a.jpg"), "alt": f"Of {size}"}
        owner.submit("/owner/goods/1/pictures", file)
    page = owner.get("/owner/goods/1").text
    first, second = dict.fromkeys(re.findall(r"/owner/goods/1/pictures/\d+", page))
    owner.submit(first, {"action": "save", "alt": "The front"})
    owner.submit(second, {"action": "up"})
    shown = re.findall(r'alt="([^"]*)"', Browser(app).get("/shop/t-shirt").text)
    assert list(dict.fromkeys(shown)) == ["Of 800", "The front"]
    owner.submit(second, {"action": "remove"})
    assert "Of 800" not in Browser(app).get("/shop/t-shirt").text
    assert owner.submit(second, {"action": "remove"}).status == 404


def test_a_file_may_be_larger_than_a_form_and_not_endless(app: Flask, owner: Browser) -> None:
    def send(data: bytes) -> Answer:
        values = {"csrf_token": owner.token(), "picture": FileStorage(BytesIO(data), "a.png")}
        boundary, body = encode_multipart(values)
        kind = f"multipart/form-data; boundary={boundary}"
        return owner.post("/owner/goods/1/pictures", body, Content_Type=kind)

    assert send(drawn(3000, 3000, "PNG") + b"\0" * 2_000_000).status == 303
    answer = send(b"x" * 65 * 2**20)
    assert answer.status == 413
    assert "64 MiB" in answer.words
    assert Browser(app).post("/", {"comment": "x" * 2_000_000}).status == 413


def test_names_get_addresses_of_their_own(app: Flask, owner: Browser) -> None:
    for name, slug in (
        ("Café au lait!", "cafe-au-lait"), ("Café au lait!", "cafe-au-lait-2"),
        ("備前焼の皿", "item"), ("器", "item-2"), ("A" * 100, "a" * 60),
    ):  # fmt: skip
        put(owner, app, name=name)
        assert Browser(app).get(f"/shop/{slug}").status == 200, name


def test_hundreds_of_goods_are_paged_and_found(app: Flask, owner: Browser) -> None:
    def fill() -> None:
        db.session.add_all(
            [Product(slug=f"p{n}", name=f"Thing {n}", unit_amount=100 + n, position=10 + n)
             for n in range(500)]
        )  # fmt: skip

    with app.app_context():
        write(fill)
    for start in ("/shop/", "/owner/goods"):
        seen: list[str] = []
        address: str | None = start
        while address:
            page = owner.get(address)
            seen += re.findall(r'class="good-name[^>]*>([^<]+)<', page.text)
            more = re.search(r'rel="next" href="([^"]+)"', page.text)
            address = unescape(more[1]) if more else None
        assert len(seen) == len(set(seen)) == 505
        found = owner.get(f"{start}?q=thing+49").text
        names = re.findall(r'class="good-name[^>]*>([^<]+)<', found)
        assert sorted(names) == sorted(["Thing 49", *(f"Thing {n}" for n in range(490, 500))])
        assert "Nothing here is called" in owner.get(f"{start}?q=%25").words
        assert owner.get(f"{start}?q=%00%F0&after=99999999999999999999").status == 200


def test_the_goods_are_listed_by_command(app: Flask, owner: Browser) -> None:
    owner.submit("/owner/goods/2", {"active": "off"})
    runner = app.test_cli_runner()
    table = runner.invoke(args=["shop", "goods", "list"]).output
    assert re.search(r"T-shirt +¥2,000 +/shop/t-shirt", table)
    assert re.search(r"Hoodie, L +¥5,800 +3", table)
    assert re.search(r"Linen tea towel .*hidden", table)
    found = json.loads(runner.invoke(args=["shop", "goods", "list", "--json"]).output)
    assert [one["slug"] for one in found][:2] == ["t-shirt", "tea-towel"]
    assert found[1]["active"] is False
    hoodie = found[-1]
    assert [one["name"] for one in hoodie["variants"]] == ["S", "M", "L", "XL"]
    assert hoodie["variants"][0]["unit_amount"] is None
