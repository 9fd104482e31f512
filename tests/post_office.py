"""A mail server for the tests: takes mail as RFC 5321 says, or fails at the word a test names."""

import atexit
import base64
import email
import email.policy
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path

CERTIFICATE = Path(__file__).parent / "data" / "post_office.pem"
# Instead of an answer:
SILENCE = "(silence)"
GONE = "(the connection closed)"
# Longer than any conversation: a client that never leaves fails its own test and no other one.
PATIENCE = 20


class Gone(Exception):
    """The server ends the conversation without a word."""


@dataclass
class PostOffice:
    """How the server is set up, and what it has received.

    `refuse` has an answer for each command that fails; CONNECT is the greeting, END the end of a
    message.
    """

    received: list[EmailMessage] = field(default_factory=list)
    recipients: list[list[str]] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    logins: list[tuple[str, str]] = field(default_factory=list)
    overheard: list[bytes] = field(default_factory=list)  # lines that came unencrypted
    raw: list[bytes] = field(default_factory=list)  # the messages as they came
    needs_login: bool = False
    starttls: bool = False
    tls: bool = False  # from the first byte on
    offers: tuple[str, ...] = ("AUTH PLAIN", "8BITMIME")
    refuse: dict[str, str] = field(default_factory=dict)
    refuse_for: dict[str, str] = field(default_factory=dict)  # by recipient
    before_taking: Callable[[], None] = lambda: None
    port: int = 0

    @property
    def url(self) -> str:
        return f"{'smtps' if self.tls else 'smtp'}://127.0.0.1:{self.port}"


class Talk(socketserver.StreamRequestHandler):
    """One conversation."""

    office: PostOffice
    timeout = PATIENCE

    def handle(self) -> None:
        with suppress(OSError, Gone):
            if self.office.tls:
                self.encrypt()
            self.answer("CONNECT", "220 office ESMTP")
            self.to: list[str] = []
            while line := self.hear().decode(errors="replace").strip():
                verb = line.split()[0].upper()
                self.office.commands.append(verb)
                if verb in self.office.refuse:
                    self.answer(verb)
                else:
                    self.obey(verb, line)

    def finish(self) -> None:
        super().finish()
        self.connection.close()

    def obey(self, verb: str, line: str) -> None:
        if verb == "EHLO":
            encrypt = ["STARTTLS"] * (self.office.starttls and not self.encrypted)
            words = ["office", *encrypt, *self.office.offers]
            self.say(*(f"250-{word}" for word in words[:-1]), f"250 {words[-1]}")
        elif verb == "STARTTLS":
            self.say("220 go on")
            self.encrypt()
        elif verb == "AUTH":
            _, user, password = base64.b64decode(line.split()[2]).decode().split("\0")
            self.office.logins.append((user, password))
            self.say("235 welcome")
        elif verb == "MAIL" and self.office.needs_login and not self.office.logins:
            self.say("530 5.7.0 Authentication required")
        elif verb == "RCPT":
            recipient = line.partition("<")[2].partition(">")[0]
            self.to.append(recipient)
            self.say(self.office.refuse_for.get(recipient, "250 ok"))
        elif verb == "DATA":
            self.take()
        elif verb == "QUIT":
            self.say("221 bye")
            raise Gone
        else:
            self.say("250 ok")

    def take(self) -> None:
        self.say("354 go on")
        lines = []
        while (line := self.hear()) != b".\r\n":
            lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
        self.office.before_taking()
        self.office.raw.append(b"".join(lines))
        message = email.message_from_bytes(self.office.raw[-1], policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        self.office.received.append(message)
        self.office.recipients.append(self.to)
        self.answer("END", "250 taken")

    def answer(self, word: str, usual: str = "") -> None:
        """Say or do what `refuse` has for this word, or say the usual answer."""
        said = self.office.refuse.get(word, usual)
        if said == SILENCE:
            self.rfile.read()
        if said in (SILENCE, GONE):
            raise Gone
        self.say(said)

    def hear(self) -> bytes:
        line = self.rfile.readline()
        if not line:
            raise Gone
        if not self.encrypted:
            self.office.overheard.append(line)
        return line

    def say(self, *lines: str) -> None:
        self.wfile.write("".join(f"{line}\r\n" for line in lines).encode())

    @property
    def encrypted(self) -> bool:
        return isinstance(self.connection, ssl.SSLSocket)

    def encrypt(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTIFICATE)
        self.connection = context.wrap_socket(self.connection, server_side=True)
        self.rfile = self.connection.makefile("rb")
        self.wfile = self.connection.makefile("wb", buffering=0)


@contextmanager
def opened() -> Iterator[PostOffice]:
    """Yield a mail server on a free port of this machine."""
    office = PostOffice()
    handler = type("OurTalk", (Talk,), {"office": office})
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        office.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield office
        server.shutdown()
        thread.join()


def closed_port() -> int:
    """Return a port of this machine where nobody answers: it is taken, and not listened at."""
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    atexit.register(taken.close)
    return int(taken.getsockname()[1])
