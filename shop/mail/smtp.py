"""The ways mail leaves: printed on the console, or handed to a mail server.

Once a server has said 250 to the message it counts as sent, whatever happens after. Everything
else is a NotSent, whose text tells the shop's owner why.
"""

import base64
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
    except (smtplib.SMTPException, OSError, UnicodeError, NotSent) as error:
        reason = _in_words(error, _place(server))
        # What the server said may repeat the password: the original is not shown anywhere.
        raise type(reason)(_without_password(str(reason), server)) from None


def _hand_over(server: SplitResult, message: EmailMessage) -> None:
    encryption = ssl.create_default_context()
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
    host, user = _place(server), unquote(server.username or "")
    if not user:
        return
    if not isinstance(talk.sock, ssl.SSLSocket) and not is_loopback(server.geturl()):
        raise ServerAway(f"{host} offers no encryption, so the password was not sent")
    if not talk.has_extn("auth"):
        raise ServerAway(f"{host} takes no login, but MAIL_URL has one")
    password = unquote(server.password or "")
    if not (user + password).isascii():
        raise ServerAway("the login in MAIL_URL has letters that mail servers do not take")
    talk.login(user, password)


def _place(server: SplitResult) -> str:
    """Return host and port as they stand in MAIL_URL, without the login."""
    return server.netloc.rpartition("@")[2]


def _in_words(error: Exception, host: str) -> NotSent:
    """Return what the owner is told about it."""
    match error:
        case NotSent():
            return error
        case smtplib.SMTPRecipientsRefused():
            [(recipient, refusal)] = error.recipients.items()
            answer = _answer(*refusal)
            for_good = answer.startswith("5") and not NOT_THE_MAILBOX.match(answer)
            kind = RecipientRefused if for_good else NotSent
            return kind(f"{host} refused the recipient {recipient}: {answer}")
        case smtplib.SMTPSenderRefused():
            answer = _answer(error.smtp_code, error.smtp_error)
            return NotSent(f"{host} refused the sender {error.sender}: {answer}")
        case smtplib.SMTPDataError():
            answer = _answer(error.smtp_code, error.smtp_error)
            return NotSent(f"{host} did not take the message: {answer}")
        case smtplib.SMTPAuthenticationError():
            answer = _answer(error.smtp_code, error.smtp_error)
            return ServerAway(f"{host} refused the login in MAIL_URL: {answer}")
        case smtplib.SMTPResponseException():
            return ServerAway(f"{host} answered {_answer(error.smtp_code, error.smtp_error)}")
    return ServerAway(_why_there_is_no_talk(error, host))


def _why_there_is_no_talk(error: Exception, host: str) -> str:
    match error:
        case ssl.SSLCertVerificationError():
            return f"the certificate of {host} is not trusted: {error.verify_message}"
        case ssl.SSLError():
            return f"no encrypted connection to {host} came about: {error.reason}"
        case socket.gaierror():
            return f"{host} was not found: {error.strerror}"
    # smtplib calls everything that ends a connection by one name.
    if isinstance(error, TimeoutError) or isinstance(error.__context__, TimeoutError):
        return f"{host} did not answer in time"
    if isinstance(error, smtplib.SMTPServerDisconnected):
        return f"{host} broke the connection off"
    return f"{host} cannot be talked to: {getattr(error, 'strerror', None) or error}"


def _answer(code: int, said: bytes | str) -> str:
    text = said.decode(errors="replace") if isinstance(said, bytes) else said
    return f"{code} {text}" if code > 0 else "something that is no answer to mail"


def _without_password(text: str, server: SplitResult) -> str:
    """Return the text without the password and without any part of it as a login encodes it."""
    if not server.password:
        return text
    user, password = unquote(server.username or ""), unquote(server.password)
    encoded = [
        base64.b64encode(secret.encode()).decode()
        for secret in (f"\0{user}\0{password}", password)
    ]  # fmt: skip
    for secret in (password, server.password):
        text = text.replace(secret, "[hidden]")
    return re.sub(
        r"[A-Za-z0-9+/=]{6,}",
        lambda word: "[hidden]" if any(word[0] in secret for secret in encoded) else word[0],
        text,
    )


def _print(message: EmailMessage) -> None:
    body = message.get_body(("plain",))
    text = body.get_content() if body else ""
    sys.stderr.write(f"\n--- mail to {message['To']}: {message['Subject']}\n{text}---\n")
    sys.stderr.flush()
