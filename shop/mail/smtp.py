"""The two ways mail leaves: printed on the console, or handed to a mail server.

A message counts as sent once the server has said 250 to it, whatever happens after. Every other
end is a NotSent, whose text tells the shop's owner why.
"""

import re
import smtplib
import socket
import ssl
import sys
from collections.abc import Callable
from contextlib import suppress
from email.message import EmailMessage
from functools import partial
from urllib.parse import SplitResult, unquote, urlsplit

from shop.config import is_loopback

# The wait for one answer. Where one worker serves the whole shop, visitors wait as long.
ANSWER_SECONDS = 3.0
# A server may scan the message before it answers. Giving up by then would send the message twice.
MESSAGE_SECONDS = 10.0
# Refusals that are not about the mailbox: the shop's login, the server's rules, a full mailbox.
NOT_THE_MAILBOX = re.compile(r"53\d |552 |5\d\d (5\.7\.|5\.2\.2\b)")


class NotSent(Exception):
    """The message did not leave, or nobody knows whether it did."""


class RecipientRefused(NotSent):
    """The recipient's mailbox does not exist: another try would end the same way."""


class ServerAway(NotSent):
    """The mail server takes nothing at the moment: other messages would fare no better."""


def send(url: str, message: EmailMessage) -> None:
    """Send the message to its one recipient as `url` (MAIL_URL) says; raise NotSent."""
    if url == "console:":
        body = message.get_body(("plain",))
        text = body.get_content() if body else ""
        heading = f"--- mail to {message['To']}: {message['Subject']}"
        print(f"\n{heading}\n{text}---", file=sys.stderr, flush=True)
        return
    server = urlsplit(url)
    try:
        _hand_over(server, message)
    except (smtplib.SMTPException, OSError, UnicodeError) as error:
        # The original is left out: the server's answer to a login may repeat the password.
        raise _in_words(error, _place(server)) from None


def _hand_over(server: SplitResult, message: EmailMessage) -> None:
    encryption = ssl.create_default_context()
    if is_loopback(server.geturl()):
        # A mail server on this machine has a certificate of its own making, and nobody can stand
        # between it and the shop.
        encryption.check_hostname = False
        encryption.verify_mode = ssl.CERT_NONE
    connect: Callable[..., smtplib.SMTP] = smtplib.SMTP
    if server.scheme == "smtps":
        connect = partial(smtplib.SMTP_SSL, context=encryption)
    port = server.port or (465 if server.scheme == "smtps" else 587)
    name = socket.gethostname()  # the full name would cost a look-up
    own_name = name if "." in name else "[127.0.0.1]"
    talk = connect(server.hostname, port, local_hostname=own_name, timeout=ANSWER_SECONDS)
    try:
        talk.ehlo_or_helo_if_needed()
        if server.scheme == "smtp" and talk.has_extn("starttls"):
            talk.starttls(context=encryption)
        if server.username:
            _log_in(talk, server)
        sender, recipient = (message[name].addresses[0].addr_spec for name in ("From", "To"))
        if talk.sock:
            talk.sock.settimeout(MESSAGE_SECONDS)
        talk.send_message(message, sender, [recipient])
    finally:
        with suppress(smtplib.SMTPException, OSError):
            if talk.sock:
                talk.sock.settimeout(ANSWER_SECONDS)
            talk.quit()
        talk.close()


def _log_in(talk: smtplib.SMTP, server: SplitResult) -> None:
    """Log in with user and password of MAIL_URL, over a network only when encrypted."""
    if not isinstance(talk.sock, ssl.SSLSocket) and not is_loopback(server.geturl()):
        raise ServerAway(f"{_place(server)} offers no encryption, so the password was not sent")
    user, password = unquote(server.username or ""), unquote(server.password or "")
    if not (user + password).isascii():
        raise ServerAway("the login in MAIL_URL has letters that mail servers do not take")
    talk.login(user, password)


def _place(server: SplitResult) -> str:
    """Return host and port as they stand in MAIL_URL, without the login."""
    return server.netloc.rpartition("@")[2]


def _in_words(error: Exception, place: str) -> NotSent:
    """Return what the owner is told about the failure at `place`."""
    match error:
        case smtplib.SMTPRecipientsRefused():
            [(recipient, refusal)] = error.recipients.items()
            answer = _answer(*refusal)
            for_good = answer.startswith("5") and not NOT_THE_MAILBOX.match(answer)
            kind = RecipientRefused if for_good else NotSent
            return kind(f"{place} refused the recipient {recipient}: {answer}")
        case smtplib.SMTPSenderRefused(smtp_code=code, smtp_error=said, sender=sender):
            return NotSent(f"{place} refused the sender {sender}: {_answer(code, said)}")
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
        # smtplib reports a time-out as a broken connection.
        case TimeoutError() | smtplib.SMTPServerDisconnected(__context__=TimeoutError()):
            why = f"{place} did not answer in time"
        case smtplib.SMTPServerDisconnected():
            why = f"{place} broke the connection off"
        # What is left of smtplib's errors is about ways to log in.
        case smtplib.SMTPException():
            why = f"{place} takes no login that the shop can give, but MAIL_URL has one"
        case _:
            why = f"{place} cannot be talked to: {getattr(error, 'strerror', None) or error}"
    return ServerAway(why)


def _answer(code: int, said: bytes | str) -> str:
    text = said.decode(errors="replace") if isinstance(said, bytes) else said
    return f"{code} {text}" if code > 0 else "something that is no answer to mail"
