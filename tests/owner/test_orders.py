"""Orders in the back office."""

import json
import re

import pytest
from flask import Flask

from shop.mail.outbox import newest
from shop.orders import queries
from tests.actors import Answer, Browser, Buyer
from tests.databases import on_all
from tests.payments.test_address import HOME, kept, order_parcel, pay
from tests.payments.test_readers import pay_with


def test_the_owner_writes_a_missing_address_down(app: Flask, owner: Browser) -> None:
    pay_with(
        app,
        {"collected_information": None},
        order_parcel,
        lambda buyer, url: pay(buyer, url, phone="0312345678", line1="x"),
    )
    assert "missing or not complete" in owner.get("/owner/orders/1").words
    address = {**HOME, "line1": "神田1-2", "phone": ""}
    wrong = owner.submit("/owner/orders/1/address", address | {"name": ""})
    assert (wrong.status, 'value="神田1-2"' in wrong.text) == (422, True)
    assert owner.submit("/owner/orders/1/address", address).status == 303
    assert kept(app) == [address]
    page = owner.get("/owner/orders/1").words
    assert "東京都千代田区神田1-2" in page
    assert "missing or not complete" not in page
    assert "Wrote down where order 1 goes" in owner.get("/owner/account").words
    assert Browser(app).get("/owner/orders/1").status == 303


@on_all
def test_an_order_is_packed_and_sent_and_its_customer_follows_it(
    app: Flask, owner: Browser
) -> None:
    buyer = Buyer(app)
    order = order_parcel(buyer)
    pay(buyer, order["url"], line1="x", phone="0312345678")
    link = f"/orders/{order['order']}"
    assert done(buyer.get(link)) == ["Ordered"]
    assert owner.submit("/owner/orders/1/pack", {}).status == 303
    assert done(buyer.get(link)) == ["Ordered", "Packed"]
    parcel = {"carrier": " ヤマト運輸\u200b", "tracking": "1234-5678 <9>"}
    assert owner.submit("/owner/orders/1/ship", parcel).status == 303
    page = buyer.get(link)
    assert done(page) == ["Ordered", "Packed", "Sent"]
    url = "https://member.kms.kuronekoyamato.co.jp/parcel/detail?pno=1234-5678%20%3C9%3E"
    assert url in page.text
    assert "ヤマト運輸 · 1234-5678 <9>" in page.words
    with app.app_context():
        [told] = [mail for mail in newest() if mail.kind == "customer_shipped"]
    assert json.loads(told.context)["track"] == url
    for action in ("pack", "ship"):
        refused = owner.submit(f"/owner/orders/1/{action}", parcel)
        assert (refused.status, "Nothing changed" in refused.words) == (409, True)
    trail = owner.get("/owner/account").words
    for words in ("Packed order 1", "Sent order 1"):
        assert words in trail


def test_only_what_is_paid_is_sent(app: Flask, owner: Browser) -> None:
    order_parcel(Buyer(app))
    for action in ("pack", "ship"):
        assert owner.submit(f"/owner/orders/1/{action}", {}).status == 409
    assert owner.submit("/owner/orders/99/ship", {}).status == 404
    with app.app_context():
        assert [mail.kind for mail in newest()] == []


def test_the_list_shows_the_newest_first_page_by_page(
    app: Flask, owner: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "No orders yet" in owner.get("/owner/orders").words
    for number in range(3):
        Buyer(app).order(1, number + 1)
    monkeypatch.setattr(queries.newest_page, "__defaults__", (None, 2))
    page = owner.get("/owner/orders").words
    assert page.index("Order 3") < page.index("Order 2")
    assert "Order 1" not in page
    assert "Order 1" in owner.get("/owner/orders?before=2").words


def done(page: Answer) -> list[str]:
    """Return the steps that an order has taken, as its customer sees them."""
    return re.findall(r'<li class="done">(\w+)</li>', page.text)
