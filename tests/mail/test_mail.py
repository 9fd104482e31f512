"""Mail: written with the order it is about, sent once, tried again, and no visitor waits for it."""

import email
import re
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from email.header import decode_header, make_header
from email.message import EmailMessage
from functools import partial
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import event

from shop import mail
from shop.db import db, write
from shop.mail import outbox as shop_outbox
from tests.actors import Browser, Buyer
from tests.conftest import Till
from tests.outbox import AYA, OWNER, Outbox, Sold, later, outbox_of
from tests.pages import send
from tests.post_office import GONE, PostOffice, closed_port

UNTIL = "2026-12-01T12:00:00+00:00"


# --- the outbox -----------------------------------------------------------------------------


def test_a_message_is_kept_once_however_often_it_is_asked_for(outbox: Outbox) -> None:
    for _ in range(3):
        outbox.queue()
    outbox.queue_for_staff()
    assert [(row["kind"], row["to"], row["state"]) for row in outbox.rows] == [
        ("customer_paid", AYA, "waiting"),
        ("staff_new_order", OWNER, "waiting"),
    ]


def test_a_message_goes_with_its_transaction(outbox: Outbox) -> None:
    def unit() -> None:
        mail.customer_paid(outbox.order)
        raise KeyError

    with outbox.app.app_context(), pytest.raises(KeyError):
        write(unit)
    assert outbox.rows == []


def test_an_owner_without_an_address_is_written_to_at_the_shops(
    make_app: Callable[..., Flask],
) -> None:
    outbox = outbox_of(make_app(SHOP_MAIL_FROM="shop@shop.example"))
    outbox.queue_for_staff()
    assert [row["to"] for row in outbox.rows] == ["shop@shop.example"]


def test_a_message_is_sent_once(outbox: Outbox, office: PostOffice) -> None:
    outbox.queue()
    assert (outbox.send(), outbox.send()) == (1, 0)
    outbox.queue()
    with later(days=1):
        assert outbox.send() == 0
    assert len(office.received) == 1
    assert outbox.rows[0] == {
        "order": "token",
        "kind": "customer_paid",
        "to": AYA,
        "state": "sent",
        "attempts": 1,
        "error": "",
    }


# --- when a message leaves ------------------------------------------------------------------


def test_one_message_leaves_after_a_post_and_none_after_a_get(
    outbox: Outbox, office: PostOffice
) -> None:
    outbox.queue()
    outbox.queue_for_staff()
    browser = Browser(outbox.app)
    token = browser.token()
    browser.get("/cart")
    assert office.received == []
    for count in (1, 2, 2):
        answer = browser.post("/", {"comment": "Hello", "csrf_token": token})
        assert answer.status == 303
        assert len(office.received) == count
    assert outbox.states == ["sent", "sent"]


def test_a_post_that_is_refused_sends_nothing(outbox: Outbox, office: PostOffice) -> None:
    outbox.queue()
    for headers in ({}, {"host": "evil.example"}):
        assert send(outbox.app, method="POST", body=b"", **headers).status == 400
    assert office.received == []


def test_the_visitor_has_the_answer_before_mail_is_thought_of(
    outbox: Outbox, office: PostOffice
) -> None:
    outbox.queue()
    browser = Browser(outbox.app)
    client: Any = browser._client
    data = {"comment": "Hello", "csrf_token": browser.token()}
    response = client.post("/", data=data, base_url=browser.base)
    assert response.get_data()
    assert office.received == []
    response.close()
    assert len(office.received) == 1


def test_a_mail_server_that_is_away_costs_the_visitor_nothing(
    make_app: Callable[..., Flask],
) -> None:
    app = make_app(MAIL_URL=f"smtp://127.0.0.1:{closed_port()}")
    outbox = outbox_of(app)
    outbox.queue()
    assert Browser(app).submit("/", {"comment": "Hello"}).status == 303
    row = outbox.rows[0]
    assert (row["state"], row["attempts"]) == ("waiting", 1)
    assert "refused" in row["error"]


def test_one_message_leaves_after_an_event_and_none_after_the_success_page(
    mailing: Flask, office: PostOffice
) -> None:
    from tests.payments.test_settle import _deliver, _event

    buyer = Buyer(mailing)
    buyer.post("/sandbox/control/webhooks", {"mode": "drop"})
    first, second = buyer.order(1), buyer.order(2)
    back = buyer.pay(first["url"]).location
    buyer.pay(second["url"])
    office.received.clear()
    assert buyer.get(back).status == 303
    assert office.received == []
    sessions = buyer.get("/sandbox/control/state").json["sessions"]
    session = next(one for one in sessions if one["id"] == second["id"])
    assert _deliver(mailing, _event("checkout.session.completed", session)) == 200
    assert len(office.received) == 1
    assert [order["state"] for order in Till.mounted(mailing).orders()] == ["paid", "paid"]


@pytest.mark.parametrize("broken", ["the server", "the outbox"])
def test_a_payment_stands_though_no_mail_can_be_sent(
    make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    app = make_app(MAIL_URL=f"smtp://127.0.0.1:{closed_port()}", SHOP_OWNER_EMAIL=OWNER)
    buyer = Buyer(app)
    order = buyer.order()

    def breaks(*_: Any) -> None:
        raise RuntimeError("broken")

    if broken == "the outbox":
        monkeypatch.setattr(shop_outbox, "send_due", breaks)
    back = buyer.pay(order["url"])
    deliveries = buyer.get("/sandbox/control/state").json["deliveries"]
    assert [one["response_code"] for one in deliveries] == [200] * len(deliveries)
    assert buyer.get(back.location).status == 303
    assert buyer.see(order["order"])["state"] == "paid"
    assert Browser(app).submit("/", {"comment": "Hello"}).status == 303


@pytest.mark.parametrize(
    "error", [KeyError("amount"), TypeError("None"), RuntimeError("odd")], ids=repr
)
def test_a_message_that_cannot_be_written_is_kept_with_the_reason(
    outbox: Outbox, office: PostOffice, error: Exception
) -> None:
    def broken(*_: Any) -> str:
        raise error

    outbox.app.jinja_env.globals["minor"] = broken
    outbox.queue()
    assert Browser(outbox.app).submit("/", {"comment": "Hello"}).status == 303
    row = outbox.rows[0]
    assert (row["state"], row["attempts"]) == ("waiting", 1)
    assert type(error).__name__ in row["error"]
    with later(minutes=2):
        outbox.app.jinja_env.globals["minor"] = lambda *_: "¥4,000"
        assert outbox.send() == 1


# --- trying again ---------------------------------------------------------------------------


def test_a_failure_waits_longer_each_time_and_is_given_up_visibly(
    outbox: Outbox, office: PostOffice
) -> None:
    office.refuse["RCPT"] = "450 4.2.1 mailbox busy"
    outbox.queue()
    minutes = 0.0
    for attempt, wait in enumerate([1, 5, 15, 60, *[360] * 7], start=1):
        with later(minutes=minutes):
            assert outbox.send() == 0
            assert outbox.rows[0]["attempts"] == attempt
        with later(minutes=minutes + wait - 0.5):
            assert outbox.send() == 0
            assert outbox.rows[0]["attempts"] == attempt
        assert outbox.states == ["waiting"]
        minutes += wait + 0.1
    with later(minutes=minutes):
        outbox.send()
    assert outbox.rows[0]["state"] == "failed"
    assert "mailbox busy" in outbox.rows[0]["error"]
    office.refuse.clear()
    with later(days=30):
        assert outbox.send() == 0


def test_a_message_says_the_same_id_each_time_and_no_other_does(
    outbox: Outbox, office: PostOffice
) -> None:
    outbox.queue()
    outbox.queue_for_staff()
    office.refuse["END"] = "451 4.3.0 taken, perhaps"
    assert outbox.send() == 0
    office.refuse.clear()
    with later(minutes=2):
        assert outbox.send() == 2
    ids = [str(message["Message-ID"]) for message in office.received]
    assert ids[:2] == ids[2:]
    assert len(set(ids)) == 2
    assert all(one.startswith("<") and one.endswith("@shop.example>") for one in ids)
    dates = [str(message["Date"]) for message in office.received]
    assert dates[:2] == dates[2:]


@pytest.mark.parametrize("answer", ["450 4.2.1 mailbox busy", "550 5.1.1 no such user"])
def test_one_refused_recipient_holds_up_nobody_else(
    outbox: Outbox, office: PostOffice, answer: str
) -> None:
    outbox.queue()
    outbox.queue_for_staff()
    office.refuse_for[AYA] = answer
    assert outbox.send() == 1
    assert [str(message["To"]) for message in office.received] == [OWNER]


def test_a_recipient_that_does_not_exist_is_given_up_at_once_and_visibly(
    outbox: Outbox, office: PostOffice
) -> None:
    office.refuse["RCPT"] = "550 5.1.1 no such user"
    outbox.queue()
    assert outbox.send() == 0
    row = outbox.rows[0]
    assert (row["state"], row["attempts"]) == ("failed", 1)
    assert f"refused the recipient {AYA}: 550 5.1.1 no such user" in row["error"]
    office.refuse.clear()
    with later(days=3):
        assert outbox.send() == 0
    assert office.received == []


def test_a_server_that_is_away_is_asked_once_in_a_minute_whatever_waits(
    outbox: Outbox, office: PostOffice
) -> None:
    office.refuse["CONNECT"] = "421 4.3.2 come back later"
    outbox.queue()
    outbox.queue_for_staff()
    assert outbox.send() == 0
    assert [row["attempts"] for row in outbox.rows] == [1, 0]
    office.refuse.clear()
    with later(seconds=50):
        assert outbox.send() == 0
    with later(seconds=70):
        assert outbox.send() == 2


def test_a_server_that_dies_after_taking_a_message_gets_it_again_under_the_same_id(
    outbox: Outbox, office: PostOffice
) -> None:
    office.refuse["END"] = GONE
    outbox.queue()
    assert outbox.send() == 0
    office.refuse.clear()
    for minutes in (2, 20):
        with later(minutes=minutes):
            outbox.send()
    first, second = (message["Message-ID"] for message in office.received)
    assert first == second
    assert outbox.states == ["sent"]


@pytest.mark.parametrize("reaction", [GONE, "What?"])
def test_a_message_that_was_taken_is_not_sent_again_whatever_quit_comes_to(
    outbox: Outbox, office: PostOffice, reaction: str
) -> None:
    office.refuse["QUIT"] = reaction
    outbox.queue()
    assert outbox.send() == 1
    with later(days=1):
        assert outbox.send() == 0
    assert len(office.received) == 1


def test_a_reason_fits_into_every_database_and_one_line(outbox: Outbox, office: PostOffice) -> None:
    office.refuse["RCPT"] = "450-4.2.1 go \x00away\x1b[31m,\r\n450 4.2.1 please" + "!" * 600
    outbox.queue()
    outbox.send()
    error = outbox.rows[0]["error"]
    assert "4.2.1 go away [31m, 4.2.1 please!" in error
    assert error.isprintable()
    assert len(error) == 500


def test_the_log_says_why_and_names_nobody(
    outbox: Outbox, office: PostOffice, caplog: pytest.LogCaptureFixture
) -> None:
    office.refuse["RCPT"] = f"550 5.1.1 <{AYA}>: no such user"
    outbox.queue()
    outbox.send()
    assert "no such user" in caplog.text
    assert AYA not in caplog.text


@pytest.mark.parametrize(
    "to",
    [
        "aya@example.com\r\nBcc: evil@example.com",
        "aya@example.com,evil@example.com",
        "aya",
        "a b@example.com",
        "<aya@example.com>, b@c.d",
        "あや@example.com",
        "aya@example.com\x00",
        "aya@☃.example",
        f"aya@{'日' * 60}.example",
    ],
)
def test_an_address_that_is_none_or_several_gets_nothing(
    outbox: Outbox, office: PostOffice, to: str
) -> None:
    outbox.queue(to=to)
    assert outbox.send() == 0
    assert office.received == []
    assert outbox.rows[0]["error"]
    assert outbox.states == ["failed"]


@pytest.mark.parametrize(
    ("to", "envelope"),
    [
        ("a..b.@docomo.example", "a..b.@docomo.example"),
        ("aya@日本.example", "aya@xn--wgv71a.example"),
        ("aya@faß.example", "aya@xn--fa-hia.example"),
        ("aya@βόλος.example", "aya@xn--nxasmm1c.example"),
        ("o'brien+shop@example.com", "o'brien+shop@example.com"),
        ("a(b)@example.com", '"a(b)"@example.com'),
    ],
)
def test_an_odd_address_reaches_whom_it_names(
    outbox: Outbox, office: PostOffice, to: str, envelope: str
) -> None:
    outbox.queue(to=to)
    assert outbox.send() == 1
    assert office.recipients == [[envelope]]
    assert office.received[0]["To"] == envelope


# --- several processes ----------------------------------------------------------------------


def test_two_processes_never_send_the_same_message(
    outbox: Outbox, office: PostOffice, make_app: Callable[..., Flask]
) -> None:
    outbox.queue()
    outbox.queue_for_staff()
    both = threading.Barrier(2, timeout=10)
    office.before_taking = lambda: both.wait() and None
    workers = [make_app(MAIL_URL=office.url) for _ in range(2)]
    counts: list[int] = []

    def work(app: Flask) -> None:
        with app.app_context():
            counts.append(shop_outbox.send_due(5))

    threads = [threading.Thread(target=work, args=(worker,)) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(str(message["To"]) for message in office.received) == [AYA, OWNER]
    assert sum(counts) == 2
    assert [row["attempts"] for row in outbox.rows] == [1, 1]


def test_a_message_that_another_process_takes_at_the_last_moment_is_left_to_it(
    outbox: Outbox, office: PostOffice, make_app: Callable[..., Flask]
) -> None:
    outbox.queue()
    other = make_app(MAIL_URL=office.url)
    sent: list[int] = []

    def other_sends() -> None:
        with other.app_context():
            sent.append(shop_outbox.send_due())

    def when_the_choice_is_made(*_: Any) -> None:
        if not sent:
            sent.append(0)
            thread = threading.Thread(target=other_sends)
            thread.start()
            thread.join()

    with outbox.app.app_context():
        event.listen(db.engine, "checkin", when_the_choice_is_made)
    assert outbox.send() == 0
    assert sent == [0, 1]
    assert len(office.received) == 1
    assert outbox.rows[0]["attempts"] == 1


def test_a_process_that_was_slower_than_its_lease_undoes_nothing(
    outbox: Outbox, office: PostOffice, make_app: Callable[..., Flask]
) -> None:
    other = make_app(MAIL_URL=office.url)

    def other_takes_over() -> None:
        office.before_taking = lambda: None
        with later(seconds=100), other.app_context():
            assert shop_outbox.send_due() == 1
        office.refuse["END"] = "451 4.3.0 too late"

    office.before_taking = other_takes_over
    outbox.queue()
    assert outbox.send() == 0
    assert outbox.states == ["sent"]


# --- what a message says --------------------------------------------------------------------


def parts(message: EmailMessage) -> tuple[str, str]:
    """Return the message's text and its HTML."""
    plain, html = message.get_body(("plain",)), message.get_body(("html",))
    assert plain is not None
    assert html is not None
    return plain.get_content(), html.get_content()


def test_a_receipt_names_goods_amount_and_link_as_text_and_html(
    outbox: Outbox, office: PostOffice
) -> None:
    outbox.queue()
    outbox.send()
    message = office.received[0]
    assert (message["To"], message["From"]) == (AYA, "Corner Shop <shop@shop.example>")
    assert str(outbox.order_id) in message["Subject"]
    text, html = parts(message)
    for part in (text, html):
        assert "¥4,000" in part
        assert "http://127.0.0.1:5000/orders/token" in part
    assert "T-shirt <日本> × 2" in text
    assert "T-shirt &lt;日本&gt; × 2" in html
    assert "<日本>" not in html


TEMPLATES = Path(mail.__file__).parents[1] / "templates/mail"
ALL_KINDS = sorted(
    path.name.partition(".")[0]
    for path in TEMPLATES.glob("*.subject.txt")
    if not path.name.startswith(("customer_links", "staff_test"))
)


def queue_everything(order: Sold) -> None:
    mail.customer_received(order)
    mail.customer_awaiting(
        order, "slip", "https://pay.example/1", datetime(2026, 11, 25, 15, tzinfo=UTC)
    )
    mail.customer_paid(order)
    mail.customer_shipped(order)
    mail.customer_refunded(order, 500, "jpy", "re_1")
    mail.staff_new_order(order)
    mail.staff_needs_review(order)
    mail.staff_paid_twice(order, "pi_2")
    mail.staff_refund_failed(order, 500, "jpy", "re_1")
    mail.staff_dispute(order, 4000, "jpy", "fraudulent", inquiry=False, dispute_id="du_1")
    mail.staff_dispute_closed(order, 4000, "jpy", "lost", "du_1")


def test_every_message_can_be_written_in_both_languages(
    outbox: Outbox, office: PostOffice, make_app: Callable[..., Flask]
) -> None:
    for locale in ("en", "ja"):
        app = make_app(MAIL_URL=office.url, SHOP_OWNER_EMAIL=OWNER, SHOP_LOCALE=locale)
        own = outbox_of(app)
        with app.app_context():
            write(partial(queue_everything, replace(own.order, language=locale)))
        assert own.send(20) == len(ALL_KINDS)
        assert sorted(row["kind"] for row in own.rows[-len(ALL_KINDS) :]) == ALL_KINDS
    half = len(ALL_KINDS)
    english, japanese = office.received[:half], office.received[half:]
    for message in office.received:
        assert message.get_content_type() == "multipart/alternative"
        assert re.search(r"\d", message["Subject"])
        for part in parts(message):
            assert "http://127.0.0.1:5000/orders/token" in part
            assert "¥4,000" in part or "￥4,000" in part
    for message in japanese:
        text, html = parts(message)
        assert '<html lang="ja">' in html
        assert any("ぁ" <= char <= "ん" for char in str(message["Subject"]) + text), text
    for message in english:
        text, html = parts(message)
        assert '<html lang="en">' in html
        assert not any("ぁ" <= char <= "ん" for char in str(message["Subject"]) + text)


def test_a_japanese_order_is_thanked_for_in_japanese(mailing: Flask, office: PostOffice) -> None:
    buyer = Buyer(mailing)
    buyer.get("/?lang=ja")
    buyer.buy()
    with mailing.app_context():
        shop_outbox.send_due(10)
    by_recipient = {str(message["To"]): parts(message) for message in office.received}
    text, html = by_recipient[AYA]
    assert '<html lang="ja">' in html
    assert "ご注文" in text
    text, html = by_recipient[OWNER]
    assert '<html lang="en">' in html
    assert "ご注文" not in text


@pytest.mark.parametrize(
    "name", ["Corner Shop", "珈琲と本の店「ことば」本店 · 京都 ☕", "Café " * 30]
)
def test_words_in_every_script_arrive_as_they_were_written(
    make_app: Callable[..., Flask], office: PostOffice, name: str
) -> None:
    office.offers = ("PIPELINING",)  # a server that takes ASCII alone
    outbox = outbox_of(make_app(MAIL_URL=office.url, SHOP_NAME=name))
    outbox.queue(language="ja")
    outbox.queue_for_staff()
    assert outbox.send() == 2
    for raw in office.raw:
        assert raw.isascii()
        assert max(len(line) for line in raw.splitlines()) <= 998
    # The standard library has two parsers for headers; the office uses the other one.
    subject = email.message_from_bytes(office.raw[0])["Subject"]
    decoded = str(make_header(decode_header(subject)))
    assert decoded == str(office.received[0]["Subject"])
    assert decoded.endswith(f"· {name.strip()}")
    for part in parts(office.received[0]):
        assert name.strip() in unescape(part)
        assert "T-shirt <日本> × 2" in unescape(part)


def test_no_word_becomes_a_header(outbox: Outbox, office: PostOffice) -> None:
    evil = "Shop\r\nBcc: evil@example.com\r\n\r\nHello"
    outbox.app.config["SHOP_NAME"] = evil
    with outbox.app.app_context():
        write(lambda: mail.customer_paid(replace(outbox.order, name=evil)))
    assert outbox.send() == 1
    message = office.received[0]
    assert message["Subject"].endswith("Shop Bcc: evil@example.com Hello")
    assert set(message.keys()) == {
        "Subject", "From", "To", "Date", "Message-ID", "MIME-Version", "Content-Type"
    }  # fmt: skip
    assert office.recipients == [[AYA]]


# --- the ways a message leaves --------------------------------------------------------------


def test_on_the_console_a_message_is_printed(
    make_app: Callable[..., Flask], capsys: pytest.CaptureFixture[str]
) -> None:
    outbox = outbox_of(make_app())
    outbox.queue()
    assert outbox.send() == 1
    printed = capsys.readouterr().err
    assert AYA in printed
    assert "¥4,000" in printed
    assert outbox.states == ["sent"]


def test_a_plain_server_is_spoken_to_plainly(outbox: Outbox, office: PostOffice) -> None:
    outbox.queue()
    outbox.send()
    assert office.commands == ["EHLO", "MAIL", "RCPT", "DATA", "QUIT"]
    assert office.recipients == [[AYA]]


def test_a_server_that_wants_a_login_gets_it(
    make_app: Callable[..., Flask], office: PostOffice
) -> None:
    office.needs_login = True
    url = office.url.replace("//", "//me%40shop.example:p%3Aa%2Fss%25@")
    outbox = outbox_of(make_app(MAIL_URL=url))
    outbox.queue()
    assert outbox.send() == 1
    assert office.logins == [("me@shop.example", "p:a/ss%")]


@pytest.mark.parametrize("command", ["EHLO", "MAIL", "RCPT", "DATA", "END"])
def test_a_refusal_at_any_word_is_kept_with_its_reason(
    outbox: Outbox, office: PostOffice, command: str
) -> None:
    office.refuse = {command: "554 5.7.1 not from you", "HELO": "554 5.7.1 not from you"}
    outbox.queue()
    assert outbox.send() == 0
    assert "not from you" in outbox.rows[0]["error"]
    assert outbox.states == ["waiting"]


def test_a_wrong_password_is_said_and_not_shown(
    make_app: Callable[..., Flask], office: PostOffice, caplog: pytest.LogCaptureFixture
) -> None:
    office.refuse["AUTH"] = "535 5.7.8 hunter22 is wrong"
    outbox = outbox_of(make_app(MAIL_URL=office.url.replace("//", "//me:hunter22@")))
    outbox.queue()
    assert outbox.send() == 0
    assert "refused the login in MAIL_URL (535)" in outbox.rows[0]["error"]
    assert "hunter22" not in outbox.rows[0]["error"] + caplog.text
