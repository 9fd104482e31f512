"""The schema on every database, and what its steps do to the rows of an older one."""

import json
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from flask import Flask, current_app
from sqlalchemy import DateTime, MetaData, Table, event, inspect, text
from sqlalchemy.exc import DataError, IntegrityError

from shop import create_app, migrations
from shop.db import Base, db
from shop.errors import DatabaseBusy
from shop.migrations import LOCK_NAME, head, revision, upgrade
from shop.orders.models import Order, email_key
from tests import databases
from tests.actors import Browser

OLD_ROWS = json.loads((Path(__file__).parents[1] / "data/rows_of_0002.json").read_text("utf-8"))
NEW_NAMES = {
    "orders": {
        "uid": "client_reference",
        "open_key": "dedup_key",
        "paid": "paid_at",
        "shipped": "shipped_at",
    },
    "attempts": {"expires": "expires_at", "checked": "checked_at"},
    "disputes": {"opened": "opened_at", "closed": "closed_at"},
    "stripe_events": {"received": "received_at"},
    "throttles": {"ends": "ends_at"},
    "mails": {"due": "due_at", "leased_until": "lease_expires_at"},
}
MAILS = [
    ("order-3", "customer_paid", ""),
    ("order-4", "customer_paid", ""),
    ("order-5", "customer_paid", ""),
    ("order-5", "customer_refunded", ""),
    ("order-5", "customer_refunded", "2"),
    ("order-5", "customer_refunded", "3"),
    ("order-3", "staff_dispute", ""),
    ("order-3", "staff_dispute", "2"),
    ("order-3", "staff_dispute_closed", "2"),
    ("order-8", "staff_paid_twice", "11"),
    ("order-3", "customer_links", ""),
]
# Statements between two kills; 1 takes a minute or more.
KILL_EVERY = int(os.environ.get("TEST_KILL_EVERY", "3"))
CHANGES = ("ALTER", "CREATE", "DROP", "INSERT", "UPDATE", "DELETE")
Tables = dict[str, list[dict[str, Any]]]


class Killed(Exception):
    """The upgrade was stopped at this point."""


@pytest.fixture(params=["postgresql", "mariadb"])
def make_node(request: pytest.FixtureRequest, worker: str) -> Iterator[Callable[[], Flask]]:
    """Return a function that starts one more node over the same empty database."""
    url = databases.empty(request.param, worker)
    nodes: list[Flask] = []

    def make() -> Flask:
        nodes.append(create_app({"SECRET_KEY": databases.SECRET, "DATABASE_URL": url}))
        return nodes[-1]

    yield make
    for node in nodes:
        with node.app_context():
            db.engine.dispose()


@pytest.fixture
def start(tmp_path: Path, worker: str) -> Iterator[Callable[[str], Flask]]:
    """Return a function that starts a shop over an empty database of this kind."""
    with ExitStack() as stack:
        yield lambda kind: stack.enter_context(empty_shop(kind, tmp_path, worker))


@contextmanager
def empty_shop(kind: str, folder: Path, worker: str) -> Iterator[Flask]:
    url = None if kind == "sqlite" else databases.empty(kind, worker)
    settings = {"SECRET_KEY": databases.SECRET, "DATABASE_URL": url, "SHOP_DATA_DIR": folder}
    node = create_app(settings)
    with node.app_context():
        yield node
        db.session.remove()
        db.engine.dispose()


@pytest.fixture(scope="session")
def schema_of_models(
    tmp_path_factory: pytest.TempPathFactory, worker: str
) -> Callable[[str], dict[str, Any]]:
    """Return a function that describes the schema that the models ask a database for."""

    @cache
    def look(kind: str) -> dict[str, Any]:
        with empty_shop(kind, tmp_path_factory.mktemp("models"), worker):
            Base.metadata.create_all(db.engine)
            return schema()

    return look


def change(node: Flask, *statements: str) -> None:
    with node.app_context(), db.engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))


def test_nodes_that_start_at_once_make_one_schema(make_node: Callable[[], Flask]) -> None:
    nodes = [make_node() for _ in range(4)]
    answers: list[int] = []
    threads = [
        threading.Thread(target=lambda node=node: answers.append(Browser(node).get("/").status))
        for node in nodes
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 4
    with nodes[0].app_context():
        assert revision() == head()


@pytest.mark.parametrize("make_node", ["mariadb"], indirect=True)
def test_a_node_that_comes_in_the_midst_of_an_upgrade_waits_for_its_end(
    make_node: Callable[[], Flask],
) -> None:
    # MariaDB keeps each step, so the second node finds an older shop.
    first, second = make_node(), make_node()
    with first.app_context():
        upgrade()
    change(first, "UPDATE alembic_version SET version_num = '0003'")
    answers: list[int] = []
    visit = threading.Thread(target=lambda: answers.append(Browser(second).get("/").status))
    with first.app_context(), db.engine.connect() as connection:
        connection.exec_driver_sql(f"SELECT GET_LOCK({LOCK_NAME}, 5)")
        visit.start()
        visit.join(0.5)
        assert answers == []
        change(first, f"UPDATE alembic_version SET version_num = '{head()}'")
        connection.exec_driver_sql(f"SELECT RELEASE_LOCK({LOCK_NAME})")
    visit.join(30)
    assert answers == [200]


def test_orders_of_the_first_schema_are_kept_however_long_their_address(
    make_node: Callable[[], Flask],
) -> None:
    node = make_node()
    with node.app_context():
        bring_to("0001")
    long = f"{'A' * 64}@{'b' * 180}.{'c' * 63}"
    order = "'token', 'uid', 'live', 'paid', 'jpy', 2000, 'me', true, 'en', '2026-01-01'"
    change(
        node,
        "INSERT INTO orders (token, uid, mode, state, currency, amount, visitor, holds_stock,"
        f" language, created, email) VALUES ({order}, '{long}')",
        "INSERT INTO ledger (order_id, kind, stripe_id, amount, currency, created)"
        " VALUES (1, 'payment', 'pi_1', 2000, 'jpy', '2026-01-01')",
    )
    with node.app_context():
        upgrade()
        kept = db.session.query(Order).one()
        assert (kept.email, kept.email_key) == (long, email_key(long))
        assert [entry.state for entry in kept.ledger] == ["succeeded"]


def test_an_old_schema_waits_for_its_owner(make_node: Callable[[], Flask]) -> None:
    node = make_node()
    with node.app_context():
        upgrade()
    change(node, "UPDATE alembic_version SET version_num = '0000'")
    answer = Browser(make_node()).get("/")
    assert answer.status == 503
    assert "flask shop init" in answer.words


def test_keys_tell_upper_from_lower_case(make_node: Callable[[], Flask]) -> None:
    node = make_node()
    with node.app_context():
        upgrade()
    columns = "INSERT INTO stripe_events (id, type, object_id, received_at) VALUES "
    change(node, *[f"{columns} ('{key}', 'x', 'x', '2026-01-01')" for key in ("evt_a", "evt_A")])


def schema() -> dict[str, Any]:
    """Describe every table but Alembic's: its columns, keys, indexes and checks, in no order."""
    look = inspect(db.engine)
    return {
        name: {
            "columns": {
                column["name"]: (
                    column["type"].compile(db.engine.dialect),
                    column["nullable"],
                    column["default"],
                )
                for column in look.get_columns(name)
            },
            "primary key": look.get_pk_constraint(name),
            "unique keys": _sorted(look.get_unique_constraints(name)),
            "foreign keys": _sorted(look.get_foreign_keys(name)),
            "indexes": _sorted(look.get_indexes(name)),
            "checks": _sorted(look.get_check_constraints(name)),
            "options": look.get_table_options(name),
        }
        for name in look.get_table_names()
        if name != "alembic_version"
    }


def _sorted(parts: Any) -> list[dict[str, Any]]:
    return sorted(parts, key=lambda part: str(part["name"]))


def bring_to(step: str) -> None:
    node = current_app._get_current_object()  # type: ignore[attr-defined]
    migrations._load_flask_migrate(node)
    command.upgrade(node.extensions["migrate"].migrate.get_config(), step)


def fill() -> None:
    """Put the rows of the second schema into their tables."""
    found = reflected()
    with db.engine.begin() as connection:
        for name, rows in OLD_ROWS.items():
            table = found.tables[name]
            for row in rows:
                connection.execute(table.insert().values(_typed(table, row)))


def reflected() -> MetaData:
    metadata = MetaData()
    metadata.reflect(db.engine)
    return metadata


def _typed(table: Table, row: dict[str, Any]) -> dict[str, Any]:
    return {
        name: datetime.fromisoformat(value)
        if value and isinstance(table.c[name].type, DateTime)
        else value
        for name, value in row.items()
    }


def read() -> Tables:
    """Return the rows of all tables but Alembic's, in the order they were written."""
    found = reflected()
    with db.engine.connect() as connection:
        return {
            table.name: [
                dict(row)
                for row in connection.execute(
                    table.select().order_by(*table.primary_key)
                ).mappings()
            ]
            for table in found.sorted_tables
            if table.name != "alembic_version"
        }


def renamed(before: Tables) -> Tables:
    """Return the rows of the second schema as the newest has them."""
    new = "key_values stamps pictures picture_files owners owner_sessions audit".split()
    new += "deliveries addresses details".split()
    after: Tables = {table: [] for table in new}
    for table, rows in before.items():
        names = {"created": "created_at"} | NEW_NAMES.get(table, {})
        after[table] = [{names.get(name, name): row[name] for name in row} for row in rows]
    for row in after["ledger"]:
        del row["told"]
    for row in after["topics"] + after["replies"]:
        row["visitor"] = None
    for row in after["products"]:
        row |= {"parent_id": None, "tax_rate": 1000, "needs_shipping": 1, "version": 1}
        row["position"] = row["id"]
    late = "delivery_id delivery_name delivery_countries packed_at carrier tracking"
    late = f"{late} erased_at".split()
    for row in after["orders"]:
        row |= {"delivery_amount": 0, "delivery_tax_rate": 0} | dict.fromkeys(late)
    late_columns = {"attempts": "slip_codes", "disputes": "due_at", "timeline": "who way"}
    for table, names in late_columns.items():
        for row in after[table]:
            row |= dict.fromkeys(names.split())
    for row in after["order_lines"]:
        row["tax_rate"] = 1000
    for row, (subject, kind, about) in zip(after["mails"], MAILS, strict=True):
        del row["order_id"]
        row |= {"subject": subject, "kind": kind, "about": about}
    return after


def check_second_mail_is_refused() -> None:
    mails = reflected().tables["mails"]
    for row in read()["mails"]:
        with pytest.raises(IntegrityError), db.engine.begin() as connection:
            connection.execute(mails.insert().values({**row, "id": row["id"] + 100}))


def run_killed(step: str, most: int) -> list[str] | None:
    """Upgrade, stopped before the statement after `most` that change something.

    Return those statements; None when the upgrade came to its end.
    """
    ran: list[str] = []

    def count(_conn: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.split()[0] in CHANGES:
            if len(ran) == most:
                raise Killed
            ran.append(f"{statement} {parameters}")

    event.listen(db.engine, "before_cursor_execute", count)
    try:
        bring_to(step)
    except Killed:
        return ran
    finally:
        event.remove(db.engine, "before_cursor_execute", count)
    return None


def run_killed_everywhere(step: str) -> set[str]:
    """Upgrade on MariaDB in many runs, each killed further on; return all statements."""
    seen: set[str] = set()
    most = KILL_EVERY
    while (ran := run_killed(step, most)) is not None:
        # The next run may have to take again what this one took.
        most = most + 1 if ran[-1] in seen else KILL_EVERY
        seen.update(ran)
    return seen


@pytest.mark.parametrize("kind", databases.ALL)
def test_the_schema_is_that_of_the_models(
    start: Callable[[str], Flask], schema_of_models: Callable[[str], dict[str, Any]], kind: str
) -> None:
    wanted = schema_of_models(kind)
    start(kind)
    upgrade()
    assert schema() == wanted


@pytest.mark.parametrize("kind", databases.ALL)
def test_rows_of_the_second_schema_are_kept(
    start: Callable[[str], Flask], schema_of_models: Callable[[str], dict[str, Any]], kind: str
) -> None:
    wanted = schema_of_models(kind)
    node = start(kind)
    bring_to("0002")
    fill()
    before = read()
    result = node.test_cli_runner().invoke(args=["shop", "init"])
    assert result.exit_code == 0, result.output
    assert result.output.startswith("Updating the database. Stop the shop's workers first")
    assert schema() == wanted
    assert read() == renamed(before)
    check_second_mail_is_refused()
    result = node.test_cli_runner().invoke(args=["shop", "mail", "list"])
    assert result.exit_code == 0, result.output


def test_an_upgrade_that_is_killed_is_taken_up_where_it_was(
    start: Callable[[str], Flask], schema_of_models: Callable[[str], dict[str, Any]]
) -> None:
    # MariaDB keeps each statement that alters a table.
    wanted = schema_of_models("mariadb")
    start("mariadb")
    ran = run_killed_everywhere("0002")
    fill()
    before = read()
    ran |= run_killed_everywhere(head())
    assert revision() == head()
    assert schema() == wanted
    assert read() == renamed(before)
    # MySQL knows this for tables alone.
    assert not [one for one in ran if re.search(r"(INDEX|COLUMN|KEY) IF (NOT )?EXISTS", one)]


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_an_upgrade_that_is_killed_leaves_nothing_behind(
    start: Callable[[str], Flask], schema_of_models: Callable[[str], dict[str, Any]], kind: str
) -> None:
    wanted = schema_of_models(kind)
    start(kind)
    bring_to("0002")
    fill()
    old_schema, before = schema(), read()
    for most in range(0, 1000, KILL_EVERY):
        if run_killed(head(), most) is None:
            break
        assert (revision(), schema(), read()) == ("0002", old_schema, before)
    assert most > 40
    assert schema() == wanted
    assert read() == renamed(before)


@contextmanager
def made_as(charset: str) -> Iterator[None]:
    """Let the database have this encoding, and make tables as the shop did before it cared."""

    def forget(table: Table, *_: Any, **__: Any) -> None:
        table.dialect_kwargs.pop("mysql_charset", None)

    with db.engine.begin() as connection:
        connection.execute(text(f"ALTER DATABASE CHARACTER SET {charset}"))
    event.listen(Table, "before_create", forget)
    try:
        yield
    finally:
        event.remove(Table, "before_create", forget)


@pytest.mark.parametrize("charset", ["latin1", "utf8mb3", "utf8mb4 COLLATE utf8mb4_bin"])
def test_a_database_made_in_another_encoding_takes_every_letter_after_the_upgrade(
    start: Callable[[str], Flask], schema_of_models: Callable[[str], dict[str, Any]], charset: str
) -> None:
    def comparable(found: dict[str, Any]) -> Any:
        # The database's own collation of utf8mb4 stays.
        text = json.dumps(found)
        return json.loads(re.sub("utf8mb4_(general_ci|bin)", "usual", text))

    wanted = schema_of_models("mariadb")
    node = start("mariadb")
    with made_as(charset):
        bring_to("0003")
    old = "INSERT INTO topics (id, name, comment, reply_count, created_at) VALUES "
    change(node, f"{old} (1, 'Bärbel', 'Grüße', 0, '2026-01-01')")
    if charset == "latin1":
        with pytest.raises(DataError):
            change(node, f"{old} (2, 'Aya', '綾 🍵', 0, '2026-01-01')")
    run_killed_everywhere(head())
    result = node.test_cli_runner().invoke(args=["shop", "init"])
    assert result.exit_code == 0, result.output
    assert comparable(schema()) == comparable(wanted)
    with db.engine.connect() as connection:
        encodings = connection.execute(
            text(
                "SELECT DISTINCT character_set_name FROM information_schema.columns"
                " WHERE table_schema = DATABASE() AND character_set_name IS NOT NULL"
            )
        )
        assert encodings.scalars().all() == ["utf8mb4"]
    browser = Browser(node)
    assert browser.submit("/", {"comment": "綾 🍵", "name": "あや"}).status == 303
    words = browser.get("/").words
    assert all(word in words for word in ("Grüße", "Bärbel", "綾 🍵", "あや"))


@pytest.mark.parametrize("charset", ["latin1", "utf8mb3"])
def test_a_new_shop_takes_every_letter_whatever_the_database_was_made_for(
    start: Callable[[str], Flask], schema_of_models: Callable[[str], dict[str, Any]], charset: str
) -> None:
    wanted = schema_of_models("mariadb")
    node = start("mariadb")
    with db.engine.begin() as connection:
        connection.execute(text(f"ALTER DATABASE CHARACTER SET {charset}"))
    browser = Browser(node)
    assert browser.submit("/", {"comment": "綾 🍵"}).status == 303
    assert "綾 🍵" in browser.get("/").words
    assert schema() == wanted


def test_tables_of_other_programs_are_left_as_they_are(start: Callable[[str], Flask]) -> None:
    node = start("mariadb")
    bring_to("0003")
    change(
        node,
        "CREATE TABLE posts (name varchar(255) CHARACTER SET latin1, `key` varchar(255)"
        " CHARACTER SET utf8mb4 COLLATE utf8mb4_bin) CHARSET latin1",
    )
    before = schema()["posts"]
    upgrade()
    assert schema()["posts"] == before


def test_an_upgrade_gives_up_while_another_process_upgrades(start: Callable[[str], Flask]) -> None:
    start("mariadb")

    def wait_less(_conn: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> Any:
        return re.sub(r"(GET_LOCK.*), 60", r"\1, 0", statement), parameters

    event.listen(db.engine, "before_cursor_execute", wait_less, retval=True)
    with db.engine.connect() as other:
        other.execute(text("SELECT GET_LOCK(SHA1(CONCAT('shop ', DATABASE())), 0)"))
        with pytest.raises(DatabaseBusy):
            upgrade()
        assert inspect(db.engine).get_table_names() == []
        other.execute(text("SELECT RELEASE_ALL_LOCKS()"))
    upgrade()
    assert revision() == head()
