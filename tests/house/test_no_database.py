"""A database that cannot be used: commands say one line that helps, pages are 503 in words."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import text

from shop import create_app
from shop.db import db, facts
from shop.migrations import head, upgrade
from tests import databases
from tests.actors import Browser, Buyer
from tests.databases import on_all

COMMANDS = (["init"], ["demo"], ["orders"], ["reconcile"], ["refund", "1", "--yes"], ["ship", "1"],
            ["mail", "send"], ["mail", "list", "--json"])  # fmt: skip


@pytest.fixture
def over(tmp_path: Path) -> Iterator[Callable[[str], Flask]]:
    """Return a function that makes a shop over the database at this address."""
    made: list[Flask] = []

    def make(url: str) -> Flask:
        given = {"SECRET_KEY": databases.SECRET, "SHOP_DATA_DIR": tmp_path, "DATABASE_URL": url}
        made.append(create_app(given))
        return made[-1]

    yield make
    for app in made:
        with app.app_context():
            db.engine.dispose()


def said(app: Flask, command: list[str]) -> str:
    """Return the one line that a command ends with."""
    result = app.test_cli_runner().invoke(args=["shop", *command])
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == 1
    [line] = result.output.splitlines()
    assert line.startswith("Error: ")
    return line


def check(app: Flask, *words: str) -> None:
    """Check what commands and pages say."""
    for command in COMMANDS:
        line = said(app, command)
        assert all(word in line for word in words), line
    browser = Browser(app)
    for path in ("/", "/shop/", "/cart", "/orders/x"):
        page = browser.get(path)
        assert page.status == 503, page.words
        assert page.headers["Retry-After"]
        assert "SELECT" not in page.text
    assert browser.get("/", Accept="application/json").json["error"]["code"]
    assert browser.post("/payments/webhook", b"{}").status == 503


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1", "EUC_JP"])
def test_a_database_that_would_lose_letters_is_refused_in_one_line(
    over: Callable[[str], Flask], worker: str, encoding: str
) -> None:
    made_with = f"ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    app = over(databases.empty("postgresql", worker, made_with))
    check(app, encoding, "ENCODING 'UTF8'", "DATABASE_URL")
    assert f"keeps text as {encoding}" in Browser(app).get("/").words
    assert Browser(app).get("/healthz").status == 200


@pytest.mark.parametrize("scheme", ["postgres", "mysql"])
@pytest.mark.parametrize("server", ["127.0.0.1:1", "nowhere.invalid"])
def test_a_server_that_is_away_is_named(
    over: Callable[[str], Flask], scheme: str, server: str
) -> None:
    app = over(f"{scheme}://user:hunter22@{server}/shop")
    check(app, "DATABASE_URL", "whether its server runs", server.partition(":")[0])
    assert "hunter22" not in said(app, ["init"])
    assert Browser(app).get("/healthz").status == 503


@pytest.mark.parametrize("kind", databases.SERVERS)
def test_a_database_that_is_not_there_is_named(over: Callable[[str], Flask], kind: str) -> None:
    base = databases.empty(kind, "there").rpartition("/")[0]
    check(over(f"{base}/not_there"), "DATABASE_URL", "not_there")


def test_a_wrong_password_is_said(over: Callable[[str], Flask], worker: str) -> None:
    url = databases.empty("mariadb", worker)
    server = url.rpartition("@")[2]
    app = over(f"mysql://nobody_here:hunter22@{server}")
    check(app, "Access denied", "DATABASE_URL")
    assert "hunter22" not in said(app, ["init"])


@pytest.mark.parametrize("kind", databases.ALL)
def test_a_database_newer_than_the_code_is_left_alone(
    over: Callable[[str], Flask], tmp_path: Path, worker: str, kind: str
) -> None:
    url = "sqlite:///shop.sqlite3" if kind == "sqlite" else databases.empty(kind, worker)
    newer = over(url)
    with newer.app_context():
        upgrade()
        with db.engine.begin() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    check(over(url), "newer than this version of the shop")
    with newer.app_context(), db.engine.connect() as connection:
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == "9999"


@pytest.mark.parametrize("found", [None, "0003"])
def test_a_command_waits_for_the_upgrade(
    over: Callable[[str], Flask], tmp_path: Path, found: str | None
) -> None:
    app = over("sqlite:///shop.sqlite3")
    if found:
        with app.app_context():
            upgrade()
            with db.engine.begin() as connection:
                connection.execute(text(f"UPDATE alembic_version SET version_num = '{found}'"))
    for command in COMMANDS[1:]:
        assert "flask shop init" in said(app, command)
    assert app.test_cli_runner().invoke(args=["shop", "init"]).exit_code == 0
    with app.app_context(), db.engine.connect() as connection:
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == head()


@pytest.mark.parametrize("place", ["/proc/nothing/shop.sqlite3", "{}/file/shop.sqlite3", "{}"])
def test_a_folder_that_cannot_be_written_is_said(
    over: Callable[[str], Flask], tmp_path: Path, place: str
) -> None:
    (tmp_path / "file").touch()
    check(over(f"sqlite:///{place.format(tmp_path)}"), "SHOP_DATA_DIR", "may write there")


def test_a_file_that_may_only_be_read_is_said(over: Callable[[str], Flask], tmp_path: Path) -> None:
    with over("sqlite:///shop.sqlite3").app_context():
        upgrade()
    app = over(f"sqlite:///file:{tmp_path}/shop.sqlite3?mode=ro&uri=true")
    for command in (["init"], ["demo"]):
        assert "readonly" in said(app, command)
        assert "may write there" in said(app, command)
    browser = Browser(app)
    assert browser.get("/").status == 200
    refused = browser.submit("/", {"comment": "my words"})
    assert refused.status == 503
    assert "my words" in refused.text


def test_a_sandbox_that_cannot_write_is_a_payment_service_that_is_away(
    make_app: Callable[..., Flask],
) -> None:
    app = make_app(DATABASE_URL="sqlite://", SHOP_DATA_DIR="/proc/nothing")
    for command in ("init", "demo"):
        assert app.test_cli_runner().invoke(args=["shop", command]).exit_code == 0
    buyer = Buyer(app)
    refused = buyer.submit("/payments/session", {"product_id": 1, "quantity": 1})
    assert refused.status == 503
    assert "Nothing was charged" in refused.words
    assert buyer.get("/sandbox/").status == 503
    assert buyer.get("/").status == 200


def test_a_file_that_is_no_database_is_said(over: Callable[[str], Flask], tmp_path: Path) -> None:
    (tmp_path / "shop.sqlite3").write_bytes(b"neither fish nor fowl " * 100)
    check(over("sqlite:///shop.sqlite3"), "not a database", "DATABASE_URL")


def test_a_user_without_rights_is_said(over: Callable[[str], Flask], worker: str) -> None:
    url = databases.empty("postgresql", worker)
    admin = over(url)
    with admin.app_context(), db.engine.begin() as connection:
        connection.execute(text("REVOKE ALL ON SCHEMA public FROM PUBLIC"))
        connection.execute(
            text("ALTER DATABASE " + url.rpartition("/")[2] + " SET role pg_monitor")
        )
    app = over(url)
    assert "DATABASE_URL" in said(app, ["init"])
    assert Browser(app).get("/").status == 503


@on_all
def test_the_facts_of_the_database_are_told(app: Flask) -> None:
    with app.app_context():
        found = facts()
        kind = db.engine.dialect.name
    assert found["version"]
    assert found["encoding"] == {"sqlite": "UTF-8", "postgresql": "UTF8", "mysql": "utf8mb4"}[kind]
    if kind == "sqlite":
        assert found["journal"] in ("wal", "delete")
        assert "SQLite" in found["reason"] or "file system" in found["reason"]
    else:
        assert found["prepared_statements"] == "off"
    assert ("STRICT_ALL_TABLES" in found.get("sql_mode", "")) == (kind == "mysql")
