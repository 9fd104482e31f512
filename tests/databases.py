"""The databases that the tests run on: which servers there are, and a clean one for each test.

`TEST_POSTGRES_URL` and `TEST_MARIADB_URL` name servers other than the usual local ones; the user
needs the right to create databases.
"""

import os
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from shutil import copy
from zlib import crc32

import pytest
from sqlalchemy import Connection, create_engine, make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from shop import create_app
from shop.db import Base, db
from shop.demo import fill
from shop.migrations import upgrade
from tests.canaries import SECRET_KEY as SECRET

ALL = ("sqlite", "postgresql", "mariadb")
SERVERS = {
    "postgresql": os.environ.get("TEST_POSTGRES_URL", "postgresql://postgres@127.0.0.1/postgres"),
    "mariadb": os.environ.get("TEST_MARIADB_URL", "mariadb://root@127.0.0.1/mysql"),
}
# Two checkouts on one machine do not disturb each other.
CHECKOUT = f"{crc32(__file__.encode()):08x}"
DRIVERS = {"postgresql": "postgresql+psycopg", "mariadb": "mysql+pymysql"}

# The money and the board behave alike on all three.
on_all = pytest.mark.parametrize("database", ALL, indirect=True)


def missing(reason: str) -> None:
    """Skip the test, or fail it where everything must be there."""
    if os.environ.get("TEST_STRICT"):
        pytest.fail(f"{reason} (TEST_STRICT is set)", pytrace=False)
    pytest.skip(reason)


def fresh(kind: str, folder: Path, filled: Path, worker: str) -> str | None:
    """Return the address of a database with the sample goods alone; None: SQLite in `folder`."""
    if kind == "sqlite":
        copy(filled, folder / "shop.sqlite3")
        return None
    if not _answers(kind):
        missing(f"no {kind} server answers")
    name = f"shop_{CHECKOUT}_{worker}"
    _make(kind, name)
    url = make_url(SERVERS[kind]).set(database=name)
    _refill(kind, url.render_as_string(hide_password=False))
    return url.render_as_string(hide_password=False)


def empty(kind: str, worker: str) -> str:
    """Return the address of a server's database with nothing in it."""
    if not _answers(kind):
        missing(f"no {kind} server answers")
    name = f"shop_{CHECKOUT}_empty_{worker}"
    _create(kind, name)
    return make_url(SERVERS[kind]).set(database=name).render_as_string(hide_password=False)


@cache
def _answers(kind: str) -> bool:
    try:
        with _administer(kind) as connection:
            connection.execute(text("SELECT 1"))
    except DBAPIError:
        return False
    return True


def _administer(kind: str) -> Connection:
    url = make_url(SERVERS[kind]).set(drivername=DRIVERS[kind])
    engine = create_engine(
        url, isolation_level="AUTOCOMMIT", poolclass=NullPool, connect_args={"connect_timeout": 3}
    )
    return engine.connect()


@cache
def _make(kind: str, name: str) -> None:
    """Make this worker's database anew, once per run, with the newest schema."""
    _create(kind, name)
    app = create_app(
        {
            "SECRET_KEY": SECRET,
            "DATABASE_URL": make_url(SERVERS[kind])
            .set(database=name)
            .render_as_string(hide_password=False),
        }
    )
    with app.app_context():
        upgrade()
        db.engine.dispose()


def _create(kind: str, name: str) -> None:
    with _administer(kind) as connection:
        force = " WITH (FORCE)" if kind == "postgresql" else ""
        connection.execute(text(f"DROP DATABASE IF EXISTS {name}{force}"))
        connection.execute(text(f"CREATE DATABASE {name}"))


def _refill(kind: str, url: str) -> None:
    app = create_app({"SECRET_KEY": SECRET, "DATABASE_URL": url})
    with app.app_context():
        with db.engine.connect() as connection:
            for statement in _emptying(kind):
                connection.execute(text(statement))
            connection.commit()
        fill()
        db.session.remove()
        db.engine.dispose()


def _emptying(kind: str) -> Iterable[str]:
    tables = [table.name for table in reversed(Base.metadata.sorted_tables)]
    if kind == "postgresql":
        return [f"TRUNCATE {', '.join(tables)} RESTART IDENTITY"]
    # A refund names its payment in the same table, and rows go in no certain order.
    emptied = ["SET FOREIGN_KEY_CHECKS = 0", *(f"DELETE FROM {name}" for name in tables)]
    emptied.append("SET FOREIGN_KEY_CHECKS = 1")
    counted = [t.name for t in Base.metadata.sorted_tables if t.autoincrement_column is not None]
    return emptied + [f"ALTER TABLE {name} AUTO_INCREMENT = 1" for name in counted]
