"""What a page may cost, told without a clock: statements, scans, modules."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import event

from shop.db import db
from tests.actors import Browser, Buyer

# Not for a visitor who only looks: each costs start-up time or memory.
HEAVY = ["stripe", "requests", "alembic", "flask_migrate", "PIL", "aiohttp", "pygal"]


@contextmanager
def statements(app: Flask) -> Iterator[list[tuple[str, Any]]]:
    """Collect what is sent to the database, transactions' own statements left out."""
    seen: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if not statement.startswith(("BEGIN", "PRAGMA")):
            seen.append((statement, parameters))

    with app.app_context():
        engine = db.engine
    event.listen(engine, "before_cursor_execute", note)
    yield seen
    event.remove(engine, "before_cursor_execute", note)


@pytest.mark.parametrize(
    ("path", "most"),
    [
        ("/", 2),
        ("/?before=2", 2),
        ("/shop/", 3),
        ("/shop/t-shirt", 5),
        ("/topics/1", 2),
        ("/cart", 2),
    ],
)
def test_a_page_asks_the_database_little(app: Flask, path: str, most: int) -> None:
    browser = Browser(app)
    browser.get("/")
    with statements(app) as seen:
        assert browser.get(path).status == 200
    assert len(seen) <= most, [statement for statement, _ in seen]


def test_a_full_cart_asks_no_more_for_more_goods(app: Flask) -> None:
    browser = Browser(app)
    for product in (1, 2, 3, 4):
        browser.submit("/cart/items", {"product_id": product, "quantity": 1})
    with statements(app) as seen:
        assert browser.get("/cart").status == 200
    assert len(seen) <= 7, [statement for statement, _ in seen]


def test_no_page_reads_or_counts_a_whole_table(app: Flask) -> None:
    buyer = Buyer(app)
    token = buyer.buy()
    buyer.submit("/cart/items", {"product_id": 2, "quantity": 1})
    with statements(app) as seen:
        for path in ("/", "/?before=3", "/shop/", "/shop/t-shirt", "/topics/1", "/cart"):
            assert buyer.get(path).status == 200
        buyer.see(token)
        buyer.order(3, 1)
        buyer.submit("/", {"comment": "One more"})
        buyer.submit("/topics/1/replies", {"comment": "And an answer"})
    assert len(seen) > 10
    with app.app_context(), db.engine.connect() as connection:
        for statement, parameters in seen:
            assert "count(*)" not in statement.lower(), statement
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            scans = [row for row in plan.fetchall() if str(row[3]).startswith("SCAN")]
            assert not scans or "LIMIT" in statement, (statement, scans)


def test_a_visitor_who_looks_around_loads_nothing_heavy(tmp_path: Path) -> None:
    program = (
        "import sys; from shop import create_app;"
        f"app = create_app({{'SHOP_DATA_DIR': {str(tmp_path)!r}}});"
        "client = app.test_client();"
        "client.get('/');"  # an empty database gets its schema here, with all that takes
    )
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, "-c", program], check=True, env=environ)
    look = f"print([name for name in {HEAVY} if name in sys.modules])"
    pages = "[client.get(p).get_data() for p in ('/', '/shop/', '/cart', '/topics/1')];"
    found = subprocess.run(
        [sys.executable, "-c", program + pages + look],
        check=True, env=environ, capture_output=True, text=True,
    )  # fmt: skip
    assert found.stdout.strip() == "[]"
