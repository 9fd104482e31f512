"""Orders in the back office."""

from flask import Flask

from tests.actors import Browser
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
