"""Japanese is complete: every text, every page, every mail."""

import re
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.extract import DEFAULT_KEYWORDS, extract_from_dir
from babel.messages.frontend import parse_mapping_cfg
from babel.messages.mofile import read_mo
from babel.messages.pofile import read_po
from flask import Flask

from tests.actors import Browser, Buyer

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "shop" / "translations" / "ja" / "LC_MESSAGES"
JAPANESE = {"Accept_Language": "ja"}
# What is English on a Japanese page: names, and what the shop's people typed themselves.
NOT_OURS = re.compile(
    r"Corner Shop|English|Stripe|JavaScript|Cookie|MiB|flask shop init|「flask shop [^」]+」"
    r"|aya@example\.com"
    r"|Pick-up in the shop|Parcel|T-shirt|Linen tea towel|Mug, the last ones|Postcards, ten|Hoodie|Aya|Ben|https?://\S+"
)


@pytest.fixture(scope="module")
def catalogue() -> Catalog:
    """The Japanese texts."""
    with (FOLDER / "messages.po").open("rb") as file:
        return read_po(file, locale="ja")


def texts_in_code() -> Iterator[str | tuple[str, ...]]:
    with (ROOT / "babel.cfg").open() as file:
        methods, options = parse_mapping_cfg(file)
    keywords = DEFAULT_KEYWORDS | {"_l": None}
    found = extract_from_dir(ROOT, methods, options, keywords)
    for _file, _line, text, _comments, _context in found:
        yield text


def key(message: Message) -> str:
    """Return the English of a message, singular."""
    return message.id if isinstance(message.id, str) else message.id[0]


def all_of(message: Message) -> list[str]:
    """Return the translations of a message: one, or one for each plural form."""
    return [message.string] if isinstance(message.string, str) else list(message.string)


def test_the_catalogue_holds_the_texts_of_the_code_and_no_others(catalogue: Catalog) -> None:
    ours = {message.id for message in catalogue if message.id}
    assert ours == set(texts_in_code()), "run `make translations`, then translate what is new"
    assert not catalogue.obsolete


def test_everything_is_translated(catalogue: Catalog) -> None:
    for message in catalogue:
        assert all(all_of(message)), message.id
        assert not message.fuzzy or not message.id, message.id


def test_placeholders_agree(catalogue: Catalog) -> None:
    for message in catalogue:
        ids = [message.id] if isinstance(message.id, str) else list(message.id)
        wanted = {name for text in ids for name in placeholders(text)}
        for text in all_of(message):
            assert placeholders(text) == wanted, message.id


def placeholders(text: str) -> set[str]:
    return set(re.findall(r"%\(\w+\)[a-z]|%[a-z%]", text))


def test_what_is_compiled_is_what_is_written(catalogue: Catalog) -> None:
    with (FOLDER / "messages.mo").open("rb") as file:
        compiled = {key(m): all_of(m) for m in read_mo(file) if m.id}
    assert compiled == {key(m): all_of(m) for m in catalogue if m.id}, "run `make translations`"


def test_the_catalogue_keeps_its_differences_small() -> None:
    lines = (FOLDER / "messages.po").read_text().splitlines()
    assert not [line for line in lines if line.startswith(("#:", "#~", "#, fuzzy"))]


def assert_japanese(page: str) -> None:
    """Fail where a person would read English on this page or in this mail."""
    page = re.sub(
        r'<p class="said"[^>]*>.*?</p>|<(title|script|style)\b.*?</\1>', " ", page, flags=re.DOTALL
    )
    spoken = [*re.findall(r'aria-label="([^"]*)"', page), re.sub(r"<[^>]+>", " ", page)]
    left = NOT_OURS.sub(" ", unescape(" ".join(spoken)))
    assert not re.findall(r"[A-Za-z]{2,}", left)


PAGES = (
    "/",
    "/topics/1",
    "/topics/99",
    "/shop/",
    "/shop/t-shirt",
    "/shop/last-mugs",
    "/shop/nothing",
    "/cart",
    "/orders",
    "/orders?asked=yes",
    "/orders/nobody",
    "/payments/success?session_id=x",
    "/nowhere",
)
FORMS = (
    ("/", {"comment": "", "name": "x" * 50}),
    ("/", {"comment": "x" * 2001}),
    ("/topics/99/replies", {"comment": "？"}),
    ("/payments/session", {}),
    ("/payments/session", {"product_id": "1", "quantity": "0"}),
    ("/payments/session", {"product_id": "3", "quantity": "99"}),
    ("/payments/session", {"product_id": "99"}),
    ("/cart/items", {"product_id": "1", "quantity": "100"}),
    ("/orders", {"email": "？"}),
    ("/nowhere", {}),
)


@pytest.mark.parametrize("mode", ["sandbox", "test", "off"])
def test_every_page_is_japanese(make_app: Callable[..., Flask], mode: str) -> None:
    settings = {
        "sandbox": {},
        "test": {"STRIPE_SECRET_KEY": "sk_test_never_asked", "STRIPE_WEBHOOK_SECRET": "whsec_x"},
        "off": {"SHOP_SANDBOX": "off"},
    }[mode]
    browser = Browser(make_app(**settings))
    for path in PAGES:
        page = browser.get(path, **JAPANESE)
        assert '<html lang="ja">' in page.text
        assert_japanese(page.text)


@pytest.mark.parametrize(("path", "fields"), FORMS)
def test_every_refusal_is_japanese(browser: Browser, path: str, fields: dict[str, str]) -> None:
    refused = browser.submit(path, fields, **JAPANESE)
    assert refused.status >= 400
    assert_japanese(re.sub(r"x{50,}", "", refused.text))


@pytest.mark.parametrize(
    ("path", "fields", "most"),
    [
        ("/", {"comment": "？"}, 20),
        ("/topics/1/replies", {"comment": "？"}, 20),
        ("/payments/session", {"product_id": "99"}, 60),
        ("/payments/charge", {"stripeToken": "tok_x"}, 5),
        ("/orders", {"email": "aya@example.com"}, 3),
    ],
)
def test_who_is_too_fast_is_told_in_japanese(
    app: Flask, path: str, fields: dict[str, str], most: int
) -> None:
    browser = Browser(app)
    browser.submit("/cart/items", {"product_id": "1", "quantity": "1"})
    form = fields | {"csrf_token": browser.token()}
    for number in range(most):
        # The same text twice would be one post.
        text = {"comment": f"？{number}"} if "comment" in fields else {}
        assert browser.post(path, form | text).status != 429
    refused = browser.post(path, form, **JAPANESE)
    assert refused.status == 429
    assert_japanese(refused.text)


def test_a_stale_form_is_japanese(browser: Browser) -> None:
    assert_japanese(browser.post("/", {"comment": "？"}, **JAPANESE).text)


def test_buying_is_japanese(app: Flask) -> None:
    buyer = Buyer(app)
    buyer.get("/?lang=ja")
    buyer.submit("/cart/items", {"product_id": 1, "quantity": 2})
    assert_japanese(buyer.get("/cart").text)
    order = buyer.order()
    assert buyer.get(f"/payments/cancel?order={order['order']}").status == 303
    for path in (
        "/cart",
        f"/orders/{order['order']}",
        f"/payments/success?session_id={order['id']}",
    ):
        assert_japanese(buyer.get(path).text)
    buyer.get(buyer.pay(order["url"]).location)
    assert_japanese(buyer.get(f"/orders/{order['order']}").text)


@pytest.mark.parametrize(
    "state",
    ["awaiting_payment", "cancelled", "needs_review", "partially_refunded", "refunded"],
)
def test_every_state_of_an_order_is_japanese(app: Flask, state: str) -> None:
    buyer = Buyer(app)
    token = buyer.order()["order"]
    put_into_state(app, token, state)
    page = buyer.get(f"/orders/{token}?lang=ja")
    assert '<html lang="ja">' in page.text
    assert_japanese(page.text)


def put_into_state(app: Flask, token: str, state: str) -> None:
    from sqlalchemy import update

    from shop.db import db, write
    from shop.orders.models import Order

    change = update(Order).where(Order.token == token).values(state=state)
    with app.app_context():
        write(lambda: db.session.execute(change))


SUBJECTS = (ROOT / "shop/templates/mail").glob("*.subject.txt")
MAILS = sorted(path.name.removesuffix(".subject.txt") for path in SUBJECTS)


@pytest.mark.parametrize("kind", MAILS)
def test_mail_is_japanese(app: Flask, kind: str) -> None:
    from flask import render_template
    from flask_babel import force_locale

    from shop.orders.queries import get_order
    from shop.orders.states import ORDERED

    token = Buyer(app).order()["order"]
    with app.test_request_context(), force_locale("ja"):
        order = get_order(token).to_dict() | {
            "link": "https://shop.example/orders/x",
            "slip": "https://shop.example/slip",
            "until": "2026-11-26T23:59:00+09:00",
            "refund": 500,
            "disputed": 2000,
            "reason": "fraudulent",
            "outcome": "lost",
        }
        order["orders"] = [order | {"state": s, "created": order["until"]} for s in ORDERED]
        names = {"order": order, "language": "ja"}
        for suffix in (".subject.txt", ".txt", ".html"):
            assert_japanese(render_template(f"mail/{kind}{suffix}", **names))


@pytest.mark.parametrize("usual", ["ja", "en"])
@pytest.mark.parametrize(
    ("asked", "language"),
    [
        ("ja-JP", "ja"),
        ("ja_JP", "ja"),
        ("JA", "ja"),
        ("en-GB", "en"),
        ("en-GB,en;q=0.9,ja;q=0.8", "en"),
        ("en-GB,ja;q=0.9", "en"),
        ("fr-CH, fr;q=0.9, ja;q=0.5, *;q=0.1", "ja"),
        ("en;q=0.2, ja;q=0.3", "ja"),
        ("en;q=0, ja", "ja"),
        ("ja, en", "ja"),
        ("*, en", "en"),
        ("ja;q=0, *", "en"),
        ("en;q=0, *;q=0.1", "ja"),
        ("x" * 8000 + ", ja", "ja"),
        ("ja;q=5, en;q=0.1", "en"),
        *[(text, None) for text in (
            "*", "*;q=0.5, fr", "*;q=0", "fr", "", " ", ",,;;", "ja;q=0", "en;q=0", "fr;q=0.9, *",
            "ja;q=high", "jaa", "x" * 8000, ",".join(["fr"] * 2000), "é", "-", "_-;=,\"",
        )],
    ],
)  # fmt: skip
def test_a_page_is_in_the_visitors_language_or_else_in_the_shops(
    make_app: Callable[..., Flask], usual: str, asked: str, language: str | None
) -> None:
    page = Browser(make_app(SHOP_LOCALE=usual)).get("/cart", Accept_Language=asked)
    assert f'<html lang="{language or usual}">' in page.text
