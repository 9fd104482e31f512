"""The two ways mail leaves: printed on the console, or handed to a mail server.

A message counts as sent once the server has said 250 to it, whatever happens after. Every other
end is a NotSent, whose text tells the shop's owner why.
"""

import re
import smtplib
import socket
import ssl
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from email.message import EmailMessage
from functools import partial
from time import monotonic
from urllib.parse import SplitResult, unquote, urlsplit

from shop.config import is_loopback
from shop.parsers import ascii_domain

# The wait for one answer. Where one worker serves the whole shop, visitors wait as long.
ANSWER_SECONDS = 3.0
# A server may scan the message before it answers. Giving up by then would send the message twice.
MESSAGE_SECONDS = 10.0
# So long even the last answer of a trial is waited for.
LEAST_SECONDS = 0.2
# Refusals that are not about the mailbox: the shop's login, the server's rules, a full mailbox.
NOT_THE_MAILBOX = re.compile(r"53\d |552 |5\d\d (5\.7\.|5\.2\.2\b)")
# What the owner is told: the words of the first kind that the failure is of.
WORDS: tuple[tuple[type[Exception], str], ...] = (
    (smtplib.SMTPSenderRefused, "{place} refused the sender {error.sender}: {answer}"),
    (smtplib.SMTPDataError, "{place} did not take the message: {answer}"),
    (smtplib.SMTPAuthenticationError,
     "the mail server refused the login in MAIL_URL ({error.smtp_code})"),
    (smtplib.SMTPResponseException, "{place} answered {answer}"),
    (smtplib.SMTPServerDisconnected, "{place} broke the connection off"),
    # What is left of smtplib's errors is about ways to log in.
    (smtplib.SMTPException, "{place} takes no login that the shop can give, but MAIL_URL has one"),
    (ssl.SSLCertVerificationError,
     "the certificate of {place} is not trusted: {error.verify_message}"),
    (ssl.SSLError, "no encrypted connection to {place} came about: {error.reason}"),
    (socket.gaierror, "{place} was not found: {reason}"),
    (TimeoutError, "{place} did not answer in time"),
    (Exception, "{place} cannot be talked to: {reason}"),
)  # fmt: skip


class NotSent(Exception):
    """The message did not leave, or nobody knows whether it did."""

    # Whether it was waited for an answer in vain: the way to the server may be blocked.
    is_silent = False


class RecipientRefused(NotSent):
    """The recipient's mailbox does not exist: another try would end the same way."""


class ServerAway(NotSent):
    """The mail server takes nothing at the moment: other messages would fare no better."""


def send(url: str, message: EmailMessage) -> None:
    """Send the message to its one recipient as `url` (MAIL_URL) says; raise NotSent."""
    if url == "console:":
        body = message.get_body(("plain",))
        heading = f"--- mail to {message['To']}: {message['Subject']}"
        text = body.get_content() if body else ""
        print(f"\n{heading}\n{text}---", file=sys.stderr, flush=True)
        return
    server = urlsplit(url)
    place = server.netloc.rpartition("@")[2]  # without the login
    sender, recipient = (message[name].addresses[0].addr_spec for name in ("From", "To"))
    with _told(place), _logged_in(server, place, lambda: ANSWER_SECONDS) as talk:
        _wait_for(talk, MESSAGE_SECONDS)
        talk.send_message(message, sender, [recipient])


def try_out(url: str, sender: str, recipient: str, seconds: float) -> None:
    """Talk with the mail server as far as a message goes, and send none; raise NotSent.

    It takes about so many seconds at most.
    """
    server = urlsplit(url)
    place, until = server.netloc.rpartition("@")[2], monotonic() + seconds

    def wait() -> float:
        return min(ANSWER_SECONDS, max(until - monotonic(), LEAST_SECONDS))

    with _told(place), _logged_in(server, place, wait) as talk:
        _wait_for(talk, wait())
        code, said = talk.mail(sender)
        if code != 250:
            raise smtplib.SMTPSenderRefused(code, said, sender)
        _wait_for(talk, wait())
        code, said = talk.rcpt(recipient)
        if code not in (250, 251):
            raise smtplib.SMTPRecipientsRefused({recipient: (code, said)})
        _wait_for(talk, wait())
        talk.rset()


def port_of(server: SplitResult) -> int:
    """Return the port of a mail server's address."""
    return server.port or (465 if server.scheme == "smtps" else 587)


@contextmanager
def _told(place: str) -> Iterator[None]:
    """Raise in the owner's words what goes wrong at `place`."""
    try:
        yield
    except (smtplib.SMTPException, OSError, UnicodeError) as error:
        # The original is left out: the server's answer to a login may repeat the password.
        raise _in_words(error, place) from None


@contextmanager
def _logged_in(
    server: SplitResult, place: str, wait: Callable[[], float]
) -> Iterator[smtplib.SMTP]:
    """Yield a conversation with the server, encrypted and logged in as MAIL_URL says.

    `wait` returns for how many seconds the next answer is waited for.
    """
    encryption = ssl.create_default_context()
    near = is_loopback(server.geturl())
    if near:
        # A mail server on this machine has a certificate of its own making, and nobody can stand
        # between it and the shop.
        encryption.check_hostname = False
        encryption.verify_mode = ssl.CERT_NONE
    connect: Callable[..., smtplib.SMTP] = smtplib.SMTP
    if server.scheme == "smtps":
        connect = partial(smtplib.SMTP_SSL, context=encryption)
    name = socket.gethostname()  # the full name would cost a look-up
    own_name = name if "." in name else "[127.0.0.1]"
    host = ascii_domain(server.hostname or "")
    talk = connect(host, port_of(server), local_hostname=own_name, timeout=wait())
    try:
        _wait_for(talk, wait())
        talk.ehlo_or_helo_if_needed()
        if server.scheme == "smtp" and talk.has_extn("starttls"):
            _wait_for(talk, wait())
            talk.starttls(context=encryption)
        if server.username:
            if not near and not isinstance(talk.sock, ssl.SSLSocket):
                raise ServerAway(f"{place} offers no encryption, so the password was not sent")
            user, password = unquote(server.username), unquote(server.password or "")
            if not (user + password).isascii():
                raise ServerAway("the login in MAIL_URL has letters that mail servers do not take")
            _wait_for(talk, wait())
            talk.login(user, password)
        yield talk
    finally:
        with suppress(smtplib.SMTPException, OSError):
            _wait_for(talk, wait())
            talk.quit()
        talk.close()


def _wait_for(talk: smtplib.SMTP, seconds: float) -> None:
    if talk.sock:
        talk.sock.settimeout(seconds)


def _in_words(error: Exception, place: str) -> NotSent:
    """Return what the owner is told about the failure at `place`."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        [(recipient, refusal)] = error.recipients.items()
        answer = _answer(*refusal)
        for_good = answer.startswith("5") and not NOT_THE_MAILBOX.match(answer)
        kind = RecipientRefused if for_good else NotSent
        return kind(f"{place} refused the recipient {recipient}: {answer}")
    answer = ""
    match error:
        case smtplib.SMTPResponseException(smtp_code=code, smtp_error=said):
            answer = _answer(code, said)
        # smtplib reports a time-out as a broken connection.
        case smtplib.SMTPServerDisconnected(__context__=TimeoutError() as cause):
            error = cause
    reason = getattr(error, "strerror", None) or error
    words = next(words for kind, words in WORDS if isinstance(error, kind))
    about_the_message = isinstance(error, smtplib.SMTPSenderRefused | smtplib.SMTPDataError)
    kind = NotSent if about_the_message else ServerAway
    told = kind(words.format(place=place, answer=answer, error=error, reason=reason))
    told.is_silent = isinstance(error, TimeoutError)
    return told


def _answer(code: int, said: bytes | str) -> str:
    text = said.decode(errors="replace") if isinstance(said, bytes) else said
    return f"{code} {text}" if code > 0 else "something that is no answer to mail"
