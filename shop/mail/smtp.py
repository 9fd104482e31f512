"""The ways mail leaves: printed on the console, or handed to a mail server.

Once a server has said 250 to the message it counts as sent, whatever happens after. Everything
else is a NotSent, whose text tells the shop's owner why.
"""

import base64
import io
import re
import smtplib
import socket
import ssl
import sys
from contextlib import suppress
from email.message import EmailMessage
from time import monotonic
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from shop.config import is_loopback

# One worker may serve the whole shop, and it talks to nobody else meanwhile. Finding the address
# of a server's name has the system's own limit.
STEP_SECONDS = 3.0
TOTAL_SECONDS = 10.0
FAREWELL_SECONDS = 1.0
CHUNK = 16384
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
    talk = _Talk(server)
    try:
        talk.ehlo_or_helo_if_needed()
        if not talk.encrypted and talk.has_extn("starttls"):
            talk.starttls(context=talk.encryption)
            talk.ehlo_or_helo_if_needed()
        talk.log_in()
        sender, recipient = (message[name].addresses[0].addr_spec for name in ("From", "To"))
        talk.send_message(message, sender, [recipient])
    finally:
        talk.part()


class _Talk(smtplib.SMTP):
    """A conversation in which every step, and the whole, comes to an end in time."""

    def __init__(self, server: SplitResult) -> None:
        self._server = server
        self._end = self._step_end = monotonic() + TOTAL_SECONDS
        self.encryption = ssl.create_default_context()
        name = socket.gethostname()  # the full name would have to be looked up
        super().__init__(
            server.hostname or "",
            server.port or (465 if server.scheme == "smtps" else 587),
            local_hostname=name if "." in name else "[127.0.0.1]",
        )

    @property
    def encrypted(self) -> bool:
        return isinstance(self.sock, ssl.SSLSocket)

    def log_in(self) -> None:
        """Log in as MAIL_URL says; the password never goes over a network unencrypted."""
        host, user = _place(self._server), unquote(self._server.username or "")
        if not user:
            return
        if not self.encrypted and not is_loopback(self._server.geturl()):
            raise ServerAway(f"{host} offers no encryption, so the password was not sent")
        if not self.has_extn("auth"):
            raise ServerAway(f"{host} takes no login, but MAIL_URL has one")
        password = unquote(self._server.password or "")
        if not (user + password).isascii():
            raise ServerAway("the login in MAIL_URL has letters that mail servers do not take")
        self.login(user, password)

    def part(self) -> None:
        """Say goodbye and close. Nobody waits for a server that does not answer to that."""
        self._end = min(self._end, monotonic() + FAREWELL_SECONDS)
        with suppress(smtplib.SMTPException, OSError):
            self.quit()
        self.close()

    def left(self) -> float:
        """Return how many seconds this step may still take; raise TimeoutError."""
        left = min(self._step_end, self._end) - monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def send(self, s: Any) -> None:
        """Send a command, or the message (bytes), whose answer may take all the time there is.

        To give up on a message that the server is still looking at would send it twice.
        """
        self._begin_step(TOTAL_SECONDS if isinstance(s, bytes) else STEP_SECONDS)
        for start in range(0, len(s), CHUNK):
            if self.sock is not None:
                self.sock.settimeout(self.left())
            super().send(s[start : start + CHUNK])

    def getreply(self) -> tuple[int, bytes]:
        """Return the server's answer; what follows (a command, a handshake) is a new step."""
        if self.sock is not None and self.file is None:
            self.file = io.BufferedReader(_Answers(self, self.sock))
        answer = super().getreply()
        self._begin_step(STEP_SECONDS)
        if self.sock is not None:
            self.sock.settimeout(max(0.01, min(STEP_SECONDS, self._end - monotonic())))
        return answer

    def _begin_step(self, seconds: float) -> None:
        self._step_end = monotonic() + seconds

    def _get_socket(self, host: str, port: int, _timeout: Any) -> socket.socket:
        plain = self._connect_to_any(host, port)
        self._begin_step(STEP_SECONDS)
        if self._server.scheme == "smtp":
            return plain
        plain.settimeout(self.left())
        encrypted = self.encryption.wrap_socket(plain, server_hostname=host)
        self._begin_step(STEP_SECONDS)
        return encrypted

    def _connect_to_any(self, host: str, port: int) -> socket.socket:
        failure = OSError()
        for *_, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            self._begin_step(STEP_SECONDS)
            try:
                return socket.create_connection((str(address[0]), port), self.left())
            except OSError as error:
                failure = error
        raise failure


class _Answers(io.RawIOBase):
    """What a server says, for as long as the step lasts: one that drips is cut off as well."""

    def __init__(self, talk: _Talk, sock: socket.socket) -> None:
        self._talk = talk
        self._sock = sock

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._sock.settimeout(self._talk.left())
        return self._sock.recv_into(buffer)


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
