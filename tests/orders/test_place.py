"""The same wish is the same order, and another wish another one."""

from typing import Any

import pytest
from flask import Flask
from sqlalchemy import update

from shop.catalog import products
from shop.catalog.models import Product
from shop.db import changed_rows, write
from shop.orders.place import Buyer
from shop.payments import checkout
from tests.databases import on_all

pytestmark = on_all

ANOTHER: dict[str, Any] = {
    "mode": {"SHOP_MODE": "test"},
    "currency": {"SHOP_CURRENCY": "usd"},
    "visitor": {"visitor": "ben"},
    "cart": {"cart_id": "cart-2"},
    "no cart": {"cart_id": None},
    "product": {"product_id": 2},
    "quantity": {"quantity": 2},
    "price": {"unit_amount": 2100},
}


def order(
    visitor: str = "aya", cart_id: str | None = "cart-1", product_id: int = 1, quantity: int = 1
) -> str:
    choices = products.choose([(product_id, quantity)])
    return checkout.order_goods(choices, None, Buyer(visitor, cart_id, "en"))


@pytest.mark.parametrize("other", ANOTHER.values(), ids=ANOTHER)
def test_a_wish_is_another_one_by(app: Flask, other: dict[str, Any]) -> None:
    with app.test_request_context():
        first = order()
        assert order() == first
        wish = dict(other)
        for name in [name for name in wish if name.isupper()]:
            app.config[name] = wish.pop(name)
        if price := wish.pop("unit_amount", None):
            dearer = update(Product).where(Product.id == 1).values(unit_amount=price)
            write(lambda: changed_rows(dearer))
        assert order(**wish) != first
