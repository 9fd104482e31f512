"""Mounts the sandbox under `/sandbox` of a shop; the two call each other without a socket."""

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from werkzeug.datastructures import Headers
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.test import EnvironBuilder, run_wsgi_app
from werkzeug.wsgi import ClosingIterator, get_host

from . import create_sandbox
from .dispatcher import Undeliverable
from .faults import Application

WEBHOOK_PATH = "/payments/webhook"
# Only the sandbox's pages and API make events; what is due for other reasons can wait so long.
SECONDS_BETWEEN_LOOKS = 1


class Mount:
    """WSGI app: the shop, with its own sandbox at `/sandbox`.

    `public_url` is the shop's address in browsers; without it, the address of the latest request,
    and before the first one `latest_url`.
    """

    def __init__(
        self,
        shop: Application,
        database: Path,
        *,
        webhook_secret: str,
        public_url: str | None,
        latest_url: str = "http://127.0.0.1:5000",
        control_allowed: Callable[[Mapping[str, Any]], bool],
        secret_keys: Collection[str] | None,
        host_allowed: Callable[[str], bool],
    ) -> None:
        self._shop = shop
        self._public_url = public_url
        self._host_allowed = host_allowed
        self._root: ContextVar[str] = ContextVar("root", default=public_url or latest_url)
        self._sandbox = create_sandbox(
            database,
            webhook_secret=webhook_secret,
            webhook_url=public_url and public_url + WEBHOOK_PATH,
            deliver=lambda *event: self.deliver_to(self._root.get() + WEBHOOK_PATH, *event),
            deliver_to=self.deliver_to,
            control_allowed=control_allowed,
            secret_keys=secret_keys,
        )
        self._dispatch = DispatcherMiddleware(shop, {"/sandbox": self._sandbox})
        self._next_look = 0.0

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """Answer the request; deliver events once the response is sent."""
        host = get_host(environ)
        if not self._host_allowed(host):
            return self._shop(environ, start_response)
        here = f"{environ['wsgi.url_scheme']}://{host}{environ.get('SCRIPT_NAME', '')}"
        self._root.set(self._public_url or here)
        if environ.get("PATH_INFO", "").startswith("/sandbox"):
            self._next_look = 0.0
        return ClosingIterator(self._dispatch(environ, start_response), self.deliver_due)

    def ask(
        self, method: str, url: str, headers: Mapping[str, str], data: Any
    ) -> tuple[bytes, int, Headers]:
        """Answer an API request of the shop; return body, status and headers.

        Raises OSError, as a socket would, where the switch `control/api` says so.
        """
        self._next_look = 0.0
        parts = urlsplit(url)
        builder = EnvironBuilder(
            parts.path,
            base_url=self._root.get() + "/sandbox",
            query_string=parts.query,
            method=method.upper(),
            headers=Headers(dict(headers)),
            data=data,
            environ_overrides={"shop.in_process": True},
        )
        return self._run(self._sandbox, builder)

    def deliver_to(self, url: str, body: bytes, signature: str) -> int:
        """Post an event to an address of the shop and return the HTTP status."""
        root = self._root.get()
        if not url.startswith(f"{root}/"):
            raise Undeliverable("the sandbox inside the shop delivers to this shop only")
        builder = EnvironBuilder(
            url.removeprefix(root),
            base_url=root,
            method="POST",
            headers=Headers({"Stripe-Signature": signature}),
            content_type="application/json",
            data=body,
        )
        return self._run(self._shop, builder)[1]

    def deliver_due(self) -> None:
        """Deliver the events that are due, when the last look at them is a moment ago."""
        if time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + SECONDS_BETWEEN_LOOKS
            self._sandbox.extensions["sandbox"].deliver_due()

    def _run(self, app: Application, builder: EnvironBuilder) -> tuple[bytes, int, Headers]:
        environ = builder.get_environ()
        builder.close()
        chunks, status, headers = run_wsgi_app(app, environ, buffered=True)
        return b"".join(chunks), int(status.split()[0]), headers
