"""The schema on PostgreSQL and MariaDB, where other programs and other nodes are connected too."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from flask import Flask
from sqlalchemy import inspect, text

from shop import create_app, migrations
from shop.db import Base, db
from shop.migrations import head, revision, upgrade
from shop.orders.models import Order, email_key
from tests import databases
from tests.actors import Browser


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


def test_the_schema_fits_the_models(make_node: Callable[[], Flask]) -> None:
    with make_node().app_context():
        upgrade()
        with db.engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": _same_type})
            assert compare_metadata(context, Base.metadata) == []


def test_a_step_that_was_killed_half_way_can_be_run_again(make_node: Callable[[], Flask]) -> None:
    node = make_node()
    with node.app_context():
        upgrade()
        whole = set(inspect(db.engine).get_table_names())
    change(node, "UPDATE alembic_version SET version_num = '0002'", "DROP TABLE key_values")
    with node.app_context():
        upgrade()
        assert revision() == head()
        assert set(inspect(db.engine).get_table_names()) == whole


def test_orders_of_the_first_schema_are_kept_however_long_their_address(
    make_node: Callable[[], Flask],
) -> None:
    node = make_node()
    bring_to(node, "0001")
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
        assert [(entry.state, entry.acknowledged) for entry in kept.ledger] == [("succeeded", True)]


def bring_to(node: Flask, step: str) -> None:
    with node.app_context():
        migrations._load_flask_migrate(node)
        command.upgrade(node.extensions["migrate"].migrate.get_config(), step)


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


def _same_type(_c: Any, _i: Any, _m: Any, found: Any, wanted: Any) -> bool:
    """Tell Alembic whether a column differs: by its kind, not by how a dialect spells it."""
    impl = getattr(wanted, "impl_instance", wanted)
    return found._type_affinity is not impl._type_affinity and not _is_boolean(found, impl)


def _is_boolean(found: Any, wanted: Any) -> bool:
    return "BOOL" in str(wanted).upper() and "TINYINT" in str(found).upper()
