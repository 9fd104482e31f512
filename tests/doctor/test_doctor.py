"""The self-check: all is well in a whole shop, and each check sees its own trouble."""

import json
import shutil
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import requests
import time_machine
from flask import Flask
from sqlalchemy import text
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Response

from shop import doctor
from shop.db import db
from shop.doctor import host, partners
from shop.errors import DatabaseBusy
from shop.owner import owners
from shop.payments import connect
from shop.payments.models import remember
from shop.sandbox import create_sandbox
from tests import databases
from tests.actors import Buyer, Switches
from tests.canaries import MAIL_PASSWORD, STRIPE_KEY, WEBHOOK_SECRET
from tests.conftest import Served
from tests.outbox import outbox_of
from tests.post_office import CERTIFICATE, SILENCE, PostOffice, closed_port

NAME = "mail.example"  # the certificate's only name that is no machine's own
LIVE = {
    "STRIPE_SECRET_KEY": STRIPE_KEY.replace("test", "live"),
    "SHOP_PUBLIC_URL": "https://s.example",
}
Rows = dict[str, dict[str, str]]
Wsgi = Callable[..., Any]


def look_over(app: Flask) -> tuple[Rows, int]:
    """Run the command; return what it found by name, and its status."""
    result = app.test_cli_runner().invoke(args=["shop", "doctor", "--json"])
    return {row["name"]: row for row in json.loads(result.stdout)}, result.exit_code


def sql(app: Flask, *statements: str) -> None:
    with app.app_context(), db.engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every name but the shop's own be unknown."""
    look_up = socket.getaddrinfo

    def here(name: Any, *arguments: Any, **more: Any) -> Any:
        name = "127.0.0.1" if name == NAME else name
        if name not in ("127.0.0.1", "localhost", "::1"):
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return look_up(name, *arguments, **more)

    monkeypatch.setattr(socket, "getaddrinfo", here)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(CERTIFICATE))


class Front:
    """A web server with TLS; `app` answers, and `paths` are what it was asked for."""

    app: Wsgi

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.server = make_server(
            "127.0.0.1", 0, self._call, threaded=True,
            ssl_context=(str(CERTIFICATE), str(CERTIFICATE)),
        )  # fmt: skip
        self.url = f"https://{NAME}:{self.server.server_port}"

    def _call(self, environ: dict[str, Any], start_response: Any) -> Any:
        self.paths.append(environ["PATH_INFO"])
        return self.app(environ, start_response)


@contextmanager
def fronted() -> Iterator[Front]:
    front = Front()
    thread = threading.Thread(target=front.server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield front
    front.server.shutdown()
    thread.join()
    front.server.server_close()


class World(NamedTuple):
    """A shop with a test key, and everybody that it speaks with."""

    app: Flask
    front: Front
    stripe: Served
    office: PostOffice
    sandbox: Switches


@pytest.fixture
def world(make_app: Callable[..., Flask], office: PostOffice, tmp_path: Path) -> Iterator[World]:
    with fronted() as front, Served() as stripe:
        app = front.app = make_app(
            SHOP_PUBLIC_URL=front.url, STRIPE_SECRET_KEY=STRIPE_KEY.replace("sk_", "rk_"),
            STRIPE_WEBHOOK_SECRET=WEBHOOK_SECRET, STRIPE_API_BASE=stripe.base,
            MAIL_URL=office.url.replace("//", f"//me:{MAIL_PASSWORD}@"),
            SHOP_OWNER_EMAIL="hana@shop.example", SHOP_MAIL_FROM="shop@shop.example",
        )  # fmt: skip

        def deliver_to(url: str, body: bytes, signature: str) -> int:
            headers = {"Stripe-Signature": signature}
            return requests.post(url, data=body, headers=headers, timeout=10).status_code

        url = f"{front.url}/payments/webhook"
        stripe.app = create_sandbox(
            tmp_path / "sandbox.sqlite3", webhook_secret=WEBHOOK_SECRET, webhook_url=url,
            deliver=partial(deliver_to, url), deliver_to=deliver_to,
        )  # fmt: skip
        switches = Switches(Buyer(base=stripe.base), stripe.base)
        yield World(app, front, stripe, office, switches)


def add_owner(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owners, "METHOD", "pbkdf2:sha256:1")
    with app.app_context():
        owners.add("hana@shop.example", "a long enough password")


def buy(world: World) -> None:
    def wait() -> None:
        world.sandbox.await_deliveries()
        world.stripe.wait_until_idle()

    Buyer(base=world.front.url, after_post=wait).buy()


def test_all_is_well_in_a_whole_shop(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    add_owner(world.app, monkeypatch)
    assert look_over(world.app)[0]["endpoint"]["verdict"] == "look"
    for command in (["connect"], ["connect", "--check"]):
        result = world.app.test_cli_runner().invoke(args=["shop", *command])
        assert result.output.endswith(f"Connected: {world.front.url}/payments/webhook\n")
    buy(world)
    for command in (["mail", "send"], ["reconcile"]):
        assert world.app.test_cli_runner().invoke(args=["shop", *command]).exit_code == 0
    # The message came when the order was paid: a check looks at orders of ten minutes ago.
    monkeypatch.setattr(partners, "ON_ITS_WAY", timedelta(seconds=-1))
    rows, status = look_over(world.app)
    assert {name: row for name, row in rows.items() if row["verdict"] != "ok"} == {}
    assert status == 0
    asked = {*doctor.QUICK, *doctor.SLOW, *doctor.FROM_OUTSIDE}
    # The rest is for live shops, and for a file of settings.
    assert asked - {*rows} == {
        "owner_email",
        "backup",
        "legal",
        "card",
        "settings_file",
    }
    assert {"/healthz", "/.env"} <= {*world.front.paths}
    # Nothing was sent by it.
    assert world.office.commands.count("DATA") == 2
    assert world.office.commands[-4:] == ["MAIL", "RCPT", "RSET", "QUIT"]
    said = world.app.test_cli_runner().invoke(args=["shop", "doctor"]).output
    assert "[Fine] Stripe key: Stripe takes the test key. No real money moves." in said


# --- the host -------------------------------------------------------------------------------


def test_what_grows_old_is_told(app: Flask) -> None:
    end = host.PYTHON_ENDS[sys.version_info[:2]]
    near = datetime(end.year, end.month, end.day, tzinfo=UTC) - timedelta(days=30)
    with time_machine.travel(near, tick=True):
        rows, status = look_over(app)
    assert (rows["python"]["verdict"], status) == ("look", 0)
    assert rows["packages"]["verdict"] == ("look" if near > datetime.now(UTC) + host.OLD else "ok")
    with time_machine.travel(datetime.now(UTC) + timedelta(days=370), tick=True):
        assert look_over(app)[0]["packages"]["verdict"] == "look"


def test_the_files_of_a_careless_host(
    make_app: Callable[..., Flask], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "ROOT", tmp_path)
    folder = tmp_path / "instance"
    folder.mkdir()
    app = make_app(SECRET_KEY="", SHOP_DATA_DIR=folder)
    app.test_cli_runner().invoke(args=["shop", "init"])
    (tmp_path / "requirements.txt").write_text("flask==0.1\n# a note\nnothing-like-it==1.0 \\\n")
    (tmp_path / ".env").write_text("SHOP_NAME=Mine\n")
    (tmp_path / ".env").chmod(0o640)
    (folder / "secret_key").chmod(0o644)
    rows, status = look_over(app)
    assert status == 0
    assert "flask 0.1 (3" in rows["packages"]["what"]
    assert "nothing-like-it 1.0" in rows["packages"]["what"]
    assert f"chmod 600 {tmp_path}/.env" in rows["settings_file"]["todo"]
    assert "secret_key" in rows["secret"]["todo"]
    assert rows["data"]["verdict"] == "ok"
    (folder / "secret_key").chmod(0o600)
    (tmp_path / ".env").chmod(0o600)
    monkeypatch.setenv("RAILWAY_SERVICE_ID", "7")
    rows, status = look_over(app)
    assert (rows["data"]["verdict"], rows["secret"]["verdict"], status) == ("broken", "look", 1)
    assert "all orders would be lost" in rows["data"]["what"]
    assert rows["settings_file"]["verdict"] == "ok"
    monkeypatch.setenv("SHOP_DATA_DIR", str(folder))
    assert look_over(app)[0]["data"]["verdict"] == "ok"


def test_data_that_stands_where_it_should_not(
    make_app: Callable[..., Flask], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = f"sqlite:///{tmp_path}/shop.sqlite3"
    folder = tmp_path / "public_html" / "shop"
    folder.mkdir(parents=True)
    shown = make_app(DATABASE_URL=file, SHOP_DATA_DIR=folder, SECRET_KEY="change me, please!!")
    rows, status = look_over(shown)
    assert (rows["data"]["verdict"], rows["secret"]["verdict"], status) == ("look", "broken", 1)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert "inside Python’s environment" in look_over(shown)[0]["data"]["what"]
    # Even root writes nothing there.
    locked = make_app(DATABASE_URL=file, SHOP_DATA_DIR="/proc/self", SECRET_KEY="x" * 40)
    rows, status = look_over(locked)
    assert rows["data"]["what"].startswith("The shop cannot write into its data folder /proc/self")
    assert (rows["secret"]["verdict"], status) == ("broken", 1)


def test_a_disk_that_fills_up(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    real, left = shutil.disk_usage, [0]
    monkeypatch.setattr(shutil, "disk_usage", lambda path: real(path)._replace(free=left[0]))
    found = []
    for left[0] in (49_999_999, 199_999_999, 200_000_000):
        rows, _ = look_over(app)
        found.append(rows["disk"]["verdict"])
    assert found == ["broken", "look", "ok"]
    assert rows["disk"]["what"] == "200 MB are free."


# --- the database ---------------------------------------------------------------------------


def test_a_damaged_file_is_found_and_a_large_one_is_not_called_whole(
    app: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sql(app, "CREATE TABLE many (n TEXT)", "CREATE INDEX of_many ON many (n)",
        "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 9000)"
        " INSERT INTO many SELECT 'row ' || n FROM c")  # fmt: skip
    monkeypatch.setattr(host, "READ_SECONDS", -1)
    rows, status = look_over(app)
    assert (rows["integrity"]["verdict"], status) == ("unknown", 0)
    monkeypatch.undo()
    with app.app_context():
        db.engine.dispose()
    with (tmp_path / "shop.sqlite3").open("r+b") as file:
        file.seek(-3 * 4096, 2)
        file.write(b"\xff" * 8192)
    rows, status = look_over(app)
    assert (rows["integrity"]["verdict"], status) == ("broken", 1)
    assert rows["database"]["verdict"] == "ok"


def test_tables_of_another_version(app: Flask) -> None:
    for revision, said in (("0001", "Make a copy"), ("9999", "newer than this version")):
        sql(app, f"UPDATE alembic_version SET version_num = '{revision}'")
        rows, status = look_over(app)
        assert (rows["database"]["verdict"], status) == ("broken", 1)
        assert said in rows["database"]["todo"]


@pytest.mark.parametrize("database", ["mariadb"], indirect=True)
def test_a_mysql_that_would_lose_letters(
    app: Flask, make_app: Callable[..., Flask], database: str
) -> None:
    assert "utf8mb4" in look_over(app)[0]["database"]["what"]
    lax = make_app(DATABASE_URL=f"{database}?init_command=SET%20sql_mode%3D''")
    assert "cuts what is too long" in look_over(lax)[0]["database"]["what"]
    try:
        sql(app, "ALTER TABLE details ADD COLUMN old VARCHAR(9) CHARACTER SET latin1")
        rows, status = look_over(app)
    finally:
        sql(app, "ALTER TABLE details DROP COLUMN IF EXISTS old")
    assert "latin1" in rows["database"]["what"]
    assert (rows["database"]["verdict"], status) == ("broken", 1)


def test_a_postgresql_that_would_lose_letters(make_app: Callable[..., Flask], worker: str) -> None:
    made_with = "ENCODING 'SQL_ASCII' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'"
    url = databases.empty("postgresql", f"{worker}_ascii", made_with)
    rows, status = look_over(make_app(DATABASE_URL=url))
    assert rows["database"]["what"] == "The database would lose letters."
    assert status == 1


def test_without_a_database_everything_else_is_still_looked_at(
    make_app: Callable[..., Flask], caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app(DATABASE_URL=f"postgresql://me@127.0.0.1:{closed_port()}/shop")
    rows, status = look_over(app)
    assert (rows["database"]["verdict"], status) == ("broken", 1)
    assert {rows[name]["verdict"] for name in ("outbox", "goods", "owners")} == {"unknown"}
    assert {rows[name]["verdict"] for name in ("python", "data", "mail", "stripe")} == {"ok"}
    assert "check goods" in caplog.text
    assert "the self-check is not kept" in caplog.text


# --- from outside ---------------------------------------------------------------------------


def test_what_others_find_at_the_address(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    app, front = world.app, world.front
    answers = {
        "circle": Response(status=301, headers={"Location": f"{front.url}/healthz"}),
        "elsewhere": Response(status=302, headers={"Location": "http://10.0.0.1/healthz"}),
        "parked": Response("This domain is for sale", 200),
        "broken": Response("Bad gateway", 502),
    }
    said = {}
    for name, answer in answers.items():
        front.app, front.paths = answer, []
        rows, status = look_over(app)
        assert (rows["address"]["verdict"], status) == ("broken", 1)
        said[name] = rows["address"]["what"]
        # Nobody was followed.
        assert front.paths == ["/healthz", "/.env"]
        assert rows["exposed"]["verdict"] == ("broken" if name == "parked" else "unknown")
    assert "in a circle" in said["circle"]
    assert "leads on to http://10.0.0.1/healthz" in said["elsewhere"]
    assert "something else answers than the shop (status 200)" in said["parked"]
    front.app = app
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    rows, status = look_over(app)
    assert "certificate" in rows["address"]["what"]
    assert (rows["address"]["verdict"], rows["exposed"]["verdict"], status) == (
        "broken",
        "unknown",
        1,
    )


def test_settings_that_everybody_can_read(world: World) -> None:
    def careless(environ: dict[str, Any], start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/.env":
            return Response("STRIPE_SECRET_KEY=x")(environ, start_response)
        return world.app(environ, start_response)

    world.front.app = careless
    rows, status = look_over(world.app)
    assert (rows["exposed"]["verdict"], rows["address"]["verdict"], status) == ("broken", "ok", 1)
    assert f"{world.front.url}/.env" in rows["exposed"]["what"]


def test_an_address_that_others_cannot_use(make_app: Callable[..., Flask]) -> None:
    key = {"STRIPE_SECRET_KEY": STRIPE_KEY}
    rows, _ = look_over(make_app(**key))
    assert (rows["public_url"]["verdict"], "address" in rows) == ("look", False)
    rows, _ = look_over(make_app(SHOP_PUBLIC_URL="http://s.example", **key))
    assert "not encrypted" in rows["public_url"]["what"]
    assert (rows["address"]["verdict"], rows["exposed"]["verdict"]) == ("unknown", "unknown")


# --- Stripe ---------------------------------------------------------------------------------


def test_what_stripe_says_of_the_key(world: World, tmp_path: Path) -> None:
    sandbox = world.stripe.app

    def strict(environ: dict[str, Any], start_response: Any) -> Any:
        if environ["PATH_INFO"] in ("/v1/charges", "/v1/disputes"):
            error = {"error": {"type": "invalid_request_error", "message": "not allowed"}}
            return Response(json.dumps(error), 403)(environ, start_response)
        return sandbox(environ, start_response)

    world.stripe.app = strict
    rows, status = look_over(world.app)
    assert rows["stripe"]["what"].endswith("may not read: Charges and Refunds, Disputes.")
    assert (rows["clock"]["verdict"], status) == ("ok", 1)
    world.stripe.app = create_sandbox(
        tmp_path / "other.sqlite3", webhook_secret=WEBHOOK_SECRET, secret_keys=()
    )
    rows, status = look_over(world.app)
    assert (rows["stripe"]["verdict"], rows["clock"]["verdict"], status) == ("broken", "unknown", 1)
    unknown = {"error": {"type": "invalid_request_error", "message": "no such address"}}
    world.stripe.app = Response(json.dumps(unknown), 404)
    rows, status = look_over(world.app)
    assert (rows["stripe"]["verdict"], status) == ("look", 0)
    world.stripe.app = Response("<html>", 502)
    rows, status = look_over(world.app)
    assert (rows["stripe"]["verdict"], rows["clock"]["verdict"], status) == (
        "unknown",
        "unknown",
        0,
    )


@pytest.mark.parametrize(("seconds", "verdict"), [(-25, "ok"), (60, "look"), (-200, "broken")])
def test_a_clock_that_goes_wrong(
    world: World, seconds: int, verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)
    monkeypatch.setattr(WSGIRequestHandler, "date_time_string", lambda _self: date)
    rows, status = look_over(world.app)
    assert (rows["clock"]["verdict"], status) == (verdict, int(verdict == "broken"))
    monkeypatch.setattr(WSGIRequestHandler, "date_time_string", lambda _self: "some day")
    rows, status = look_over(world.app)
    assert (rows["clock"]["verdict"], rows["stripe"]["verdict"], status) == ("unknown", "ok", 0)


def test_messages_that_do_not_arrive(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    app = world.app
    assert look_over(app)[0]["delivery"]["verdict"] == "unknown"
    world.sandbox.webhooks("drop")
    buy(world)
    # It may still be on its way.
    with time_machine.travel(datetime.now(UTC) + timedelta(minutes=9), tick=True):
        assert look_over(app)[0]["delivery"]["verdict"] == "unknown"
    with time_machine.travel(datetime.now(UTC) + timedelta(minutes=11), tick=True):
        rows, status = look_over(app)
    assert (rows["delivery"]["verdict"], status) == ("broken", 1)
    assert f"{world.front.url}/payments/webhook" in rows["delivery"]["todo"]
    # It came long before the order, say before the secret was exchanged.
    with app.app_context():
        remember("delivered", datetime.now(UTC) - timedelta(minutes=61))
    with time_machine.travel(datetime.now(UTC) + timedelta(minutes=11), tick=True):
        rows, status = look_over(app)
    assert (rows["delivery"]["verdict"], status) == ("look", 0)
    world.sandbox.webhooks("deliver")
    buy(world)
    with time_machine.travel(datetime.now(UTC) + timedelta(minutes=11), tick=True):
        assert look_over(app)[0]["delivery"]["verdict"] == "ok"


def test_a_message_is_noted_once_a_minute_and_answered_all_the_same(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted: list[datetime] = []

    def fail(_name: str, moment: datetime) -> None:
        noted.append(moment)
        if len(noted) == 1:
            raise DatabaseBusy
        remember("delivered", moment)

    monkeypatch.setattr(connect, "remember", fail)
    buyer = Buyer(app)
    token = buyer.buy()
    switches = Switches(buyer, f"{buyer.base}/sandbox")
    assert buyer.see(token)["state"] == "paid"
    event = switches.events("checkout.session.completed")[0]["id"]
    for seconds in (0, 50, 70):
        with time_machine.travel(datetime.now(UTC) + timedelta(seconds=seconds), tick=True):
            switches.resend(event)
    told = {(one["status"], one["attempts"]) for one in switches.state["deliveries"]}
    assert told == {("delivered", 1)}
    # Of the payment's two messages the first was not kept, of the next three the last was late.
    assert len(noted) == 3


def test_a_shop_that_cannot_sell(make_app: Callable[..., Flask]) -> None:
    rows, status = look_over(make_app(SHOP_SANDBOX="off"))
    assert (rows["stripe"]["verdict"], "clock" in rows, status) == ("look", False, 0)
    rows, status = look_over(make_app(STRIPE_SECRET_KEY=STRIPE_KEY))
    assert (rows["webhook"]["verdict"], status) == ("broken", 1)
    assert "flask shop connect" in rows["webhook"]["todo"]


# --- mail -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "answer", "said", "todo"),
    [
        ("AUTH", "535 no", "the mail server refused the login in MAIL_URL (535)", "Compare"),
        ("RCPT", "550 5.1.1 nobody", "refused the recipient hana@shop.example", "Compare"),
        ("MAIL", "553 not from you", "refused the sender shop@shop.example", "Compare"),
        ("CONNECT", SILENCE, "did not answer in time", "hosts block port {port}"),
    ],
)
def test_a_mail_server_that_takes_no_mail(
    world: World, word: str, answer: str, said: str, todo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shop.mail.smtp.ANSWER_SECONDS", 0.3)
    world.office.refuse = {word: answer}
    rows, status = look_over(world.app)
    assert (rows["mail"]["verdict"], status) == ("broken", 1)
    assert said in rows["mail"]["what"]
    assert todo.format(port=world.office.port) in rows["mail"]["todo"]


def test_a_slow_mail_server_is_not_waited_for_longer_than_is_left(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partners, "ASK_SECONDS", 0.0)
    world.office.refuse = {"RCPT": SILENCE}
    begun = datetime.now(UTC)
    assert look_over(world.app)[0]["mail"]["verdict"] == "broken"
    assert datetime.now(UTC) - begun < timedelta(seconds=3)


def test_mails_that_wait(mailing: Flask, office: PostOffice) -> None:
    outbox = outbox_of(mailing)
    outbox.queue()
    assert look_over(mailing)[0]["outbox"]["verdict"] == "ok"
    with time_machine.travel(datetime.now(UTC) + timedelta(minutes=61), tick=True):
        assert look_over(mailing)[0]["outbox"]["verdict"] == "look"
    office.refuse = {"RCPT": "550 5.1.1 nobody"}
    outbox.send()
    rows, status = look_over(mailing)
    assert (rows["outbox"]["what"], status) == ("Mails that have not left: 1.", 1)  # mail is broken


# --- what an owner sees to ------------------------------------------------------------------


def test_what_a_live_shop_lacks(
    make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(SHOP_LEGACY_CHARGE="on", **LIVE)
    sql(app, "UPDATE products SET active = 0")
    rows, status = look_over(app)
    looked = ("mail", "owner_email", "legal", "goods", "owners")
    assert {rows[name]["verdict"] for name in looked} == {"look"}
    assert (rows["card"]["verdict"], status) == ("broken", 1)
    assert "Seller" in rows["legal"]["what"]
    assert {*rows}.isdisjoint({"cron", "books", "backup"})  # nothing was sold
    sql(app, "UPDATE products SET active = 1",
        *(f"INSERT INTO details VALUES ('{name}', 'x')" for name in
          ("name", "responsible", "on_request", "email", "delivery_time", "returns", "faulty")),
        "INSERT INTO orders (token, client_reference, mode, state, amount, currency, visitor,"
        " language, holds_stock, delivery_amount, delivery_tax_rate, created_at, paid_at) VALUES"
        " ('a', 'b', 'live', 'paid', 1, 'jpy', 'v', 'en', 0, 0, 0, '2026-01-01 00:00:00',"
        " '2026-01-01 00:00:00')")  # fmt: skip
    add_owner(app, monkeypatch)
    sold = make_app(
        SHOP_OWNER_EMAIL="hana@shop.example", STRIPE_WEBHOOK_SECRET=WEBHOOK_SECRET, **LIVE
    )
    rows, status = look_over(sold)
    regular = ("cron", "books", "backup")
    assert {rows[name]["what"] for name in regular} == {"Not done yet."}
    assert {rows[name]["verdict"] for name in regular} == {"look"}
    assert {rows[name]["verdict"] for name in ("owner_email", "legal", "goods", "owners")} == {"ok"}
    assert "card" not in rows
    moments = {"mail_run": 27, "compared": 49, "backup": 24 * 7 + 1}
    for less, verdict in ((0, "look"), (2, "ok")):
        with sold.app_context():
            for key, hours in moments.items():
                remember(key, datetime.now(UTC) - timedelta(hours=hours - less))
        rows, _ = look_over(sold)
        assert {rows[name]["verdict"] for name in regular} == {verdict}, less


def test_tasks_and_commands_write_down_that_they_ran(world: World) -> None:
    buy(world)
    assert look_over(world.app)[0]["cron"]["verdict"] == "look"
    world.app.config["SHOP_TASK_TOKEN"] = "a task token of a shop 0123456789"
    visitor = Buyer(base=world.front.url)
    token = {"X_Task_Token": "a task token of a shop 0123456789"}
    assert visitor.post("/tasks", **token).status == 200
    rows, _ = look_over(world.app)
    assert (rows["cron"]["verdict"], rows["books"]["verdict"]) == ("ok", "ok")


# --- the doctor himself ---------------------------------------------------------------------


def test_a_check_that_breaks_or_comes_too_late_stops_no_other(
    app: Flask, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def breaks() -> None:
        raise ZeroDivisionError("on purpose")

    monkeypatch.setitem(doctor.SLOW, "mail", breaks)
    rows, status = look_over(app)
    assert (rows["mail"]["verdict"], rows["goods"]["verdict"], status) == ("unknown", "ok", 0)
    assert "on purpose" in caplog.text
    monkeypatch.setattr(doctor, "MOST_SECONDS", -1)
    rows, status = look_over(app)
    assert {row["verdict"] for row in rows.values()} == {"unknown"}


def test_every_check_has_a_heading() -> None:
    names = [*doctor.QUICK, *doctor.SLOW, *doctor.FROM_OUTSIDE, "visit"]
    assert sorted(names) == sorted(doctor.TITLES)
