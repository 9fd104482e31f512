"""A shop with its way to Stripe, and a WSGI app on a free port."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flask import Flask
from werkzeug.serving import make_server
from werkzeug.wsgi import ClosingIterator

from shop.catalog.products import get_product
from shop.db import db
from shop.mail.outbox import list_mails
from shop.orders.models import Order
from shop.sandbox import create_sandbox
from shop.sandbox.dispatcher import http_deliver
from tests.actors import Browser, Buyer, Switches
from tests.canaries import STRIPE_KEY, WEBHOOK_SECRET

HERE = "http://127.0.0.1:5000"


@dataclass
class Till:
    """A shop whose payments go over one of the two transports, and what a test does with it."""

    app: Flask
    sandbox: Switches
    base: str
    in_process: bool
    # Over sockets, what an answer sets off comes after it: events and mails.
    after_answer: Callable[[], None] | None = None

    @classmethod
    def mounted(cls, app: Flask) -> "Till":
        """Return the till of a shop that has the sandbox inside it."""
        return cls(app, Switches(Browser(app), f"{HERE}/sandbox"), HERE, in_process=True)

    @classmethod
    @contextmanager
    def standalone(cls, make_app: Callable[..., Flask], folder: Path) -> Iterator["Till"]:
        """Open a shop and a sandbox that reach each other over sockets."""
        with Served() as sandbox_server, Served() as shop_server:
            app = make_app(
                STRIPE_SECRET_KEY=STRIPE_KEY,
                STRIPE_WEBHOOK_SECRET=WEBHOOK_SECRET,
                STRIPE_API_BASE=sandbox_server.base,
            )
            sandbox_server.app = create_sandbox(
                folder / "sandbox.sqlite3",
                webhook_secret=WEBHOOK_SECRET,
                deliver=http_deliver(f"{shop_server.base}/payments/webhook"),
            )
            shop_server.app = app
            switches = Switches(Browser(base=sandbox_server.base), sandbox_server.base)

            def wait() -> None:
                switches.await_deliveries()
                shop_server.wait_until_idle()

            yield cls(app, switches, shop_server.base, in_process=False, after_answer=wait)

    def buyer(self) -> Buyer:
        """Return a new visitor, who does nothing more until all that a form sets off is done."""
        return Buyer(self.app if self.in_process else None, self.base, self.after_answer)

    def mails(self) -> list[dict[str, Any]]:
        """Return the outbox."""
        with self.app.app_context():
            return list_mails()

    def stock(self, slug: str) -> int | None:
        """Return how many of a product can still be sold."""
        with self.app.app_context():
            return get_product(slug).stock

    def orders(self) -> list[dict[str, Any]]:
        """Return all orders as their JSON."""
        with self.app.app_context():
            return [order.to_dict() for order in db.session.query(Order).order_by(Order.id)]


class Served:
    """A WSGI app on a free port of this machine; the app is given once the port is known."""

    app: Any = None

    def __init__(self) -> None:
        self._server: Any = make_server("127.0.0.1", 0, self._call, threaded=True)
        # Closing waits for what is still being answered, so that no test disturbs the next.
        self._server.daemon_threads = False
        self._answering = 0
        self._count = threading.Lock()
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

    def wait_until_idle(self) -> None:
        """Wait for what is done after an answer, such as sending a mail."""
        for _ in range(400):
            if not self._answering:
                return
            time.sleep(0.01)
        raise AssertionError("the server is still answering")

    def _call(self, environ: dict[str, Any], start_response: Any) -> Any:
        self._add(1)
        return ClosingIterator(self.app(environ, start_response), lambda: self._add(-1))

    def _add(self, number: int) -> None:
        with self._count:
            self._answering += number
