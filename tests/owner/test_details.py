"""What the owner sets: who sells, what the law wants said, closed days, konbini, colour."""

from collections.abc import Callable
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from flask import Flask
from flask_babel import force_locale

from shop import accent, details
from shop.catalog import legal
from shop.db import write
from tests.actors import Browser, Buyer
from tests.conftest import Till
from tests.databases import on_all
from tests.outbox import later
from tests.payments.test_address import order_parcel

LAW = {
    "name": "Hana Yamada", "name_other": "山田 花", "responsible": "Hana Yamada",
    "responsible_other": "山田 花", "address": "1-1 Chiyoda, Tokyo",
    "address_other": "〒100-0001\r\n東京都千代田区千代田1-1", "phone": "03-1234-5678",
    "email": "hana@shop.example", "hours": "10 to 17", "hours_other": "10時〜17時",
    "delivery_time": "Sent within three days.", "delivery_time_other": "3日以内に発送します。",
    "returns": "Within eight days, at your cost.", "returns_other": "8日以内、送料はお客様負担。",
    "faulty": "We pay the way back.", "faulty_other": "送料は当店が負担します。",
    "registration_number": "t1234567890123",
}  # fmt: skip


def today() -> date:
    """Return the day that it is in the shop."""
    return datetime.now(ZoneInfo("Asia/Tokyo")).date()


def set_details(app: Flask, **values: str) -> None:
    with app.app_context():
        write(lambda: details.change(values))


def message(till: Till) -> str:
    """Return the words beside the pay button of the newest session."""
    submit = till.sandbox.state["sessions"][0]["custom_text"]["submit"]
    return str(submit["message"]) if submit else ""


@on_all
def test_one_form_makes_the_legal_notice_in_both_languages(app: Flask, owner: Browser) -> None:
    assert owner.submit("/owner/details", LAW).status == 303
    visitor = Browser(app)
    english = visitor.get("/legal").words
    for name, value in LAW.items():
        if not name.endswith("_other") and name != "registration_number":
            assert value in english, name
    assert "T1234567890123" in english
    for words in ("Parcel: ¥600 (free from ¥8,000)", "tax included", "charged at once", "3 days"):
        assert words in english, words
    japanese = visitor.get("/legal?lang=ja").text
    assert "特定商取引法に基づく表記" in japanese
    for name, value in LAW.items():
        if name.endswith("_other"):
            assert value.replace("\r\n", "\n") in japanese, name
    for label in (
        "販売業者",
        "所在地",
        "電話番号",
        "販売価格",
        "支払方法",
        "支払時期",
        "引渡時期",
        "返品",
    ):
        assert label in japanese, label
    footer = visitor.get("/?lang=en").text
    assert 'href="mailto:hana@shop.example"' in footer
    for path in ("/legal", "/privacy"):
        assert f'href="{path}"' in footer
        assert visitor.get(path).status == 200
    trail = owner.get("/owner/account").words
    assert "Changed the shop’s details: name" in trail


def test_only_what_is_sent_is_saved(app: Flask, owner: Browser) -> None:
    owner.submit("/owner/details", LAW)
    assert owner.submit("/owner/details", {"phone": "090"}).status == 303
    page = Browser(app).get("/legal").words
    assert "Telephone 090" in page
    assert "Sent within three days." in page
    owner.submit("/owner/details", {"on_request": "on"})
    page = Browser(app).get("/legal").words
    assert "1-1 Chiyoda" not in page
    assert "when you ask for it" in page


@pytest.mark.parametrize(
    ("field", "typed", "said"),
    [
        ("email", "nobody", "not an e-mail address"),
        ("registration_number", "T123", "T and 13 figures"),
        ("country", "XX", "country of the list"),
        ("konbini_days", "61", "1 to 60"),
        ("konbini_days", "soon", "1 to 60"),
        ("closed_until", "tomorrow", "choose a day"),
        ("closed_from", "2026-13-01", "choose a day"),
        ("accent", "green", "write a colour"),
        ("returns", "x" * 2001, "too long"),
        ("returns_other", "x" * 2001, "too long"),
    ],
)
def test_what_cannot_be_is_said_and_all_that_was_typed_stays(
    app: Flask, owner: Browser, field: str, typed: str, said: str
) -> None:
    page = owner.submit("/owner/details", LAW | {"closed_until": "2030-01-01", field: typed})
    assert page.status == 422
    assert said in page.words
    assert 'value="03-1234-5678"' in page.text
    assert "Hana" not in Browser(app).get("/legal").words


def test_the_last_closed_day_is_not_before_the_first(owner: Browser) -> None:
    days = {"closed_from": "2026-12-31", "closed_until": "2026-12-30"}
    assert owner.submit("/owner/details", days).status == 422
    assert owner.submit("/owner/details", {"closed_from": "2026-12-31"}).status == 422


# --- the six lines --------------------------------------------------------------------------


def test_the_terms_stand_on_the_cart_and_beside_stripes_pay_button(till: Till, app: Flask) -> None:
    set_details(till.app, delivery_time="Sent within three days.", returns="Within eight days.",
                returns_other="8日以内。")  # fmt: skip
    buyer = till.buyer()
    buyer.submit("/cart/items", {"product_id": 1, "quantity": 1})
    cart = buyer.get("/cart").words
    order_parcel(buyer)
    for words in ("Quantity", "Price", "Payment", "Sent within three days.", "Within eight days.",
                  "Limits"):  # fmt: skip
        assert words in cart
        assert words in message(till)
    buyer.get("/cart?lang=ja")
    order_parcel(buyer, quantity=2)
    assert "8日以内。" in message(till)
    assert "お支払い" in message(till)


def test_long_terms_are_cut_behind_a_sentence_and_never_refused(till: Till) -> None:
    set_details(
        till.app, returns="Within eight days. " * 100, delivery_time="あいう。" * 400,
        faulty="x" * 2000, fees="[Tax](https://evil.example) **and** more. " * 40,
    )  # fmt: skip
    order_parcel(till.buyer())
    text = message(till)
    assert 600 < len(text) <= 1200
    assert text.count("\n") == 5
    assert "](" not in text
    assert "**" not in text
    with till.app.app_context(), force_locale("en"):
        assert len(legal.terms_within(1200).split("\n")) == len(legal.terms()) == 6
        lines = legal.terms_within(1200).split("\n")
    assert lines[3].endswith("。")
    assert lines[4].endswith(("days.", "…"))


def test_a_seller_elsewhere_is_not_forced_into_japanese_law(till: Till) -> None:
    set_details(till.app, country="DE", name="Hana GmbH")
    buyer = till.buyer()
    order_parcel(buyer)
    assert message(till) == ""
    buyer.submit("/cart/items", {"product_id": 1, "quantity": 1})
    assert "Cancellation" not in buyer.get("/cart").words
    page = buyer.get("/legal").words
    assert "Hana GmbH" in page
    assert "Specified Commercial Transactions" not in page
    with till.app.app_context():
        assert legal.missing() == []


def test_live_mode_names_what_is_missing(make_app: Callable[..., Flask]) -> None:
    live = {"STRIPE_SECRET_KEY": "sk_live_x", "SHOP_PUBLIC_URL": "https://shop.example"}
    app = make_app(**live)
    with app.test_request_context():
        assert legal.missing() == [
            "Seller", "Who answers for it", "Address", "Telephone", "E-mail", "Time of delivery",
            "Returns", "Faulty goods",
        ]  # fmt: skip
    set_details(app, **{name: one for name, one in LAW.items() if name in details.NAMES})
    with app.test_request_context():
        assert legal.missing() == []


# --- closed days ----------------------------------------------------------------------------


def test_on_closed_days_nothing_is_sold_and_who_has_begun_may_finish(
    app: Flask, owner: Browser
) -> None:
    begun, late = Buyer(app), Buyer(app)
    order = begun.order()
    begun.submit("/cart/items", {"product_id": 2, "quantity": 1})
    in_cart = begun.submit("/payments/session", {}, Accept="application/json").json
    kept = Browser(app)
    kept.get("/shop/t-shirt")
    first = today() - timedelta(days=1)
    days = {"closed_from": str(first), "closed_until": str(today() + timedelta(days=2)),
            "closed_note": "We are at the sea."}  # fmt: skip
    assert owner.submit("/owner/details", days).status == 303
    assert "We are at the sea." in kept.get("/shop/t-shirt").words
    assert "Buy now" not in kept.get("/shop/t-shirt").words
    assert kept.submit("/", {"comment": "See you soon"}).status == 303
    refused = late.submit("/payments/session", {"product_id": 1}, Accept="application/json")
    assert (refused.status, refused.json["error"]["code"]) == (503, "closed")
    assert "We are at the sea." in refused.json["error"]["message"]
    late.submit("/cart/items", {"product_id": 1, "quantity": 1})
    assert "We are at the sea." in late.get("/cart").words
    assert late.submit("/payments/session", {}).status == 503
    assert late.submit("/payments/charge", {"stripeToken": "tok_visa"}).status == 503
    again = begun.submit("/payments/session", {}, Accept="application/json")
    assert again.json == in_cart
    begun.submit("/cart/items", {"product_id": 2, "quantity": 3})
    assert begun.submit("/payments/session", {}).status == 503
    assert begun.see(in_cart["order"])["state"] == "pending"
    assert begun.pay(order["url"]).status == 303
    assert begun.see(order["order"])["state"] == "paid"


def test_a_kept_page_opens_again_when_the_days_are_over(app: Flask) -> None:
    set_details(app, closed_until=str(today()), closed_from=str(today() - timedelta(days=1)))
    visitor = Browser(app)
    assert "Buy now" not in visitor.get("/shop/t-shirt").words
    with later(days=2):
        assert "Buy now" in visitor.get("/shop/t-shirt").words


# --- konbini --------------------------------------------------------------------------------


def test_the_owner_sets_how_long_goods_are_held_for_a_counter(till: Till) -> None:
    set_details(till.app, konbini_days="7", konbini_scarce="off")
    plenty, scarce = till.buyer(), till.buyer()
    order = plenty.order(2)
    assert till.sandbox.state["sessions"][0]["payment_method_types"][:2] == ["card", "konbini"]
    plenty.post(order["url"], {"email": "fill_never@example.com", "method": "konbini"})
    page = plenty.get(f"/orders/{order['order']}").words
    where, until = page.index("FamilyMart"), page.index("Please pay by")
    assert where < page.index("11111111110") < until
    till.sandbox.clock(6 * 86400)
    assert plenty.see(order["order"])["state"] == "awaiting_payment"
    scarce.order(3)
    assert "konbini" not in till.sandbox.state["sessions"][0]["payment_method_types"]


# --- the colour -----------------------------------------------------------------------------


@pytest.mark.parametrize("typed", ["#000000", "#ffffff", "#ffff00", "#0000ff", "#808080"])
def test_a_colour_is_taken_as_far_as_it_can_be_read(typed: str) -> None:
    for scheme in (accent.LIGHT, accent.DARK):
        shade = accent.readable(typed, scheme)
        for ground in (scheme.paper, scheme.card, accent.soft(shade, scheme)):
            assert accent.contrast(shade, ground) >= 4.5
        assert accent.contrast(shade, accent.on(shade, scheme)) >= 4.5


def test_the_owners_colour_is_on_every_page_and_at_stripe(till: Till, app: Flask) -> None:
    assert "/accent/" not in till.buyer().get("/").text
    set_details(till.app, accent="#cc0044")
    buyer = till.buyer()
    assert "/accent/cc0044.css" in buyer.get("/").text
    sheet = buyer.get("/accent/cc0044.css")
    assert "--accent:#cc0044" in sheet.text
    assert sheet.headers["Content-Type"].startswith("text/css")
    assert buyer.get("/accent/CC0044.css").status == 404
    buyer.order()
    assert till.sandbox.state["sessions"][0]["branding_settings"]["button_color"] == "#cc0044"
