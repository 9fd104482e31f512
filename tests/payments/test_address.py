"""Where the goods go: asked at Stripe or on the card page, kept whatever way the money comes."""

import json
from typing import Any

import pytest
from flask import Flask

from shop.db import db, write
from shop.mail.outbox import newest
from shop.orders import queries, states
from shop.orders.models import Order
from tests.actors import Answer, Buyer
from tests.conftest import Till
from tests.databases import each_row_both_ways, on_all
from tests.outbox import OWNER
from tests.payments.test_card import charge
from tests.payments.test_readers import pay_with
from tests.post_office import PostOffice

PARCEL = 2
# The street and the telephone are looked for in everything that is logged.
HOME = {
    "name": "山田 花子", "line1": "Canary Lane 77", "line2": "2階", "city": "千代田区",
    "state": "東京都", "postal_code": "100-0001", "country": "JP", "phone": "09055501234",
}  # fmt: skip
CARD = {"method": "card", "number": "4242424242424242", "expiry": "12/40", "cvc": "123"}
WAYS: dict[str, dict[str, str]] = {
    "card": CARD, "konbini": {"method": "konbini"}, "paypay": {"method": "paypay"}
}  # fmt: skip


@pytest.fixture
def settings(office: PostOffice) -> dict[str, str]:
    """Mail goes by SMTP: on the console it would print the address."""
    return {"MAIL_URL": office.url, "SHOP_LEGACY_CHARGE": "on",
            "STRIPE_PUBLISHABLE_KEY": "pk_test_standalone"}  # fmt: skip


def order_parcel(buyer: Buyer, **fields: Any) -> dict[str, str]:
    wanted = {"product_id": 1, "delivery": PARCEL} | fields
    answer = buyer.submit("/payments/session", wanted, Accept="application/json")
    assert answer.status == 201, answer.text
    return dict(answer.json)


def pay(buyer: Buyer, url: str, way: str = "card", **home: str) -> Answer:
    form = {"email": "hanako@example.com"} | HOME | home | WAYS[way]
    answer = buyer.post(url, form)
    if way == "paypay" and answer.status == 303:
        answer = buyer.post(answer.location, {"result": "complete"})
    return answer


def kept(app: Flask) -> list[dict[str, str] | None]:
    """Return the addresses of all orders, oldest first."""
    with app.app_context():
        orders = db.session.query(Order).order_by(Order.id)
        return [order.address.to_dict() if order.address else None for order in orders]


def listed(app: Flask) -> list[dict[str, Any]]:
    result = app.test_cli_runner().invoke(args=["shop", "orders", "--json"])
    found: list[dict[str, Any]] = json.loads(result.stdout)
    return found


@each_row_both_ways
@pytest.mark.parametrize("way", sorted(WAYS))
def test_the_address_is_kept_whatever_way_is_paid(till: Till, way: str) -> None:
    buyer = till.buyer()
    order = order_parcel(buyer)
    assert pay(buyer, order["url"], way).status == 303
    assert kept(till.app) == [HOME]
    if way == "konbini":
        till.sandbox.clock(600)
    assert buyer.see(order["order"])["state"] == "paid"
    assert listed(till.app)[0]["shipping"] == HOME
    assert listed(till.app)[0]["email"] == "hanako@example.com"


@on_all
def test_without_events_the_address_comes_with_the_money(till: Till) -> None:
    """From the success page, from reconciling, and late, for an order that was given up."""
    till.sandbox.webhooks("drop")
    buyers = [till.buyer() for _ in range(3)]
    orders = [order_parcel(buyer) for buyer in buyers]
    for buyer, order in zip(buyers, orders, strict=True):
        assert pay(buyer, order["url"]).status == 303
    assert buyers[0].get(f"/payments/success?session_id={orders[0]['id']}").status == 303
    with till.app.app_context():
        write(lambda: states.cancel(queries.get_order(orders[2]["order"]), "expired"))
    result = till.app.test_cli_runner().invoke(args=["shop", "reconcile"])
    assert result.exit_code == 0, result.output
    assert kept(till.app) == [HOME] * 3
    assert [one["state"] for one in till.orders()] == ["paid"] * 3


def test_stripe_is_asked_for_just_what_the_order_means(till: Till) -> None:
    buyer = till.buyer()
    order_parcel(buyer)
    session = till.sandbox.state["sessions"][0]
    assert session["shipping_address_collection"] == {"allowed_countries": ["JP"]}
    assert session["phone_number_collection"] == {"enabled": True}
    assert session["total_details"]["amount_shipping"] == 600
    assert session["branding_settings"]["display_name"] == "Corner Shop"
    buyer.order()
    fetched = till.sandbox.state["sessions"][0]
    assert fetched["id"] != session["id"]
    assert fetched["shipping_address_collection"] is None
    assert fetched["phone_number_collection"] == {"enabled": False}
    assert fetched["shipping_options"] == []


def test_the_link_shows_town_and_postcode_and_the_owner_sees_all(
    till: Till, office: PostOffice
) -> None:
    buyer = till.buyer()
    order = order_parcel(buyer)
    pay(buyer, order["url"])
    seen = buyer.get(f"/orders/{order['order']}")
    assert "〒100-0001 東京都 千代田区" in seen.words
    for page in (seen, buyer.get(f"/orders/{order['order']}/receipt"),
                 buyer.get(f"/orders/{order['order']}", Accept="application/json")):  # fmt: skip
        assert HOME["line1"] not in page.text
        assert HOME["phone"] not in page.text
        assert HOME["name"] not in page.text
    till.app.test_cli_runner().invoke(args=["shop", "mail", "send"])
    told = {message["To"]: message for message in office.received}
    for to in (OWNER, "hanako@example.com"):
        text = told[to].get_body(("plain",))
        assert text is not None
        assert "東京都千代田区Canary Lane 77" in text.get_content()
    assert "¥2,600" in told[OWNER]["Subject"]
    story = till.app.test_cli_runner().invoke(args=["shop", "orders", "1"]).output
    assert "東京都千代田区Canary Lane 77" in story
    sent = json.dumps([one["metadata"] for one in till.sandbox.state["sessions"]])
    assert "Canary" not in sent


ODD: list[Any] = [
    None, [], "x", 7, {"name": 7, "address": "x"}, {"name": "A", "address": None},
    {"name": "A", "address": {"line1": ["x"], "country": 7}},
    {"name": "\u200b", "address": {"line1": "\x00", "city": None}},
    {"name": "A" * 9000, "address": {"line1": "x" * 9000, "country": "NARNIA"}},
    {"name": "مرحبا", "address": {"line1": "שלום 1\r\n\r\n2", "country": "IL"}},
]  # fmt: skip


@each_row_both_ways
@pytest.mark.parametrize("details", ODD)
def test_an_odd_address_stops_no_payment_and_the_owner_is_told(app: Flask, details: Any) -> None:
    order = pay_with(
        app,
        {"collected_information": {"shipping_details": details}},
        order_parcel,
        lambda buyer, url: pay(buyer, url, phone="0312345678", line1="x"),
    )
    assert Buyer(app).see(order["order"])["state"] == "paid"
    with app.app_context():
        [told] = [mail for mail in newest() if mail.kind == "staff_new_order"]
    assert json.loads(told.context)["lacks_address"]


# --- the card page ---------------------------------------------------------------------------


def test_the_card_page_asks_for_its_own_address(till: Till) -> None:
    buyer = till.buyer()
    buyer.submit("/cart/items", {"product_id": 1, "quantity": 1})
    assert 'name="line1"' not in buyer.get("/payments/card").text
    buyer.submit("/cart/delivery", {"delivery": PARCEL})
    page = buyer.get("/payments/card")
    assert "Pay ¥2,600" in page.words
    for field in ("shipping name", "shipping address-line1", "shipping postal-code"):
        assert f'autocomplete="{field}"' in page.text
    japanese = buyer.get("/payments/card?lang=ja").text
    assert japanese.index('name="postal_code"') < japanese.index('name="state"')
    assert japanese.index('name="line1"') < japanese.index('name="name"')
    buyer.get("/payments/card?lang=en")
    paid = charge(buyer, email="hanako@example.com", **HOME)
    assert paid.status == 303, paid.words
    assert kept(till.app) == [HOME]
    [made] = till.sandbox.state["charges"]
    assert made["amount"] == 2600
    assert made["shipping"]["address"]["line1"] == HOME["line1"]
    assert (made["shipping"]["name"], made["shipping"]["phone"]) == (HOME["name"], HOME["phone"])


@each_row_both_ways
@pytest.mark.parametrize(
    ("field", "typed", "said"),
    [
        ("name", "", "whose parcel"),
        ("line1", " \u200b ", "street and number"),
        ("city", "", "the town"),
        ("state", "", "the prefecture"),
        ("postal_code", "", "the postcode"),
        ("country", "US", "do not send there"),
        ("country", "\x00", "do not send there"),
        ("phone", "", "telephone"),
    ],
)
def test_what_is_missing_is_said_and_all_that_was_typed_stays(
    till: Till, field: str, typed: str, said: str
) -> None:
    buyer = till.buyer()
    order = order_parcel(buyer)
    page = charge(buyer, order=order["order"], email="h@example.com", **(HOME | {field: typed}))
    assert page.status == 422
    assert said in page.words
    assert "Nothing was charged" in page.words
    others = {name: value for name, value in HOME.items() if name not in (field, "country")}
    for value in (*others.values(), "h@example.com"):
        assert f'value="{value}"' in page.text
    assert till.sandbox.state["charges"] == []
    assert buyer.see(order["order"])["state"] == "pending"


def test_a_declined_card_leaves_the_address_typed(till: Till) -> None:
    buyer = till.buyer()
    buyer.submit("/cart/items", {"product_id": 1, "quantity": 1})
    page = charge(buyer, "tok_chargeDeclined", delivery="2", **HOME)
    assert page.status == 402
    assert f'value="{HOME["line1"]}"' in page.text
    assert "Pay ¥2,600" in page.words


def test_addresses_in_every_script_and_of_every_length_arrive(till: Till) -> None:
    for number, line in enumerate(
        ("x" * 500, "Rue de l’Église 1, étage 2", "ул. Ленина 1", "P.O. Box 7", "🏠1")
    ):
        buyer = till.buyer()
        order = order_parcel(buyer)
        assert charge(buyer, order=order["order"], **(HOME | {"line1": line})).status == 303
        found = kept(till.app)[number]
        assert found is not None
        assert found["line1"] == line
    long = till.buyer()
    order = order_parcel(long)
    assert charge(long, order=order["order"], **(HOME | {"line1": "x" * 5000})).status == 303
