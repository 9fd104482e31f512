"""The mail page: why a message did not leave, the test mail, and how each message looks."""

from collections.abc import Callable

import pytest
from flask import Flask

from shop.mail import outbox, smtp
from shop.owner import owners
from shop.owner.mail import ADVICE
from shop.owner.story import MAILS
from tests.actors import Browser, Buyer
from tests.owner.conftest import EMAIL, PASSWORD, sign_in
from tests.post_office import PostOffice


@pytest.fixture
def owner(mailing: Flask) -> Browser:
    with mailing.app_context():
        owners.add(EMAIL, PASSWORD)
    browser = Browser(mailing)
    sign_in(browser)
    return browser


def test_a_mail_that_does_not_leave_says_why_and_what_to_do(
    mailing: Flask, owner: Browser, office: PostOffice
) -> None:
    office.refuse["RCPT"] = "550 5.1.1 No such mailbox"
    Buyer(mailing).buy()
    owner.post("/owner/logout")  # nothing but another POST, after which a mail is tried
    page = owner.get("/owner/mail").words
    assert "refused the recipient aya@example.com: 550 5.1.1 No such mailbox" in page
    assert "The address does not exist or its mailbox is full" in page
    assert "not left: see why" in owner.get("/owner/").words
    office.refuse.clear()
    for _ in range(2):
        for mail in owner_mails(mailing):
            assert owner.submit(f"/owner/mail/{mail}/resend", {}).status == 303
    assert {mail["state"] for mail in listed(mailing)} == {"sent"}
    assert "Mail sent again" in owner.get("/owner/account").words
    assert owner.submit("/owner/mail/999/resend", {}).status == 404


def listed(app: Flask) -> list[dict[str, str]]:
    with app.app_context():
        return outbox.list_mails()


def owner_mails(app: Flask) -> list[int]:
    with app.app_context():
        return [mail.id for mail in outbox.newest()]


@pytest.mark.parametrize(
    ("command", "answer", "said"),
    [
        ("", "", "has taken the mail to owner@shop.example"),
        ("MAIL", "553 not yours", "does not send for SHOP_MAIL_FROM"),
        ("CONNECT", "421 later", "The mail did not leave"),
    ],
)
def test_a_test_mail_is_sent_at_once_and_the_answer_is_told(
    mailing: Flask, owner: Browser, office: PostOffice, command: str, answer: str, said: str
) -> None:
    if command:
        office.refuse[command] = answer
    assert owner.submit("/owner/mail/test", {}).status == 303
    page = owner.get("/owner/mail")
    assert said in page.words
    assert len(office.received) == (not command)
    # Sent again it is another try of the same message.
    office.refuse.clear()
    assert owner.submit("/owner/mail/test", {}).status == 303
    assert office.received[-1]["Subject"] == "A test mail · Corner Shop"
    assert listed(mailing)[-1] == {
        "order": None, "kind": "staff_test", "to": "owner@shop.example", "state": "sent",
        "attempts": 1, "error": "",
    }  # fmt: skip


def test_every_failure_that_an_owner_can_mend_has_an_advice() -> None:
    # A server that breaks off or answers oddly says itself what is wrong.
    without = {"broke the connection off", "answered", "did not take the message"}
    for _kind, words in smtp.WORDS:
        assert any(said in words for said in {*ADVICE, *without}), words
    assert "refused the recipient" in ADVICE


def test_every_mail_is_shown_in_both_languages(
    mailing: Flask, make_owner: Callable[..., None], owner: Browser
) -> None:
    titles = set()
    for kind in MAILS:
        for language in ("en", "ja"):
            page = owner.get(f"/owner/mail/preview/{kind}?language={language}")
            assert page.status == 200, kind
            assert f'<html lang="{language}">' in page.text
            assert "sandbox" in page.headers["Content-Security-Policy"]
            titles.add(page.text.partition("<title>")[2].partition("</title>")[0])
    assert len(titles) == 2 * len(MAILS)
    assert owner.get("/owner/mail/preview/base").status == 404
    assert owner.get("/owner/mail/preview/staff_test?language=xx").status == 404
    assert Browser(mailing).get("/owner/mail/preview/staff_test").status == 303
