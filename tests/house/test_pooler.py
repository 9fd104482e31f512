"""A pooler between the shop and PostgreSQL, which gives each transaction another server process."""

import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import make_url, text
from sqlalchemy.exc import ProgrammingError

from shop.db import db
from tests import databases
from tests.actors import Buyer

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
SETTINGS = """
[databases]
shop = host={url.host} port={port} dbname={url.database} user={url.username}{password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {own_port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 4
server_reset_query =
"""


@pytest.fixture
def pooled(tmp_path: Path, filled_database: Path) -> Iterator[str]:
    """The address of a pooler in front of this test's database."""
    if PROGRAM is None:
        databases.missing("pgbouncer is not installed")
    url = make_url(databases.fresh("postgresql", tmp_path, filled_database) or "")
    password = f" password={url.password}" if url.password else ""
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        own_port = probe.getsockname()[1]
    with ExitStack() as stack:
        # Started by root, it works as somebody else, who may not look into pytest's folder.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o755)
        settings = folder / "pgbouncer.ini"
        values = {"url": url, "port": url.port or 5432, "password": password, "own_port": own_port}
        settings.write_text(SETTINGS.format(**values) + careless(str(PROGRAM)))
        somebody = ["-u", "nobody"] if os.geteuid() == 0 else []
        pooler = stack.enter_context(
            subprocess.Popen(
                [str(PROGRAM), "-q", *somebody, str(settings)],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        )
        stack.callback(pooler.terminate)
        wait_until_open(own_port, pooler)
        yield f"postgresql://shop@127.0.0.1:{own_port}/shop?pgbouncer=true"


def careless(program: str) -> str:
    """Return the setting by which a newer pooler does not care for prepared statements either."""
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    version = re.search(r"(\d+)\.(\d+)", said)
    assert version, said
    knows = (int(version[1]), int(version[2])) >= (1, 21)
    return "max_prepared_statements = 0\n" * knows


def wait_until_open(port: int, server: subprocess.Popen[bytes]) -> None:
    for _ in range(200):
        assert server.poll() is None, "the pooler has ended"
        with closing(socket.socket()) as knock:
            if knock.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    pytest.fail("the pooler does not listen")


def test_orders_through_a_pooler_are_all_taken(pooled: str, make_app: Callable[..., Flask]) -> None:
    app = make_app(DATABASE_URL=pooled)

    def order(_: int) -> list[int]:
        buyer = Buyer(app)
        for product in (1, 2, 4):
            buyer.submit("/cart/items", {"product_id": product, "quantity": 1})
        answers = [
            buyer.submit("/payments/session", {}, Accept="application/json") for _ in range(4)
        ]
        return [answer.status for answer in answers]

    with ThreadPoolExecutor(6) as pool:
        statuses = [status for each in pool.map(order, range(12)) for status in each]
    assert statuses == [201] * 48


def test_the_pooler_of_these_tests_loses_prepared_statements(
    pooled: str, make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Else the other test could not fail.
    app = make_app(DATABASE_URL=pooled)
    with app.app_context(), db.engine.connect() as one, db.engine.connect() as other:
        one.connection.driver_connection.prepare_threshold = 0  # type: ignore[union-attr]
        one.execute(text("SELECT 1"))
        one.commit()
        other.execute(text("SELECT 1"))  # has the process that `one` had
        with pytest.raises(ProgrammingError, match="does not exist"):
            one.execute(text("SELECT 1"))
