"""Lost links: mailed to the address that an order was paid with, and told to nobody else."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from flask import Flask
from sqlalchemy import event

from shop.db import db, now, write
from shop.mail.outbox import list_mails, send_due
from shop.orders import links as lost_links
from shop.orders.models import Order
from tests.actors import Answer, Browser, Buyer
from tests.databases import on_all, on_sqlite
from tests.mail.test_mail import parts
from tests.outbox import later
from tests.pages import form_to, links, tags
from tests.post_office import PostOffice

AYA = "aya@example.com"


def put(app: Flask, email: str = AYA, state: str = "paid", mode: str = "sandbox") -> str:
    """Put an order of this address into the database; return its token."""
    order = Order(
        mode=mode, state=state, currency="jpy", amount=2000, visitor="x", language="en", email=email
    )

    def unit() -> str:
        db.session.add(order)
        db.session.flush()
        return order.token

    with app.app_context():
        return write(unit)


def ask(browser: Browser, email: str = AYA, **headers: str) -> Answer:
    return browser.submit("/orders", {"email": email}, **headers)


def mailed(app: Flask) -> list[tuple[str, str, str]]:
    """Return what of the outbox are links: the order, the recipient, the state."""
    with app.app_context():
        return [
            (mail["order"], mail["to"], mail["state"])
            for mail in list_mails()
            if mail["kind"] == "customer_links"
        ]


# --- the mail -------------------------------------------------------------------------------


@on_all
def test_who_paid_gets_the_links_again(mailing: Flask, office: PostOffice) -> None:
    buyer = Buyer(mailing)
    first, second = buyer.buy(1), buyer.buy(3, 2)
    with mailing.app_context():
        send_due(10)
    office.received.clear()
    answer = ask(Browser(mailing), " AYA@Example.com ")
    assert (answer.status, answer.location) == (303, "/orders?asked=yes")
    assert mailed(mailing) == [(second, AYA, "sent")]
    assert office.recipients[-1] == [AYA]
    message = office.received[0]
    assert message["To"] == AYA
    for part in parts(message):
        assert part.index(f"/orders/{second}") < part.index(f"/orders/{first}")
        for words in ("Order 1", "Order 2", "¥2,000", "¥3,600", "paid"):
            assert words in part
        assert "T-shirt" not in part


def test_who_asks_again_while_the_mail_is_leaving_gets_another(
    mailing: Flask, office: PostOffice
) -> None:
    put(mailing)

    def ask_again() -> None:
        office.before_taking = lambda: None
        with mailing.app_context():
            lost_links.mail_links(AYA, "ja")

    office.before_taking = ask_again
    ask(Browser(mailing))
    assert [state for *_, state in mailed(mailing)] == ["waiting"]
    with later(minutes=2), mailing.app_context():
        assert send_due(10) == 1
    assert len({str(message["Subject"]) for message in office.received}) == 2
    assert [state for *_, state in mailed(mailing)] == ["sent"]


def test_what_was_not_ordered_or_is_not_theirs_is_not_listed(
    mailing: Flask, office: PostOffice
) -> None:
    states = ("awaiting_payment", "paid", "partially_refunded", "refunded", "needs_review")
    listed = [put(mailing, state=state) for state in states]
    others = [put(mailing, state=state) for state in ("pending", "cancelled")]
    others += [put(mailing, mode="live"), put(mailing, "ben@example.com")]
    others += [put(mailing, "aya@example.com.example")]
    ask(Browser(mailing))
    for part in parts(office.received[0]):
        assert [token for token in listed if token in part] == listed
        assert [token for token in others if token in part] == []
        for words in ("waiting for your payment", "partly refunded", "refunded", "by hand"):
            assert words in part


def test_of_many_orders_the_newest_twenty_are_listed(mailing: Flask, office: PostOffice) -> None:
    tokens = [put(mailing) for _ in range(23)]
    ask(Browser(mailing))
    text, _ = parts(office.received[0])
    assert [token for token in tokens if token in text] == tokens[3:]


def test_a_mailbox_learns_of_its_own_orders_alone(mailing: Flask, office: PostOffice) -> None:
    own = {email: put(mailing, email) for email in ("kay@example.com", "Kay@example.com")}
    ask(Browser(mailing), "KAY@example.com")
    with mailing.app_context():
        send_due(10)
    assert sorted(office.recipients) == [["Kay@example.com"], ["kay@example.com"]]
    for message in office.received:
        told = [email for email, token in own.items() if token in parts(message)[0]]
        assert told == [str(message["To"])]


@on_all
def test_asking_again_sends_the_same_row_again_as_a_new_message(
    mailing: Flask, office: PostOffice
) -> None:
    first = put(mailing)
    browser = Browser(mailing)
    ask(browser)
    put(mailing, "ben@example.com")
    with time_machine.travel(now() + timedelta(seconds=5), tick=True):
        ask(browser)
    assert mailed(mailing) == [(first, AYA, "sent")]
    assert len({str(message["Message-ID"]) for message in office.received}) == 2
    second = put(mailing)
    ask(browser)
    assert [order for order, _, _ in mailed(mailing)] == [first, second]
    assert first in parts(office.received[2])[0]


@on_all
def test_a_mail_that_was_given_up_is_tried_again_when_asked_for(
    mailing: Flask, office: PostOffice
) -> None:
    token = put(mailing)
    office.refuse["RCPT"] = "450 4.2.1 mailbox busy"
    browser = Browser(mailing)
    ask(browser)
    start = now()
    for day in range(1, 15):
        with time_machine.travel(start + timedelta(days=day), tick=True), mailing.app_context():
            send_due()
    assert mailed(mailing) == [(token, AYA, "failed")]
    office.refuse.clear()
    with time_machine.travel(start + timedelta(days=20), tick=True):
        ask(browser)
    assert mailed(mailing) == [(token, AYA, "sent")]
    with mailing.app_context():
        assert [(mail["attempts"], mail["error"]) for mail in list_mails()] == [(1, "")]


def test_the_mail_speaks_the_language_of_the_page_that_asked(
    mailing: Flask, office: PostOffice
) -> None:
    put(mailing)
    browser = Browser(mailing)
    browser.get("/orders?lang=ja")
    ask(browser)
    assert '<html lang="ja">' in parts(office.received[0])[1]


def test_the_links_lead_to_where_the_shop_is(
    make_app: Callable[..., Flask], office: PostOffice
) -> None:
    app = make_app(MAIL_URL=office.url, SHOP_MAIL_FROM="shop@shop.example")
    token = put(app)
    ask(Browser(app, "http://127.0.0.1:8123"))
    assert f"http://127.0.0.1:8123/orders/{token}" in parts(office.received[0])[0]


def test_the_command_line_lists_the_newest_order(mailing: Flask) -> None:
    put(mailing)
    newest = put(mailing)
    ask(Browser(mailing))
    listed = mailing.test_cli_runner().invoke(args=["shop", "mail", "list", "--json"])
    assert [(row["order"], row["kind"]) for row in json.loads(listed.stdout)] == [
        (newest, "customer_links")
    ]


# --- the answer -----------------------------------------------------------------------------


@contextmanager
def statements(app: Flask) -> Iterator[list[str]]:
    """Collect what is sent to the database."""
    seen: list[str] = []

    def note(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    with app.app_context():
        engine = db.engine
    event.listen(engine, "before_cursor_execute", note)
    yield seen
    event.remove(engine, "before_cursor_execute", note)


@on_all
def test_until_the_answer_is_there_the_same_is_done_for_a_stranger(mailing: Flask) -> None:
    put(mailing)
    told = []
    for email in (AYA, "stranger@example.com"):
        browser = Browser(mailing)
        client: Any = browser._client
        data = {"email": email, "csrf_token": browser.token()}
        with statements(mailing) as seen:
            response = client.post("/orders", data=data, base_url=browser.base)
            headers = {k: v for k, v in response.headers.items() if k != "Set-Cookie"}
            told.append((response.status_code, headers, response.get_data(), list(seen)))
            response.close()
        told.append(browser.get(response.headers["Location"]).words)
    assert told[:2] == told[2:]
    assert "on its way" in told[1]
    assert "spam folder" in told[1]
    assert len(mailed(mailing)) == 1


def test_what_goes_wrong_afterwards_is_logged_and_told_to_nobody(
    app: Flask, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: str) -> None:
        raise RuntimeError("the database has gone")

    monkeypatch.setattr(lost_links, "mail_links", broken)
    assert ask(Browser(app)).status == 303
    assert "the database has gone" in caplog.text


@on_sqlite
@pytest.mark.parametrize(
    "typed", ["", "aya", "aya@", "@example.com", "aya@example", "a b@example.com", "a@b@c.de",
              "a\x00b@example.com", "aya@example.com\nBcc: ben@example.com", "x" * 300 + "@a.de"],
)  # fmt: skip
@on_all
def test_an_impossible_address_is_given_back_beside_its_field(app: Flask, typed: str) -> None:
    browser = Browser(app)
    answer = ask(browser, typed)
    assert answer.status == 422
    form = form_to(answer.text, "/orders")
    assert form is not None
    assert form.fields["email"] == typed
    field = next(attrs for tag, attrs in tags(answer.text) if attrs.get("name") == "email")
    assert field["aria-invalid"] == "true"
    error = next(a for _, a in tags(answer.text) if a.get("id") == field["aria-describedby"])
    assert error["role"] == "alert"
    assert "Nothing was sent" in answer.words
    told = ask(browser, typed, Accept="application/json")
    assert (told.status, told.json["error"]["code"]) == (422, "bad_email")


def test_an_address_in_any_script_may_be_asked_for(app: Flask) -> None:
    put(app, "綾@例え.jp")
    assert ask(Browser(app), "綾@例え.jp").status == 303
    assert len(mailed(app)) == 1


@pytest.mark.parametrize("email", [AYA, "stranger@example.com"])
def test_an_address_is_mailed_to_three_times_an_hour(app: Flask, email: str) -> None:
    put(app)
    for spelled in (email, email.upper(), email.title()):
        assert ask(Browser(app), spelled).status == 303
    refused = ask(Browser(app), email)
    assert refused.status == 429
    assert 0 < int(refused.headers["Retry-After"]) <= 3600
    assert "nothing was sent this time" in refused.words
    form = form_to(refused.text, "/orders")
    assert form is not None
    assert form.fields["email"] == email
    told = ask(Browser(app), email, Accept="application/json")
    assert (told.status, told.json["error"]["code"]) == (429, "too_fast")
    assert int(told.headers["Retry-After"]) > 0
    assert ask(Browser(app), "ben@example.com").status == 303
    with time_machine.travel(now() + timedelta(hours=1), tick=True):
        assert ask(Browser(app), email).status == 303


def test_a_network_asks_ten_times_an_hour(make_app: Callable[..., Flask]) -> None:
    app = make_app(SHOP_PROXY="for=1")

    def asked(number: int, address: str) -> int:
        return ask(Browser(app), f"p{number}@example.com", X_Forwarded_For=address).status

    assert [asked(n, f"198.51.100.{n}") for n in range(12)] == [303] * 10 + [429] * 2
    assert asked(99, "203.0.113.9") == 303


def test_where_no_proxy_is_named_everybody_may_ask(app: Flask) -> None:
    for number in range(15):
        assert ask(Browser(app), f"p{number}@example.com").status == 303


# --- the ways there -------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/shop/", "/cart", "/orders?asked=yes"])
def test_every_page_leads_to_the_form(browser: Browser, path: str) -> None:
    assert "/orders" in links(browser.get(path).text)


def test_an_order_that_is_not_found_can_be_asked_for(browser: Browser) -> None:
    for path in ("/orders/nobodys", "/payments/card?order=nobodys", "/payments/cancel?order=x"):
        missing = browser.get(path)
        assert missing.status == 404
        assert links(missing.text).count("/orders") == 2
    assert links(browser.get("/nowhere").text).count("/orders") == 1
