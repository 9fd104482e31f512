"""The ways mail leaves: printed on the console, or handed to a mail server.

Once a server has said 250 to the message it counts as sent, whatever happens after. Everything
else is a NotSent, whose text tells the shop's owner why.
"""

import re
import smtplib
import socket
import ssl
import sys
from contextlib import suppress
from email.message import EmailMessage
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from shop.config import is_loopback

# How long to wait for each answer: one worker may serve the whole shop, and talks to nobody else
# meanwhile.
STEP_SECONDS = 3.0
# A server may check the message before it answers; to leave too early would send the message twice.
MESSAGE_SECONDS = 10.0
# The message has left by then.
FAREWELL_SECONDS = 1.0
# Refusals that are not about the mailbox: the shop's login, the server's rules, a full mailbox.
NOT_THE_MAILBOX = re.compile(r"53\d |552 |5\d\d (5\.7\.|5\.2\.2\b)")


class NotSent(Exception):
    """The message did not leave, or nobody knows whether it did."""


class RecipientRefused(NotSent):
    """Nobody can be reached at that address: trying again is of no use."""


class ServerAway(NotSent):
    """The server cannot be talked to, so that other messages fare no better."""


def send(url: str, message: EmailMessage) -> None:
    """Send the message to its one recipient as `url` (MAIL_URL) says; raise NotSent."""
    if url == "console:":
        _print(message)
        return
    server = urlsplit(url)
    try:
        _hand_over(server, message)
    except (smtplib.SMTPException, OSError, UnicodeError) as error:
        # Without the original: what a server says to a login may repeat the password.
        raise _in_words(error, server.netloc.rpartition("@")[2]) from None


def _hand_over(server: SplitResult, message: EmailMessage) -> None:
    encryption = ssl.create_default_context()
    if is_loopback(server.geturl()):
        # A mail server on this machine has a certificate of its own making, and nobody can stand
        # between it and the shop.
        encryption.check_hostname = False
        encryption.verify_mode = ssl.CERT_NONE
    name = socket.gethostname()  # the full name would have to be looked up
    options: dict[str, Any] = {
        "local_hostname": name if "." in name else "[127.0.0.1]",
        "timeout": STEP_SECONDS,
    }
    host = server.hostname or ""
    if server.scheme == "smtps":
        talk: smtplib.SMTP = smtplib.SMTP_SSL(
            host, server.port or 465, context=encryption, **options
        )
    else:
        talk = smtplib.SMTP(host, server.port or 587, **options)
    try:
        talk.ehlo_or_helo_if_needed()
        if server.scheme == "smtp" and talk.has_extn("starttls"):
            talk.starttls(context=encryption)
            talk.ehlo_or_helo_if_needed()
        _log_in(talk, server)
        sender, recipient = (message[name].addresses[0].addr_spec for name in ("From", "To"))
        if talk.sock:
            talk.sock.settimeout(MESSAGE_SECONDS)
        talk.send_message(message, sender, [recipient])
    finally:
        with suppress(smtplib.SMTPException, OSError):
            if talk.sock:
                talk.sock.settimeout(FAREWELL_SECONDS)
            talk.quit()
        talk.close()


def _log_in(talk: smtplib.SMTP, server: SplitResult) -> None:
    """Log in as MAIL_URL says; the password never goes over a network unencrypted."""
    user, password = unquote(server.username or ""), unquote(server.password or "")
    if not user:
        return
    if not isinstance(talk.sock, ssl.SSLSocket) and not is_loopback(server.geturl()):
        place = server.netloc.rpartition("@")[2]
        raise ServerAway(f"{place} offers no encryption, so the password was not sent")
    if not (user + password).isascii():
        raise ServerAway("the login in MAIL_URL has letters that mail servers do not take")
    talk.login(user, password)


def _in_words(error: Exception, place: str) -> NotSent:
    """Return what the owner is told about the failure; `place` is the server's host and port."""
    match error:
        case smtplib.SMTPRecipientsRefused():
            [(recipient, refusal)] = error.recipients.items()
            answer = _answer(*refusal)
            for_good = answer.startswith("5") and not NOT_THE_MAILBOX.match(answer)
            kind = RecipientRefused if for_good else NotSent
            return kind(f"{place} refused the recipient {recipient}: {answer}")
        case smtplib.SMTPSenderRefused(smtp_code=code, smtp_error=said):
            return NotSent(f"{place} refused the sender {error.sender}: {_answer(code, said)}")
        case smtplib.SMTPDataError(smtp_code=code, smtp_error=said):
            return NotSent(f"{place} did not take the message: {_answer(code, said)}")
        case smtplib.SMTPAuthenticationError(smtp_code=code):
            why = f"the mail server refused the login in MAIL_URL ({code})"
        case smtplib.SMTPResponseException(smtp_code=code, smtp_error=said):
            why = f"{place} answered {_answer(code, said)}"
        case ssl.SSLCertVerificationError():
            why = f"the certificate of {place} is not trusted: {error.verify_message}"
        case ssl.SSLError():
            why = f"no encrypted connection to {place} came about: {error.reason}"
        case socket.gaierror():
            why = f"{place} was not found: {error.strerror}"
        # smtplib calls everything that ends a connection by one name.
        case TimeoutError() | smtplib.SMTPServerDisconnected(__context__=TimeoutError()):
            why = f"{place} did not answer in time"
        case smtplib.SMTPServerDisconnected():
            why = f"{place} broke the connection off"
        # Its other errors are about logging in: no way offered, or none that both sides know.
        case smtplib.SMTPException():
            why = f"{place} takes no login that the shop can give, but MAIL_URL has one"
        case _:
            why = f"{place} cannot be talked to: {getattr(error, 'strerror', None) or error}"
    return ServerAway(why)


def _answer(code: int, said: bytes | str) -> str:
    text = said.decode(errors="replace") if isinstance(said, bytes) else said
    return f"{code} {text}" if code > 0 else "something that is no answer to mail"


def _print(message: EmailMessage) -> None:
    body = message.get_body(("plain",))
    text = body.get_content() if body else ""
    sys.stderr.write(f"\n--- mail to {message['To']}: {message['Subject']}\n{text}---\n")
    sys.stderr.flush()
