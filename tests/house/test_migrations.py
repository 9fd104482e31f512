"""The schema: an empty database gets it, an old one waits for its owner, and it fits the models."""

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import event

from shop import create_app
from shop.db import Base, db
from shop.migrations import head, revision, upgrade
from tests.actors import Browser
from tests.pages import form_to, send

ROOT = Path(__file__).resolve().parents[2]
KEY = "for tests only, 32 characters or more"
Change = Callable[[str], None]


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Flask]:
    """A shop that was never started before."""
    app = create_app({"SECRET_KEY": KEY, "SHOP_DATA_DIR": tmp_path})
    yield app
    with app.app_context():
        db.engine.dispose()


@pytest.fixture
def change(tmp_path: Path) -> Change:
    """Return a function that changes the database behind the shop's back."""

    def run(statements: str) -> None:
        with closing(sqlite3.connect(tmp_path / "shop.sqlite3")) as connection:
            connection.executescript(statements)

    return run


def tables(folder: Path) -> set[str]:
    with closing(sqlite3.connect(folder / "shop.sqlite3")) as connection:
        return {
            row[0]
            for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        }


def test_an_empty_database_gets_its_schema_on_the_first_request(empty: Flask) -> None:
    browser = Browser(empty)
    assert browser.get("/").status == 200
    assert browser.submit("/", {"comment": "the first"}).status == 303
    assert "the first" in browser.get("/").words
    with empty.app_context():
        assert revision() == head()


def test_the_first_request_may_be_a_wrong_one(empty: Flask) -> None:
    assert Browser(empty).get("/nothing").status == 404
    assert Browser(empty).get("/").status == 200


@pytest.mark.parametrize("path", ["/healthz", "/static/shop.css"])
def test_what_needs_no_table_makes_none(empty: Flask, tmp_path: Path, path: str) -> None:
    assert Browser(empty).get(path).status == 200
    assert not (tmp_path / "shop.sqlite3").exists() or not tables(tmp_path)


def test_first_requests_at_once_make_one_schema(empty: Flask) -> None:
    answers: list[int] = []
    start = threading.Barrier(6)

    def visit() -> None:
        start.wait()
        answers.append(Browser(empty).get("/").status)

    threads = [threading.Thread(target=visit) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 6


VISIT = """
import sys
from shop import create_app
app = create_app({"SECRET_KEY": sys.argv[1], "SHOP_DATA_DIR": sys.argv[2]})
print("ready", flush=True)
sys.stdin.readline()
print(app.test_client().get("/", base_url="http://127.0.0.1").status_code)
"""


def test_processes_that_start_at_once_make_one_schema(tmp_path: Path) -> None:
    command = [sys.executable, "-c", VISIT, KEY, str(tmp_path)]
    workers = [
        subprocess.Popen(
            command,
            cwd=ROOT,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _ in range(3)
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("\n")
        worker.stdin.flush()
    for worker in workers:
        out, err = worker.communicate(timeout=60)
        assert (out, err) == ("200\n", "")
    assert "topics" in tables(tmp_path)


def refused(answer_of: Flask, words: str = "flask shop init") -> None:
    browser = Browser(answer_of)
    for answer in (browser.get("/"), browser.get("/shop/"), browser.get("/nothing")):
        assert answer.status == 503
        assert words in answer.words
        assert int(answer.headers["Retry-After"]) > 0
    assert browser.get("/", Accept="application/json").json["error"]["code"] == "schema"
    assert browser.get("/healthz").status == 200


@pytest.mark.parametrize(
    ("version", "words"),
    [("0000", "flask shop init"), ("9999", "newer version"), ("something", "newer version")],
)
def test_another_revision_waits_for_the_owner(
    empty: Flask, change: Change, version: str, words: str
) -> None:
    with empty.app_context():
        upgrade()
    change(f"UPDATE alembic_version SET version_num = '{version}'")
    refused(empty, words)


def test_tables_of_somebody_else_are_left_alone(
    empty: Flask, change: Change, tmp_path: Path
) -> None:
    change("CREATE TABLE wordpress_posts (id INTEGER PRIMARY KEY)")
    refused(empty)
    assert tables(tmp_path) == {"wordpress_posts"}


def test_a_shop_that_waited_opens_once_its_owner_ran_the_command(
    empty: Flask, change: Change
) -> None:
    change("CREATE TABLE wordpress_posts (id INTEGER PRIMARY KEY)")
    refused(empty)
    result = empty.test_cli_runner().invoke(args=["shop", "init"])
    assert result.exit_code == 0, result.output
    assert Browser(empty).get("/").status == 200


@pytest.mark.parametrize("version", ["0002", "0003"])
def test_init_warns_of_running_workers_where_it_updates_a_database(
    empty: Flask, change: Change, version: str
) -> None:
    run = empty.test_cli_runner()
    assert run.invoke(args=["shop", "init"]).output.startswith("Ready. ")
    change(f"UPDATE alembic_version SET version_num = '{version}'")
    lines = run.invoke(args=["shop", "init"]).output.splitlines()
    warning = (
        "Updating the database. Stop the shop's workers first if they still run: the old code "
        "cannot read the new tables."
    )
    assert lines[:-1] == ([warning] if version < head() else [])
    assert lines[-1].startswith("Ready. ")


def test_upgrading_again_changes_nothing(empty: Flask, tmp_path: Path) -> None:
    with empty.app_context():
        upgrade()
        browser = Browser(empty)
        browser.submit("/", {"comment": "kept"})
        before = tables(tmp_path)
        upgrade()
        assert (tables(tmp_path), revision()) == (before, head())
    assert "kept" in browser.get("/").words


def test_an_upgrade_that_fails_leaves_nothing_behind(
    empty: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("half way")

    with empty.app_context():
        with monkeypatch.context() as patch:
            patch.setattr("alembic.op.create_index", fail)
            with pytest.raises(RuntimeError, match="half way"):
                upgrade()
        assert tables(tmp_path) == set()
        upgrade()
        assert revision() == head()


def test_an_upgrade_looks_only_after_it_has_the_lock(empty: Flask, tmp_path: Path) -> None:
    # Else two processes find the same old version, and one of them fails over the other's tables.
    locked: list[bool] = []

    def look(_conn: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if not locked and not statement.startswith("BEGIN"):
            with closing(sqlite3.connect(tmp_path / "shop.sqlite3", timeout=0)) as other:
                try:
                    other.execute("BEGIN IMMEDIATE")
                    locked.append(False)
                except sqlite3.OperationalError:
                    locked.append(True)

    with empty.app_context():
        event.listen(db.engine, "before_cursor_execute", look)
        upgrade()
    assert locked == [True]


def test_foreign_keys_are_kept_after_an_upgrade(empty: Flask) -> None:
    with empty.app_context():
        upgrade()
        for _ in range(3):
            with db.engine.connect() as connection:
                assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1


def test_no_table_of_money_cascades(empty: Flask) -> None:
    for table in Base.metadata.tables.values():
        if table.name not in ("replies",):
            assert not [key for key in table.foreign_keys if key.ondelete or key.onupdate], (
                table.name
            )


def test_what_is_typed_outlives_an_update_of_the_shop(
    empty: Flask, change: Change, tmp_path: Path
) -> None:
    page = send(empty)
    form = form_to(page.text, "/")
    assert form is not None
    change("UPDATE alembic_version SET version_num = '0000'")
    restarted = create_app({"SECRET_KEY": KEY, "SHOP_DATA_DIR": tmp_path})
    cookie = page.headers["Set-Cookie"].split(";")[0]
    typed = form.fields | {"comment": "my words"}
    answer = send(restarted, method="POST", form=typed, cookie=cookie)
    assert answer.status == 503
    kept = form_to(answer.text, "/")
    assert kept is not None
    assert kept.fields["comment"] == "my words"
