"""The shops that the tests use. Each test has its own, with its own database."""

import logging
import os
import shutil
from collections.abc import Callable, Generator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from shop import create_app
from shop.db import db
from shop.demo import fill
from shop.migrations import upgrade
from tests import canaries, databases, post_office, templates
from tests.actors import Browser
from tests.canaries import SECRET_KEY, WEBHOOK_SECRET
from tests.outbox import OWNER, Outbox, outbox_of
from tests.post_office import PostOffice
from tests.till import Served, Till

# Every test has a new app, and every app would compile the same again.
Flask.jinja_options = {"bytecode_cache": templates.Compiled()}
templates.keep_builders()
templates.keep_statements()
# What tests import from here.
__all__ = ["WEBHOOK_SECRET", "Served", "Till"]


def pytest_configure() -> None:
    """Keep the tests' files in memory where there is much of it: SQLite waits for every disk."""
    memory = Path("/dev/shm")
    if memory.is_dir() and shutil.disk_usage(memory).free > 2 * 1024**3:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(memory))


@pytest.fixture(autouse=True)
def _talkative() -> Iterator[None]:
    """Have every logger say all it can, whatever a test is about."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.DEBUG)
    yield
    root.setLevel(level)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test in whose run a secret was logged, or printed where nobody took it."""
    report = yield
    said = [text for name, text in report.sections if name.endswith(report.when or "")]
    leaks = canaries.found_in("\n".join(said))
    if leaks and report.passed:
        report.outcome = "failed"
        report.longrepr = "\n".join(["Secrets were logged or printed:", *leaks])
    return report


@pytest.fixture(scope="session")
def filled_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with the newest schema and the sample goods, to be copied."""
    folder = tmp_path_factory.mktemp("filled")
    app = create_app({"SECRET_KEY": SECRET_KEY, "SHOP_DATA_DIR": folder})
    with app.app_context():
        upgrade()
        fill()
    return folder / "shop.sqlite3"


@pytest.fixture
def database(request: pytest.FixtureRequest, tmp_path: Path, filled_database: Path) -> str | None:
    """The address of this test's own database: SQLite, unless the test runs on all of them."""
    kind = getattr(request, "param", None)
    if kind is not None:
        request.node.user_properties.append(("database", kind))
    return databases.fresh(kind or "sqlite", tmp_path, filled_database)


@pytest.fixture(scope="session")
def worker(request: pytest.FixtureRequest) -> str:
    """The name of this test process among those that run side by side."""
    return str(getattr(request.config, "workerinput", {}).get("workerid", "alone"))


@pytest.fixture
def make_app(tmp_path: Path, database: str | None) -> Iterator[Callable[..., Flask]]:
    """Return a function that makes a shop over this test's database, with these settings."""
    made: list[Flask] = []

    def make(**settings: Any) -> Flask:
        given = {"SECRET_KEY": SECRET_KEY, "SHOP_DATA_DIR": tmp_path, "TESTING": True}
        app = create_app(given | {"DATABASE_URL": database} | settings)
        # A view that breaks is a 500 page here too, as the visitor would see it.
        app.config["PROPAGATE_EXCEPTIONS"] = False
        made.append(app)
        return app

    yield make
    for app in made:
        with app.app_context():
            db.engine.dispose()


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    """A shop in sandbox mode."""
    return make_app(SHOP_OWNER_EMAIL="owner@shop.example")


@pytest.fixture
def browser(app: Flask) -> Browser:
    """A visitor of that shop."""
    return Browser(app)


@pytest.fixture
def office() -> Iterator[PostOffice]:
    """A mail server of this test's own."""
    with post_office.opened() as office:
        yield office


@pytest.fixture
def mailing(make_app: Callable[..., Flask], office: PostOffice) -> Flask:
    """A shop whose mail goes to that server."""
    return make_app(MAIL_URL=office.url, SHOP_OWNER_EMAIL=OWNER, SHOP_MAIL_FROM="shop@shop.example")


@pytest.fixture
def outbox(mailing: Flask) -> Outbox:
    """The outbox of that shop, which has one order that nobody paid."""
    return outbox_of(mailing)


@pytest.fixture
def settings() -> dict[str, str]:
    """Settings of the till beside the usual; a test module may have its own."""
    return {}


@pytest.fixture
def till(
    request: pytest.FixtureRequest,
    make_app: Callable[..., Flask],
    settings: dict[str, str],
    database: str | None,
    tmp_path: Path,
) -> Iterator[Till]:
    """A shop with the sandbox inside it; over a server, one that reaches it through sockets."""
    settings = {"SHOP_OWNER_EMAIL": "owner@shop.example"} | settings
    transport = "standalone" if database else "mounted"
    if getattr(request, "param", transport) == "mounted":
        yield Till.mounted(make_app(**settings))
        return
    with Till.standalone(partial(make_app, **settings), tmp_path) as till:
        yield till


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what is marked `on_all` on each database."""
    databases.parametrize(metafunc)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests that take longest: no process is to wait for one of them at the end."""
    items[:] = databases.needed(items)
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish() -> None:
    """Leave no database behind."""
    databases.drop_all()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say how many tests passed on each database: 0 would say that a server was not there."""
    counts = dict.fromkeys(databases.ALL, 0)
    for report in terminalreporter.stats.get("passed", []):
        for name, value in report.user_properties:
            if name == "database":
                counts[value] += 1
    if any(counts.values()):
        said = ", ".join(f"{name} {count}" for name, count in counts.items())
        terminalreporter.write_line(f"Passed on each database: {said}")
