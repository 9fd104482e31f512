"""No secret and nothing that somebody typed is in what the shop says of itself, however talkative.

What each other test logs and prints is watched too: see `pytest_runtest_makereport`.
"""

import io
import json
import logging
import os
import socketserver
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import make_url, text

from shop import create_app
from shop.config import ROOT, ConfigError
from shop.db import db, insert_once, now, write
from shop.orders.models import Order
from shop.payments.models import StripeEvent
from tests import canaries, databases
from tests.actors import CARD, DECLINED, Browser, Buyer
from tests.conftest import Till
from tests.databases import on_all
from tests.pages import send

TYPED = "what somebody typed"


@pytest.fixture
def settings() -> dict[str, str]:
    return {"SHOP_LEGACY_CHARGE": "on", "SHOP_TASK_TOKEN": canaries.TASK_TOKEN}


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Everything that is logged, with the loggers that are quiet by themselves made talkative."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("[%(name)s] %(message)s"))
    root, engine = logging.getLogger(), logging.getLogger("sqlalchemy.engine")
    root.addHandler(handler)
    engine.setLevel(logging.DEBUG)
    yield stream
    engine.setLevel(logging.NOTSET)
    root.removeHandler(handler)


# --- the watch --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "leak",
    [
        f"logging.getLogger('anything').debug({canaries.STRIPE_KEY!r})",
        f"print({canaries.MAIL_PASSWORD!r})",
        f"sys.stderr.write({canaries.CARD_TOKEN!r})",
        f"os.system('echo {canaries.DATABASE_PASSWORD} >&2')",
    ],
)
def test_a_test_that_leaks_fails(tmp_path: Path, leak: str) -> None:
    tests = f"import logging, os, sys\ndef test_leak(): {leak}\ndef test_other(): print('hello')\n"
    (tmp_path / "test_it.py").write_text(tests)
    options = ["-p", "tests.conftest", "-p", "no:cacheprovider", "-c", os.devnull, "-q"]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *options, tmp_path],
        capture_output=True, text=True, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert "1 failed, 1 passed" in run.stdout, run.stdout
    assert "Secrets were logged or printed" in run.stdout


# --- the journey ------------------------------------------------------------------------------


def test_a_visit_with_all_that_can_go_wrong_leaves_no_secret(
    till: Till, make_app: Callable[..., Flask], log: io.StringIO
) -> None:
    pay_and_fail_to_pay(till.buyer())
    send_what_stripe_did_not(till.buyer())
    ask_a_stripe_that_is_away(till)
    with MailServer("535 5.7.8 who are you?") as port:
        lose_a_mail(make_app(MAIL_URL=f"smtp://me:{canaries.MAIL_PASSWORD}@127.0.0.1:{port}"))
    crash(till.app)
    said = log.getvalue()
    assert len(said) > 100_000
    talkers = ["shop", "stripe", "sqlalchemy.engine.Engine"]
    talkers += [] if till.in_process else ["urllib3.connectionpool", "werkzeug"]
    assert [name for name in talkers if f"[{name}] " not in said] == []
    for words in (
        "No such token: 'tok_[hidden]'", "stripe_unreachable",
        "was not sent: ", "the login in MAIL_URL (535)", "KeyError: 'sk_[hidden]'",
        "whsec_[hidden]", "//shop:[hidden]@db/shop",
    ):  # fmt: skip
        assert words in said, words
    assert canaries.found_in(said) == []


def pay_and_fail_to_pay(buyer: Buyer) -> None:
    for card in (CARD, DECLINED):
        buyer.pay(buyer.order(2)["url"], card)
    for token, status in (
        ("tok_visa", 303),
        ("tok_visa_chargeDeclinedStolenCard", 402),
        (canaries.CARD_TOKEN, 422),
    ):
        form = {"stripeToken": token, "order": buyer.order(1, 2)["order"]}
        answer = buyer.submit("/payments/charge", form | {"password": canaries.OWNER_PASSWORD})
        assert answer.status == status, answer.words


def send_what_stripe_did_not(buyer: Buyer) -> None:
    for signature in (canaries.WEBHOOK_SECRET, "t=1,v1=é".encode().decode("latin-1")):
        body = json.dumps({"source": canaries.CARD_TOKEN})
        assert buyer.post("/payments/webhook", body, Stripe_Signature=signature).status == 400
    for token in (canaries.TASK_TOKEN, canaries.TASK_TOKEN + "x"):
        assert buyer.post("/tasks", X_Task_Token=token).status < 500


def ask_a_stripe_that_is_away(till: Till) -> None:
    buyer = till.buyer()
    order = buyer.order(4)["order"]
    for mode in ("refuse", "lost", "error", "garbage"):
        till.sandbox.api(mode)
        buyer.submit("/payments/charge", {"stripeToken": "tok_visa", "order": order})
        assert buyer.submit("/payments/session", {"order": order}).status == 503
    till.sandbox.api("ok")


class MailServer:
    """A mail server that knows nobody; its port is given to the `with` block."""

    def __init__(self, refusal: str) -> None:
        class Talk(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self.wfile.write(b"220 here\r\n")
                answers = {"AUTH": refusal, "EHLO": "250-here\r\n250 AUTH PLAIN", "QUIT": "221 bye"}
                while verb := self.rfile.readline()[:4].decode().upper():
                    self.wfile.write(f"{answers[verb]}\r\n".encode())

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Talk)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def __enter__(self) -> int:
        self._thread.start()
        return int(self._server.server_address[1])

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def lose_a_mail(app: Flask) -> None:
    Buyer(app).buy()
    listed = app.test_cli_runner().invoke(args=["shop", "mail", "list"])
    assert "refused the login in MAIL_URL (535)" in listed.output
    assert canaries.found_in(listed.output) == []


def crash(app: Flask) -> None:
    def view() -> str:
        address = f"postgresql://shop:{canaries.DATABASE_PASSWORD}@db/shop"
        try:
            raise KeyError(canaries.STRIPE_KEY)
        except KeyError as error:
            raise RuntimeError(f"{canaries.WEBHOOK_SECRET} {address}") from error

    app.view_functions["catalog.index"] = view
    answer = Browser(app).get("/shop/")
    assert answer.status == 500
    assert canaries.found_in(answer.text) == []


# --- databases --------------------------------------------------------------------------------


def refused_at(kind: str) -> str:
    """Return an address at which a server answers and lets nobody in."""
    user = "nobody_here" if kind == "postgresql" else "root"
    url = make_url(databases.SERVERS[kind]).set(username=user, password=canaries.DATABASE_PASSWORD)
    return url.render_as_string(hide_password=False)


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_a_database_that_lets_nobody_in_is_told_without_the_password(
    make_app: Callable[..., Flask], kind: str, log: io.StringIO
) -> None:
    app = make_app(DATABASE_URL=refused_at(kind))
    for path, accept in (("/", "text/html"), ("/", "application/json"), ("/healthz", "*/*")):
        answer = send(app, path, accept=accept)
        assert answer.status == 503
        assert canaries.found_in(answer.text) == []
    assert "OperationalError" in log.getvalue()
    assert canaries.found_in(log.getvalue()) == []


COMMANDS = [["init"], ["demo"], ["orders"], ["reconcile"], ["mail", "send"], ["mail", "list"]]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("kind", ["postgresql", "mariadb", "away"])
def test_a_command_without_its_database_says_so_in_a_line(
    make_app: Callable[..., Flask], kind: str, command: list[str], log: io.StringIO
) -> None:
    away = f"mysql://shop:{canaries.DATABASE_PASSWORD}@127.0.0.1:1/shop"
    app = make_app(DATABASE_URL=away if kind == "away" else refused_at(kind))
    result = app.test_cli_runner().invoke(args=["shop", *command])
    assert result.exit_code == 1
    assert result.output.startswith("Error: The database does not answer")
    assert "DATABASE_URL" in result.output
    assert canaries.found_in(result.output + log.getvalue()) == []


@on_all
def test_a_row_that_the_database_refuses_is_not_repeated_in_the_log(
    app: Flask, log: io.StringIO
) -> None:
    def double() -> None:
        for _ in range(2):
            event = StripeEvent(id=TYPED, type="x", object_id="x")
            db.session.add(event)
            db.session.flush()
            db.session.expunge(event)

    def free_order() -> None:
        order = Order(mode="test", currency="jpy", amount=0, visitor=TYPED, language="en")
        db.session.add(order)

    def too_long() -> None:
        insert_once(StripeEvent, id=TYPED * 99, type="x", object_id="x", received_at=now())

    def broken_statement() -> None:
        db.session.execute(text("SELEC :words"), {"words": TYPED})

    units = (double, free_order, too_long, broken_statement)

    @app.get("/try/<int:number>")
    def try_it(number: int) -> str:
        write(units[number])
        return ""

    answers = [send(app, f"/try/{number}") for number in range(len(units))]
    assert [answers[number].status >= 500 for number in (0, 1, 3)] == [True] * 3
    assert "sqlalchemy.exc.IntegrityError" in log.getvalue()
    assert TYPED not in log.getvalue()
    assert not [answer for answer in answers if TYPED in answer.text]


# --- settings ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("STRIPE_SECRET_KEY", f"key_{canaries.STRIPE_KEY}"),
        ("STRIPE_WEBHOOK_SECRET", canaries.WEBHOOK_SECRET.removeprefix("whsec")),
        ("MAIL_URL", f"smtp://me:{canaries.MAIL_PASSWORD}#x@mail.example"),
        ("MAIL_URL", f"smtp://me:{canaries.MAIL_PASSWORD}/x@mail.example"),
        ("MAIL_URL", f"imap://me:{canaries.MAIL_PASSWORD}@mail.example"),
        ("DATABASE_URL", f"postgresql://me:x@{canaries.DATABASE_PASSWORD}@127.0.0.1/shop"),
        ("DATABASE_URL", f"postgresql://me:{canaries.DATABASE_PASSWORD}@db:port/shop"),
        ("DATABASE_URL", f"oracle://me:{canaries.DATABASE_PASSWORD}@db/shop"),
        ("DATABASE_URL", canaries.DATABASE_PASSWORD),
    ],
)
def test_a_setting_that_is_refused_is_not_shown(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(ConfigError) as refused:
        create_app({"SHOP_DATA_DIR": tmp_path, name: value})
    said = "".join(traceback.format_exception(refused.value))
    assert f"{name}: " in said
    assert canaries.found_in(said) == []
