"""The shops that the tests use. Each test has its own, with its own database."""

import logging
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from werkzeug.serving import make_server

from shop import create_app
from shop.db import db
from shop.demo import fill
from shop.migrations import upgrade
from shop.sandbox import create_sandbox
from shop.sandbox.dispatcher import http_deliver
from tests import canaries, databases, post_office
from tests.actors import Browser, Buyer, Switches
from tests.canaries import SECRET_KEY, STRIPE_KEY, WEBHOOK_SECRET
from tests.outbox import OWNER, Outbox, outbox_of
from tests.post_office import PostOffice


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
def database(
    request: pytest.FixtureRequest, tmp_path: Path, filled_database: Path, worker: str
) -> str | None:
    """The address of this test's own database: SQLite, unless the test asks for another kind."""
    kind = getattr(request, "param", None)
    if kind is not None:
        request.node.user_properties.append(("database", kind))
    return databases.fresh(kind or "sqlite", tmp_path, filled_database, worker)


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


@dataclass
class Till:
    """A shop whose payments go over one of the two transports, and what a test does with it."""

    app: Flask
    sandbox: Switches
    base: str
    in_process: bool

    def buyer(self) -> Buyer:
        """Return a new visitor."""
        return Buyer(self.app if self.in_process else None, self.base)

    def mails(self) -> list[dict[str, Any]]:
        """Return the outbox."""
        from shop.mail.outbox import list_mails

        with self.app.app_context():
            return list_mails()

    def stock(self, slug: str) -> int | None:
        """Return how many of a product can still be sold."""
        from shop.catalog.products import get_product

        with self.app.app_context():
            return get_product(slug).stock

    def orders(self) -> list[dict[str, Any]]:
        """Return all orders as their JSON."""
        from shop.db import db
        from shop.orders.models import Order

        with self.app.app_context():
            return [order.to_dict() for order in db.session.query(Order).order_by(Order.id)]


@pytest.fixture
def settings() -> dict[str, str]:
    """Settings of the till beside the usual; a test module may have its own."""
    return {}


@pytest.fixture(params=["mounted", "standalone"])
def till(
    request: pytest.FixtureRequest,
    make_app: Callable[..., Flask],
    settings: dict[str, str],
    tmp_path: Path,
) -> Iterator[Till]:
    """A shop with the sandbox inside it, and one that reaches the sandbox over sockets."""
    settings = {"SHOP_OWNER_EMAIL": "owner@shop.example"} | settings
    if request.param == "mounted":
        app = make_app(**settings)
        base = "http://127.0.0.1:5000"
        yield Till(app, Switches(Browser(app), f"{base}/sandbox"), base, in_process=True)
        return
    with Served() as sandbox_server, Served() as shop_server:
        app = make_app(
            STRIPE_SECRET_KEY=STRIPE_KEY,
            STRIPE_WEBHOOK_SECRET=WEBHOOK_SECRET,
            STRIPE_API_BASE=sandbox_server.base,
            **settings,
        )
        sandbox_server.app = create_sandbox(
            tmp_path / "sandbox.sqlite3",
            webhook_secret=WEBHOOK_SECRET,
            deliver=http_deliver(f"{shop_server.base}/payments/webhook"),
        )
        shop_server.app = app
        switches = Switches(Browser(base=sandbox_server.base), sandbox_server.base)
        yield Till(app, switches, shop_server.base, in_process=False)


class Served:
    """A WSGI app on a free port of this machine; the app is given once the port is known."""

    app: Any = None

    def __init__(self) -> None:
        self._server: Any = make_server("127.0.0.1", 0, self._call, threaded=True)
        # Closing waits for what is still being answered, so that no test disturbs the next.
        self._server.daemon_threads = False
        self.base = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.01,), daemon=True
        )

    def __enter__(self) -> "Served":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _call(self, environ: dict[str, Any], start_response: Any) -> Any:
        return self.app(environ, start_response)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests that take longest: no process is to wait for one of them at the end."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say how many tests passed on each database: the counts are to be equal."""
    counts = dict.fromkeys(databases.ALL, 0)
    for report in terminalreporter.stats.get("passed", []):
        for name, value in report.user_properties:
            if name == "database":
                counts[value] += 1
    if any(counts.values()):
        said = ", ".join(f"{name} {count}" for name, count in counts.items())
        terminalreporter.write_line(f"Passed on each database: {said}")
