"""The receipt: what was paid, what went back, and the tax in it by rate."""

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st

from shop.catalog import deliveries
from shop.catalog.models import Product
from shop.db import db, write
from shop.orders import queries, receipt
from shop.payments import refunds
from tests.actors import Buyer
from tests.catalog.test_deliveries import PARCEL
from tests.databases import on_all
from tests.payments.test_address import order_parcel, pay

AMOUNTS = st.dictionaries(st.integers(0, 2500), st.integers(1, 10**7), min_size=1, max_size=4)


@given(AMOUNTS, st.lists(st.floats(0, 1), max_size=5))
def test_refunds_are_shared_over_the_rates_to_the_last_yen(
    parts: dict[int, int], refunded: list[float]
) -> None:
    left = dict(parts)
    for part in [*refunded, 1.0]:
        amount = int(sum(left.values()) * part)
        back = receipt.shared(amount, left)
        assert sum(back.values()) == amount
        for rate, share in back.items():
            assert 0 <= share <= left[rate]
            assert abs(share - amount * left[rate] / max(sum(left.values()), 1)) < 1
        left = {rate: one - back[rate] for rate, one in left.items()}
    assert set(left.values()) == {0}


@pytest.mark.parametrize(
    ("amount", "rate", "tax"),
    [(1100, 1000, 100), (1080, 800, 80), (105, 1000, 10), (104, 1000, 9), (0, 1000, 0),
     (5, 0, 0), (10770, 770, 770)],
)  # fmt: skip
def test_the_tax_is_rounded_once_for_a_rate(amount: int, rate: int, tax: int) -> None:
    assert receipt.tax_in(amount, rate) == tax


def buy_at_two_rates(app: Flask) -> tuple[Buyer, str]:
    """Buy a shirt at 10 %, tea at 8 % and a parcel at 10 %: 2,000 + 3,600 + 600."""
    with app.app_context():

        def unit() -> None:
            db.session.get_one(Product, 2).tax_rate = 800
            deliveries.change(deliveries.get(PARCEL), {"tax_rate": 1000})

        write(unit)
    buyer = Buyer(app)
    buyer.submit("/cart/items", {"product_id": 1, "quantity": 1})
    buyer.submit("/cart/items", {"product_id": 2, "quantity": 3})
    answer = buyer.submit("/payments/session", {"delivery": PARCEL}, Accept="application/json").json
    pay(buyer, answer["url"], line1="x", phone="0312345678")
    return buyer, answer["order"]


@on_all
def test_sums_by_rate_equal_the_ledger_after_each_refund(app: Flask) -> None:
    buyer, token = buy_at_two_rates(app)
    page = buyer.get(f"/orders/{token}/receipt").words
    assert "10% ¥2,600 ¥236" in page
    assert "8% ※ ¥3,600 ¥267" in page
    assert "Linen tea towel ※" in page
    left = 6200
    for amount in (1, 777, 5000):
        with app.app_context():
            refunds.refund(1, amount, f"key-{amount}")
            made = receipt.make(queries.get_order(token))
        left -= amount
        assert sum(one.total.amount for one in made.by_rate) == made.total.amount == left
    page = buyer.get(f"/orders/{token}/receipt").words
    assert "−¥777" in page
    assert f"Left ¥{left}" in page


def test_a_receipt_says_who_sold_what_to_whom(app: Flask) -> None:
    from tests.owner.test_details import set_details

    set_details(app, name="Hana Yamada", address="1-1 Chiyoda", phone="03-1",
                registration_number="T1234567890123")  # fmt: skip
    buyer = Buyer(app)
    token = buyer.buy()
    page = buyer.get(f"/orders/{token}/receipt")
    for words in ("Hana Yamada", "1-1 Chiyoda", "T1234567890123", "T-shirt", "¥2,000", "10%",
                  "¥182", "Paid on"):  # fmt: skip
        assert words in page.words, words
    named = buyer.get(f"/orders/{token}/receipt?name=<b>株式会社花</b>")
    assert "For <b>株式会社花</b>" in named.words
    assert "&lt;b&gt;" in named.text
    assert named.headers["Cache-Control"] == "no-store"
    assert "noindex" in named.headers["X-Robots-Tag"]


def test_there_is_no_receipt_before_the_money(app: Flask) -> None:
    buyer = Buyer(app)
    order = order_parcel(buyer)
    answer = buyer.get(f"/orders/{order['order']}/receipt")
    assert (answer.status, answer.location) == (303, f"/orders/{order['order']}")
    assert buyer.get("/orders/nobody/receipt").status == 404
