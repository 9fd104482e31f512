"""Handing mail to a server: in time, encrypted where it matters, and failures told in words."""

import base64
import socket
import threading
import traceback
from email.message import EmailMessage
from typing import Any

import pytest

from shop.mail import smtp
from shop.mail.smtp import NotSent, RecipientRefused, ServerAway
from tests.post_office import CERTIFICATE, GONE, SILENCE, PostOffice, closed_port

PASSWORD = "open Sesame/42"
LOGIN = "//me:open%20Sesame%2F42@"
BEFORE_MAIL = ["CONNECT", "EHLO", "STARTTLS", "AUTH"]
WORDS = [*BEFORE_MAIL, "MAIL", "RCPT", "DATA", "END"]


@pytest.fixture
def message() -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"] = "shop@shop.example", "aya@example.com"
    message["Subject"] = "Thank you"
    message.set_content("Hello\n.\n.. and goodbye\n")
    return message


@pytest.fixture
def trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the system trust the office's certificate."""
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the waits, for tests in which the office does not answer."""
    monkeypatch.setattr(smtp, "ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(smtp, "MESSAGE_SECONDS", 0.2)


def failing(office: PostOffice, word: str, reaction: str) -> str:
    """Let the office fail at a word, and return a MAIL_URL with which the shop says that word."""
    office.refuse = {word: reaction} | ({"HELO": reaction} if word == "EHLO" else {})
    office.starttls = word == "STARTTLS"
    return office.url.replace("//", LOGIN)


def refusal(url: str, message: EmailMessage) -> NotSent:
    with pytest.raises(NotSent) as caught:
        smtp.send(url, message)
    return caught.value


# --- a server that fails --------------------------------------------------------------------


@pytest.mark.parametrize("word", [word for word in WORDS if word != "AUTH"])
def test_a_refusal_at_any_word_is_told_as_the_server_said_it(
    office: PostOffice, message: EmailMessage, word: str
) -> None:
    error = refusal(failing(office, word, "554 5.7.1 not from you"), message)
    assert "554 5.7.1 not from you" in str(error)
    assert f"127.0.0.1:{office.port}" in str(error)
    assert type(error) is (ServerAway if word in BEFORE_MAIL else NotSent)


@pytest.mark.parametrize("word", WORDS)
def test_a_server_that_keeps_us_waiting_at_any_word_is_left(
    hurried: None, office: PostOffice, message: EmailMessage, word: str
) -> None:
    error = refusal(failing(office, word, SILENCE), message)
    assert str(error) == f"127.0.0.1:{office.port} did not answer in time"
    assert type(error) is ServerAway


@pytest.mark.parametrize("word", WORDS)
def test_a_server_that_closes_the_connection_at_any_word_is_left(
    office: PostOffice, message: EmailMessage, word: str
) -> None:
    error = refusal(failing(office, word, GONE), message)
    assert str(error) == f"127.0.0.1:{office.port} broke the connection off"
    assert type(error) is ServerAway


@pytest.mark.parametrize("word", [word for word in WORDS if word != "AUTH"])
def test_a_server_that_talks_nonsense_at_any_word_is_left(
    office: PostOffice, message: EmailMessage, word: str
) -> None:
    error = refusal(failing(office, word, "What?"), message)
    assert "no answer to mail" in str(error)
    assert type(error) is (ServerAway if word in BEFORE_MAIL else NotSent)


def test_a_visitor_waits_three_seconds_for_an_answer_at_most(
    message: EmailMessage, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []

    def connect(_address: Any, timeout: float, *_: Any) -> None:
        waits.append(timeout)
        raise TimeoutError

    monkeypatch.setattr(smtp.smtplib.socket, "create_connection", connect)
    assert type(refusal("smtp://mail.example", message)) is ServerAway
    assert waits == [3]


def test_a_server_that_is_silent_at_the_handshake_is_left(
    hurried: None, office: PostOffice, message: EmailMessage
) -> None:
    office.refuse["CONNECT"] = SILENCE
    error = refusal(office.url.replace("smtp:", "smtps:"), message)
    assert str(error) == f"127.0.0.1:{office.port} did not answer in time"
    assert type(error) is ServerAway


def test_a_server_without_encryption_that_is_asked_for_it_is_told_of(
    office: PostOffice, message: EmailMessage
) -> None:
    error = refusal(office.url.replace("smtp:", "smtps:"), message)
    assert f"no encrypted connection to 127.0.0.1:{office.port} came about" in str(error)
    assert type(error) is ServerAway


def test_a_server_may_look_longer_at_the_message_than_at_a_command(
    office: PostOffice, message: EmailMessage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smtp, "ANSWER_SECONDS", 1)
    office.before_taking = lambda: threading.Event().wait(1.3) and None
    smtp.send(office.url, message)
    assert len(office.received) == 1


@pytest.mark.parametrize("reaction", [SILENCE, GONE, "What?", "500 no such word", "250"])
def test_a_message_that_was_taken_is_sent_whatever_is_said_to_quit(
    office: PostOffice, message: EmailMessage, reaction: str
) -> None:
    office.refuse["QUIT"] = reaction
    smtp.send(office.url, message)
    assert len(office.received) == 1


def test_a_server_that_is_not_there_is_told_of(message: EmailMessage) -> None:
    error = refusal(f"smtp://127.0.0.1:{closed_port()}", message)
    assert type(error) is ServerAway
    assert "cannot be talked to: Connection refused" in str(error)


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (socket.gaierror(-2, "Name or service not known"), "was not found: Name or service"),
        (UnicodeError("label empty or too long"), "label empty or too long"),
        (TimeoutError("timed out"), "did not answer in time"),
    ],
)
def test_a_name_that_cannot_be_looked_up_is_told_of(
    message: EmailMessage, monkeypatch: pytest.MonkeyPatch, failure: Exception, words: str
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise failure

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    error = refusal("smtp://mail.example", message)
    assert type(error) is ServerAway
    assert words in str(error)


def test_the_next_address_of_a_server_is_tried(
    office: PostOffice, message: EmailMessage, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_up = socket.getaddrinfo

    def two_for_one_name(host: str, port: int, *more: Any, **named: Any) -> list[Any]:
        hosts = ["127.0.0.9", "127.0.0.1"] if host == "mail.example" else [host]
        return [way for host in hosts for way in look_up(host, port, *more, **named)]

    monkeypatch.setattr(socket, "getaddrinfo", two_for_one_name)
    smtp.send(f"smtp://mail.example:{office.port}", message)
    assert len(office.received) == 1


def test_a_server_under_a_name_of_other_letters_is_asked_for_by_its_own(
    office: PostOffice, message: EmailMessage, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_up, asked = socket.getaddrinfo, []

    def note(host: str, port: int, *more: Any, **named: Any) -> list[Any]:
        asked.append(host)
        return look_up("127.0.0.1", port, *more, **named)

    monkeypatch.setattr(socket, "getaddrinfo", note)
    smtp.send(f"smtp://mail.faß.example:{office.port}", message)
    assert asked == ["mail.xn--fa-hia.example"]


# --- a recipient that is refused ------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "for_good"),
    [
        ("550 5.1.1 no such user", True),
        ("550 no such user", True),
        ("553 5.1.3 bad address", True),
        ("550 5.4.1 recipient address rejected", True),
        ("550 5.2.1 this mailbox is disabled", True),
        ("450 4.2.1 mailbox busy", False),
        ("451 try later", False),
        ("421 4.3.2 shutting down", False),
        ("552 5.2.2 mailbox full", False),
        ("550 5.2.2 mailbox full", False),
        ("554 5.7.1 relay access denied", False),
        ("550 5.7.1 you are on a list", False),
        ("530 5.7.0 authentication required", False),
        ("nonsense", False),
    ],
)
def test_only_a_mailbox_that_does_not_exist_is_refused_for_good(
    office: PostOffice, message: EmailMessage, answer: str, for_good: bool
) -> None:
    office.refuse["RCPT"] = answer
    assert (type(refusal(office.url, message)) is RecipientRefused) == for_good
    assert office.received == []


# --- encryption and the login ---------------------------------------------------------------


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the office be found as mail.example and other.example, names of another machine."""
    look_up = socket.getaddrinfo

    def look_up_all(host: str, *more: Any, **named: Any) -> list[Any]:
        return look_up("127.0.0.1" if host.endswith(".example") else host, *more, **named)

    monkeypatch.setattr(socket, "getaddrinfo", look_up_all)


def url_of(office: PostOffice, host: str, login: str = LOGIN) -> str:
    return office.url.replace("127.0.0.1", host).replace("//", login)


@pytest.mark.parametrize("host", ["localhost", "mail.example"])
def test_a_message_goes_encrypted_where_the_server_offers_it(
    trusted: None, elsewhere: None, office: PostOffice, message: EmailMessage, host: str
) -> None:
    office.starttls = True
    smtp.send(url_of(office, host), message)
    assert office.commands == ["EHLO", "STARTTLS", "EHLO", "AUTH", "MAIL", "RCPT", "DATA", "QUIT"]
    assert [line.split()[0].upper() for line in office.overheard] == [b"EHLO", b"STARTTLS"]
    assert office.logins == [("me", PASSWORD)]
    assert len(office.received) == 1


def test_a_message_goes_encrypted_from_the_first_byte(
    trusted: None, elsewhere: None, office: PostOffice, message: EmailMessage
) -> None:
    office.tls = True
    smtp.send(url_of(office, "mail.example"), message)
    assert office.overheard == []
    assert office.logins == [("me", PASSWORD)]
    assert len(office.received) == 1


@pytest.mark.parametrize("way", ["starttls", "tls"])
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_server_on_this_machine_may_show_a_certificate_of_its_own(
    office: PostOffice, message: EmailMessage, way: str, host: str
) -> None:
    setattr(office, way, True)
    smtp.send(url_of(office, host), message)
    assert office.logins == [("me", PASSWORD)]
    assert all(line.split()[0].upper() in (b"EHLO", b"STARTTLS") for line in office.overheard)
    assert len(office.received) == 1


@pytest.mark.parametrize("way", ["starttls", "tls"])
def test_a_certificate_that_nobody_vouches_for_gets_nothing(
    elsewhere: None, office: PostOffice, message: EmailMessage, way: str
) -> None:
    setattr(office, way, True)
    error = refusal(url_of(office, "mail.example"), message)
    assert type(error) is ServerAway
    assert f"certificate of mail.example:{office.port} is not trusted: self" in str(error)
    assert (office.logins, office.received) == ([], [])


@pytest.mark.parametrize("way", ["starttls", "tls"])
def test_a_certificate_for_another_name_gets_nothing(
    trusted: None, elsewhere: None, office: PostOffice, message: EmailMessage, way: str
) -> None:
    setattr(office, way, True)
    error = refusal(url_of(office, "other.example"), message)
    assert "is not trusted: Hostname mismatch" in str(error)
    assert (office.logins, office.received) == ([], [])


def test_a_password_never_crosses_a_network_unencrypted(
    elsewhere: None, office: PostOffice, message: EmailMessage
) -> None:
    error = refusal(url_of(office, "mail.example"), message)
    assert type(error) is ServerAway
    assert str(error).endswith("offers no encryption, so the password was not sent")
    assert office.commands == ["EHLO", "QUIT"]


def test_encryption_that_is_offered_and_then_refused_is_not_done_without(
    elsewhere: None, office: PostOffice, message: EmailMessage
) -> None:
    office.starttls = True
    office.refuse["STARTTLS"] = "454 4.7.0 not now"
    refusal(url_of(office, "mail.example", "//"), message)
    assert office.commands == ["EHLO", "STARTTLS", "QUIT"]


def test_without_a_login_a_server_without_encryption_gets_the_message(
    elsewhere: None, office: PostOffice, message: EmailMessage
) -> None:
    smtp.send(url_of(office, "mail.example", "//"), message)
    assert len(office.received) == 1


def test_on_this_machine_a_login_needs_no_encryption(
    office: PostOffice, message: EmailMessage
) -> None:
    office.needs_login = True
    for host in ("127.0.0.1", "localhost"):
        smtp.send(url_of(office, host), message)
    assert office.logins == [("me", PASSWORD)] * 2


def test_a_login_that_the_server_cannot_take_is_told_of(
    office: PostOffice, message: EmailMessage
) -> None:
    error = refusal(office.url.replace("//", "//me:p%C3%A4ss@"), message)
    assert "letters that mail servers do not take" in str(error)
    office.offers = ("8BITMIME",)
    assert "takes no login" in str(refusal(office.url.replace("//", LOGIN), message))
    office.offers = ("AUTH XOAUTH2",)
    assert "takes no login" in str(refusal(office.url.replace("//", LOGIN), message))
    assert office.received == []


PLAIN = base64.b64encode(f"\0me\0{PASSWORD}".encode()).decode()
ALONE = base64.b64encode(PASSWORD.encode()).decode()


def test_a_refused_login_is_told_by_its_number_alone(
    office: PostOffice, message: EmailMessage
) -> None:
    error = refusal(failing(office, "AUTH", f"535 5.7.8 what is {PASSWORD}? {PLAIN}"), message)
    assert type(error) is ServerAway
    assert str(error) == "the mail server refused the login in MAIL_URL (535)"
    told = "".join(traceback.format_exception(error))
    assert "what is" not in told
    assert "Sesame" not in told


def test_a_server_that_repeats_the_password_in_its_questions_tells_nobody(
    office: PostOffice, message: EmailMessage
) -> None:
    office.refuse = dict.fromkeys(("AUTH", PLAIN.upper()), f"334 {ALONE}")
    error = refusal(office.url.replace("//", LOGIN), message)
    assert type(error) is ServerAway
    assert ALONE not in "".join(traceback.format_exception(error))


# --- what arrives ---------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["plain", "tls"])
def test_a_long_message_arrives_whole(
    trusted: None, office: PostOffice, message: EmailMessage, way: str
) -> None:
    office.tls = way == "tls"
    text = "".join(f"{'.' * (number % 3)}line {number}\n" for number in range(9000))
    message.set_content(text)
    smtp.send(office.url, message)
    assert office.received[0].get_content().replace("\r\n", "\n") == text


def test_a_server_that_knows_only_helo_is_spoken_to(
    office: PostOffice, message: EmailMessage
) -> None:
    office.refuse["EHLO"] = "502 what?"
    smtp.send(office.url, message)
    assert office.commands == ["EHLO", "HELO", "MAIL", "RCPT", "DATA", "QUIT"]
