"""What the suite proves in short, at length: `make deep`."""

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask

from tests import databases
from tests.databases import on_all
from tests.deep.processes import behind
from tests.deep.torture.run import torture
from tests.house import test_pages
from tests.house.test_fuzz import break_in
from tests.payments.test_concurrency import assert_each_is_fulfilled_once, fire
from tests.payments.test_money_machine import walk

Progress = Callable[[str], None]

KILLS = int(os.environ.get("TEST_KILLS", "60"))
REQUESTS = int(os.environ.get("TEST_REQUESTS", "20000"))
WALKS = int(os.environ.get("TEST_WALKS", "200"))
ORDERS = int(os.environ.get("TEST_ORDERS", "50"))
ANSWERS = int(os.environ.get("TEST_ANSWERS", "10000"))


@pytest.mark.parametrize("kind", databases.ALL)
def test_a_shop_that_is_killed_keeps_its_books(
    kind: str, tmp_path: Path, worker: str, progress: Progress
) -> None:
    seed = random.randrange(10**9)
    outcome = torture(kind, tmp_path, kills=KILLS, seed=seed, name=worker, progress=progress)
    assert not outcome.differences, "\n".join([str(outcome), *outcome.differences])
    assert outcome.kills.total() == KILLS


@pytest.mark.parametrize("kind", databases.ALL)
def test_the_books_agree(kind: str, filled_database: Path, progress: Progress) -> None:
    walk(kind, WALKS, random.randrange(10**9), filled_database, progress)


@on_all
def test_64_at_once_fulfil_each_order_once(
    database: str | None, tmp_path: Path, progress: Progress
) -> None:
    result = fire(database, tmp_path, ORDERS, progress=progress)
    assert_each_is_fulfilled_once(result, ORDERS)


@on_all
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_no_request_breaks_the_shop(
    app: Flask, tmp_path: Path, caplog: pytest.LogCaptureFixture, progress: Progress
) -> None:
    break_in(app, tmp_path, REQUESTS, progress)
    assert "Traceback" not in caplog.text


@on_all
def test_two_processes_show_nobody_a_stale_page(
    database: str | None, make_app: Callable[..., Flask], tmp_path: Path
) -> None:
    with (
        behind(make_app(), tmp_path, database) as here,
        behind(make_app(), tmp_path, database) as there,
    ):
        seed = random.randrange(10**9)
        test_pages.walk([here, there], make_app(), ANSWERS // test_pages.LOOKS, seed)
