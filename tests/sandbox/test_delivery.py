"""Goods that are sent: the address and phone that a session asks for, and what the page shows."""

import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.sandbox.helpers import ADDRESS, DELIVERY, LOOKS, RECIPIENT, SESSION, SandboxClient

BRANDING = {
    "background_color": "#1B2A49",
    "border_style": "pill",
    "font_family": "noto_sans_jp",
}


def fields(page: str) -> list[str]:
    """Return the names of the form's fields in their order."""
    return list(dict.fromkeys(re.findall(r'<(?:input|select)[^>]* name="(\w+)"', page)))


def test_only_what_is_asked_for_is_shown(sandbox: SandboxClient) -> None:
    card = ["method", "number", "expiry", "cvc"]
    plain = sandbox.http.get(sandbox.create()["url"]).text
    assert fields(plain) == ["email", *card]
    assert "The shop" in plain
    phone = sandbox.create(phone_number_collection={"enabled": True})
    assert fields(sandbox.http.get(phone["url"]).text) == ["email", "phone", *card]
    url = sandbox.create(**DELIVERY)["url"]
    english = "name line1 line2 city state postal_code country phone".split()
    assert fields(sandbox.http.get(url).text) == ["email", *english, *card]
    page = sandbox.http.get(url, headers={"Accept-Language": "ja"}).text
    japanese = "postal_code state city line1 line2 country name phone".split()
    assert fields(page) == ["email", *japanese, *card]
    for words in ("お届け先", "郵便番号", "都道府県", '<option value="JP" selected>日本</option>'):
        assert words in page
    assert 'value="FR"' not in page
    for name in ("name", "postal-code", "address-level1", "country"):
        assert f'autocomplete="shipping {name}"' in page
    assert 'autocomplete="tel"' in page


@pytest.mark.parametrize("method", ["card", "konbini"])
def test_the_address_arrives_with_the_completed_session(
    sandbox: SandboxClient, method: str
) -> None:
    session = sandbox.create(**DELIVERY)
    assert sandbox.pay(session, method=method, **RECIPIENT).status_code == 303
    completed = sandbox.receiver.events[-1]
    assert completed["type"] == "checkout.session.completed"
    sent = completed["data"]["object"]
    assert sent["payment_status"] == ("paid" if method == "card" else "unpaid")
    details = {"name": "山田 太郎", "address": ADDRESS}
    assert sent["collected_information"]["shipping_details"] == details
    customer = sent["customer_details"]
    assert (customer["email"], customer["phone"]) == ("taro@example.com", "090-1234-5678")
    assert (customer["name"], customer["address"]) == ("山田 太郎", ADDRESS)
    sandbox.control("clock", advance=180)
    intent = sandbox.session(session, "payment_intent.latest_charge")["payment_intent"]
    for holder in (intent, intent["latest_charge"]):
        assert holder["shipping"]["name"] == "山田 太郎"
        assert holder["shipping"]["phone"] == "090-1234-5678"
        assert holder["shipping"]["address"] == ADDRESS
    assert intent["latest_charge"]["billing_details"]["address"] == ADDRESS


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"name": ""}, "name"),
        ({"line1": " "}, "line1"),
        ({"line1": "x" * 201}, "line1"),
        ({"line1": "a\r\nb"}, "line1"),
        ({"line2": ""}, None),
        ({"postal_code": ""}, "postal_code"),
        ({"state": ""}, "state"),
        ({"city": ""}, "city"),
        ({"country": "US", "state": "", "city": ""}, None),
        ({"country": "HK", "postal_code": ""}, None),
        ({"country": "FR"}, "country"),
        ({"country": ""}, "country"),
        ({"phone": ""}, "phone"),
        ({"phone": "call me"}, "phone"),
        ({"phone": "＋８１ ９０−１２３４−５６７８"}, None),
    ],
)
def test_what_an_address_needs(
    sandbox: SandboxClient, change: dict[str, str], wrong: str | None
) -> None:
    answer = sandbox.pay(sandbox.create(**DELIVERY), **{**RECIPIENT, **change})
    assert answer.status_code == (422 if wrong else 303)
    if wrong:
        assert f'id="{wrong}-error"' in answer.text
        assert answer.text.count('class="error"') == 1


@pytest.mark.parametrize(
    ("number", "status"),
    [("4242", 422), ("4000000000000002", 402), ("4000000000003220", 402)],
)
def test_everything_typed_is_kept(sandbox: SandboxClient, number: str, status: int) -> None:
    session = sandbox.create(**DELIVERY)
    typed = {**RECIPIENT, "name": '"Taro" <b>', "country": "US"}
    answer = sandbox.pay(session, number, **typed)
    if answer.status_code == 303:
        answer = sandbox.http.post(answer.location, data={"result": "fail"})
    assert answer.status_code == status
    for name in ("line1", "line2", "city", "state", "postal_code", "phone"):
        assert f'value="{typed[name]}"' in answer.text
    assert 'value="&#34;Taro&#34; &lt;b&gt;"' in answer.text
    assert '<option value="US" selected>' in answer.text


def test_the_page_shows_the_shop_and_its_goods(sandbox: SandboxClient) -> None:
    product = {
        "name": "Mug",
        "description": "Blue, 300 ml",
        "images": ["https://pictures.test:8443/mug.jpg?w=64"],
    }
    data = {"currency": "jpy", "unit_amount": 900, "product_data": product}
    session = sandbox.create(line_items=[{"price_data": data}], **DELIVERY, **LOOKS)
    assert (session["amount_subtotal"], session["amount_total"]) == (900, 1400)
    assert session["custom_text"] == LOOKS["custom_text"]
    page = sandbox.http.get(session["url"])
    for shown in (
        "Mug &amp; Co",
        "Blue, 300 ml",
        'src="https://pictures.test:8443/mug.jpg?w=64"',
        "Parcel",
        "¥500",
        "We send on Mondays.",
        '<a href="https://shop.test/legal?a=1&amp;b=2" target="_blank" rel="noopener">terms</a>',
        ".<br>&lt;b&gt;Thanks&lt;/b&gt;",
        "<p>First.</p><p>Second.</p>",
        "[No](javascript:alert(1))",
    ):
        assert shown in page.text
    policy = page.headers["Content-Security-Policy"]
    assert "img-src 'self' data: https://pictures.test:8443;" in policy


def test_every_page_wears_the_letterhead(sandbox: SandboxClient) -> None:
    looks = {"branding_settings": {**LOOKS["branding_settings"], **BRANDING}}
    session = sandbox.create(**looks)
    assert session["branding_settings"] == {
        "icon": None, "logo": None, **looks["branding_settings"]
    }  # fmt: skip
    asked = sandbox.pay(session, "4000000000003220")
    paid = sandbox.pay(sandbox.create(**looks), method="konbini")
    sandbox.api("POST", f"/checkout/sessions/{(ended := sandbox.create(**looks))['id']}/expire")
    for url in (session["url"], asked.location, paid.location, f"/checkout/{ended['id']}"):
        page = sandbox.http.get(url).text
        assert "<strong>Mug &amp; Co</strong>" in page
        assert re.search(r'<link rel="stylesheet" href="/checkout/cs_test_\w+/accent.css">', page)
    style = sandbox.http.get(f"/checkout/{session['id']}/accent.css")
    assert style.mimetype == "text/css"
    for rule in (
        "--button: #ffdd00; --on-button: #000;",
        "--head: #1B2A49; --on-head: #fff;",
        "--radius: 24px;",
        '--font: "noto sans jp";',
    ):
        assert rule in style.text
    assert "accent.css" not in sandbox.http.get(sandbox.create()["url"]).text


@pytest.mark.parametrize(
    ("change", "param"),
    [
        (
            {"shipping_address_collection": {"allowed_countries": ["JP", "XX"]}},
            "shipping_address_collection[allowed_countries][1]",
        ),
        ({"custom_text": {"submit": {"message": "x" * 1201}}}, "custom_text[submit][message]"),
        ({"branding_settings": {"button_color": "red"}}, "branding_settings[button_color]"),
        ({"branding_settings": {"border_style": "wild"}}, "branding_settings[border_style]"),
    ],
)
def test_what_stripe_refuses(sandbox: SandboxClient, change: dict[str, Any], param: str) -> None:
    answer = sandbox.api("POST", "/checkout/sessions", {**SESSION, **change})
    assert (answer.status_code, answer.json["error"]["param"]) == (400, param)


@pytest.mark.parametrize("images", [["/mug.jpg"], ["https://a.test/x"] * 9])
def test_pictures_have_public_addresses(sandbox: SandboxClient, images: list[str]) -> None:
    product = {"name": "Mug", "images": images}
    data = {"currency": "jpy", "unit_amount": 900, "product_data": product}
    params = {**SESSION, "line_items": [{"price_data": data}]}
    error = sandbox.api("POST", "/checkout/sessions", params).json["error"]
    assert error["param"].startswith("line_items[0][price_data][product_data][images]")


@pytest.mark.parametrize("version", [1, 2])
def test_a_file_of_an_earlier_version_goes_on(
    sandbox: SandboxClient, tmp_path: Path, version: int
) -> None:
    """The file of a shop that was updated while somebody paid and an event was waiting."""
    session = sandbox.create()
    sandbox.control("webhooks", mode="delay", seconds=60)
    sandbox.api("POST", f"/checkout/sessions/{sandbox.create()['id']}/expire")
    with closing(sqlite3.connect(tmp_path / "bench" / "sandbox.sqlite3")) as connection:
        if version == 1:
            connection.execute(
                "update objects set doc = json_remove(doc, '$.branding_settings', '$._.branding',"
                " '$._.typed', '$._.methods', '$._.customer') where id = ?",
                (session["id"],),
            )
        for column in ("endpoint", "url"):
            connection.execute(f"alter table deliveries drop column {column}")
        connection.execute(f"pragma user_version = {version}")
        connection.commit()
    assert sandbox.http.get(session["url"]).status_code == 200
    assert sandbox.pay(session).status_code == 303
    sandbox.control("clock", advance=60)
    assert sandbox.receiver.types[0] == "checkout.session.expired"
