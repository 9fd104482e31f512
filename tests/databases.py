"""The databases that the tests run on: which servers there are, and a clean one for each test.

`TEST_POSTGRES_URL` and `TEST_MARIADB_URL` name servers other than the usual local ones; the user
needs the right to create databases. Each process has databases of its own and drops them at its
end; those of a process that was killed are dropped by the next.
"""

import os
import secrets
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from shutil import copy
from zlib import crc32

import pytest
from flask import Flask
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
DRIVERS = {"postgresql": "postgresql+psycopg", "mariadb": "mysql+pymysql"}
EVERY_SERVER = bool(os.environ.get("TEST_EVERY_SERVER"))
PREFIX = "shop_test_"
# Two suites at once, of one checkout or of two, do not disturb each other.
PROCESS = PREFIX + secrets.token_hex(5)

# A test that depends on the database runs on all three. SQLite has the sandbox inside the shop, the
# servers have it behind sockets, so both ways to reach it are tried too. Of a test with many rows
# the first one runs on the servers: the others differ in what is typed, not in what is stored.
on_all = pytest.mark.on_all
# A test whose rule is no database's own runs on SQLite and on one of the servers, by its name.
# With TEST_EVERY_SERVER=1, as in `make deep`, it runs on all.
on_two = pytest.mark.on_all(rows="two")
# Every row runs on all three: what a row stores may fit into one database and not into another.
each_row_on_all = pytest.mark.on_all(rows="all")
# Every row runs in both ways, the servers taking turns: the way to Stripe makes a difference.
each_row_both_ways = pytest.mark.on_all(rows="turns")
# One test of a module that is marked `on_all` needs no server.
on_sqlite = pytest.mark.on_all(servers=())


def parametrize(metafunc: pytest.Metafunc) -> None:
    """Run a test on the databases that its mark names."""
    mark = metafunc.definition.get_closest_marker("on_all")
    if mark:
        kinds = ("sqlite", *mark.kwargs.get("servers", SERVERS))
        metafunc.parametrize("database", kinds, indirect=True)


def needed(items: list[pytest.Item]) -> Iterator[pytest.Item]:
    """Yield the tests without the rows that need not run on a server."""
    seen: Counter[tuple[str, str]] = Counter()
    for item in items:
        mark, call = item.get_closest_marker("on_all"), getattr(item, "callspec", None)
        kind = call.params.get("database") if call else None
        if mark and kind in SERVERS:
            test = (item.nodeid.partition("[")[0], kind)
            seen[test] += 1
            if not _takes(kind, test[0], seen[test] - 1, mark.kwargs.get("rows")):
                continue
        yield item


def _takes(kind: str, test: str, row: int, rows: str | None) -> bool:
    """Tell whether a server takes this row of a test."""
    if rows == "all" or (row == 0 and (rows is None or EVERY_SERVER)):
        return True
    turn = crc32(test.encode()) + (row if rows == "turns" else 0)
    is_its_turn = list(SERVERS)[turn % len(SERVERS)] == kind
    return is_its_turn and (rows == "turns" or (rows == "two" and row == 0))


def missing(reason: str) -> None:
    """Skip the test, or fail it where everything must be there."""
    if os.environ.get("TEST_STRICT"):
        pytest.fail(f"{reason} (TEST_STRICT is set)", pytrace=False)
    pytest.skip(reason)


def fresh(kind: str, folder: Path, filled: Path) -> str | None:
    """Return the address of a database with the sample goods alone; None: SQLite in `folder`."""
    if kind == "sqlite":
        copy(filled, folder / "shop.sqlite3")
        return None
    if not _answers(kind):
        missing(f"no {kind} server answers")
    app = _shop_over(kind, PROCESS)
    with app.app_context():
        with db.engine.begin() as connection:
            _empty(kind, connection)
        fill()
        db.session.remove()
        db.engine.dispose()
    return _address(kind, PROCESS)


def empty(kind: str, name: str, made_with: str = "") -> str:
    """Return the address of a database with nothing in it, under a name within this process."""
    if not _answers(kind):
        missing(f"no {kind} server answers")
    _create(kind, f"{PROCESS}_{name}", made_with)
    return _address(kind, f"{PROCESS}_{name}")


def drop_all() -> None:
    """Drop the databases of this process."""
    for kind, connection in _CONNECTIONS.items():
        _drop(kind, connection, PROCESS)
        connection.close()
    _CONNECTIONS.clear()


# By server: the connection that holds the lock by which others see that this process is alive.
_CONNECTIONS: dict[str, Connection] = {}
TRY_LOCK = {
    "postgresql": "SELECT pg_try_advisory_lock(hashtext('{name}'))",
    "mariadb": "SELECT GET_LOCK('{name}', 0)",
}
UNLOCK = {
    "postgresql": "SELECT pg_advisory_unlock(hashtext('{name}'))",
    "mariadb": "SELECT RELEASE_LOCK('{name}')",
}
LIST = {"postgresql": "SELECT datname FROM pg_database", "mariadb": "SHOW DATABASES"}


@cache
def _answers(kind: str) -> bool:
    try:
        _administer(kind)
    except DBAPIError:
        return False
    return True


def _administer(kind: str) -> Connection:
    """Return the connection of this process for making and dropping databases."""
    if kind in _CONNECTIONS:
        return _CONNECTIONS[kind]
    url = make_url(SERVERS[kind]).set(drivername=DRIVERS[kind])
    engine = create_engine(
        url, isolation_level="AUTOCOMMIT", poolclass=NullPool, connect_args={"connect_timeout": 3}
    )
    connection = _CONNECTIONS[kind] = engine.connect()
    if kind == "mariadb":
        connection.execute(text("SET SESSION wait_timeout = 1000000"))
    connection.execute(text(TRY_LOCK[kind].format(name=PROCESS)))
    _sweep(kind, connection)
    return connection


def _sweep(kind: str, connection: Connection) -> None:
    """Drop what processes left that were killed: nobody holds their lock any more."""
    names = connection.scalars(text(LIST[kind])).all()
    owners = {name[: len(PROCESS)] for name in names if name.startswith(PREFIX)} - {PROCESS}
    for owner in sorted(owners):
        if connection.scalar(text(TRY_LOCK[kind].format(name=owner))):
            _drop(kind, connection, owner)
            connection.execute(text(UNLOCK[kind].format(name=owner)))


def _drop(kind: str, connection: Connection, owner: str) -> None:
    """Drop the databases of one process."""
    force = " WITH (FORCE)" if kind == "postgresql" else ""
    for name in connection.scalars(text(LIST[kind])).all():
        if name.startswith(owner):
            connection.execute(text(f"DROP DATABASE IF EXISTS {name}{force}"))


def _create(kind: str, name: str, made_with: str = "") -> None:
    connection = _administer(kind)
    force = " WITH (FORCE)" if kind == "postgresql" else ""
    connection.execute(text(f"DROP DATABASE IF EXISTS {name}{force}"))
    connection.execute(text(f"CREATE DATABASE {name} {made_with}"))


def _address(kind: str, name: str) -> str:
    return make_url(SERVERS[kind]).set(database=name).render_as_string(hide_password=False)


@cache
def _shop_over(kind: str, name: str) -> Flask:
    """Make this process's database, once, with the newest schema; return a shop over it."""
    _create(kind, name)
    app = create_app({"SECRET_KEY": SECRET, "DATABASE_URL": _address(kind, name)})
    with app.app_context():
        upgrade()
    return app


def _empty(kind: str, connection: Connection) -> None:
    """Empty all tables and let them count from 1 again."""
    tables = [table.name for table in reversed(Base.metadata.sorted_tables)]
    if kind == "postgresql":
        # TRUNCATE would make a new file for each table.
        restarts = [f"SELECT setval('{name}', 1, false)" for name in _sequences(connection)]
        connection.execute(text("; ".join([*(f"DELETE FROM {t}" for t in tables), *restarts])))
        return
    # A refund names its payment in the same table, and rows go in no certain order.
    connection.execute(text("SET FOREIGN_KEY_CHECKS = 0"))
    for name in tables:
        connection.execute(text(f"DELETE FROM {name}"))
    connection.execute(text("SET FOREIGN_KEY_CHECKS = 1"))
    counted = text(
        "SELECT table_name FROM information_schema.tables"
        " WHERE table_schema = DATABASE() AND auto_increment > 1"
    )
    for name in connection.scalars(counted).all():
        connection.execute(text(f"ALTER TABLE {name} AUTO_INCREMENT = 1"))


def _sequences(connection: Connection) -> list[str]:
    return list(connection.scalars(text("SELECT sequencename FROM pg_sequences")).all())
