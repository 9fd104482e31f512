"""Faults between a client and the API, as the switch `control/api` sets them."""

import json
import socket
import sqlite3
import time
from collections.abc import Callable, Iterable
from typing import Any

from werkzeug.test import run_wsgi_app

from .errors import ApiError, ServerError
from .store import Store

# The modes of the switch, explained for the control page.
MODES = {
    "ok": "all is well",
    "rate_limit": "429, too many requests",
    "error": "500, and nothing happens",
    "garbage": "200, but no JSON",
    "slow": "the answer takes too long",
    "refuse": "nobody answers",
    "lost": "it happens, but the answer does not arrive",
}
TOO_MANY = "Too many requests hit the API too quickly. Please retry with back-off."
# Status, type and body of the modes that answer without running the request.
ANSWERS = {
    "rate_limit": (
        "429 Too Many Requests",
        "application/json",
        json.dumps(ApiError(429, TOO_MANY, code="rate_limit").body()),
    ),
    "error": (
        "500 Internal Server Error",
        "application/json",
        json.dumps(ServerError(500, "An unknown error occurred").body()),
    ),
    "garbage": ("200 OK", "text/html", "<html>It works!"),
}
LONGEST_SECONDS = 120

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Faults:
    """WSGI middleware that passes API requests on, or spoils them as the switch says."""

    def __init__(self, app: Application, store: Store) -> None:
        self._app = app
        self._store = store

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        mode, seconds = "ok", 0
        if environ.get("PATH_INFO", "").startswith("/v1/"):
            try:
                mode, seconds = self._next_mode()
            except sqlite3.OperationalError:  # a folder that cannot be written, a full disk
                mode = "error"
        if mode in ANSWERS:
            status, kind, body = ANSWERS[mode]
            start_response(status, [("Content-Type", kind), ("Content-Length", str(len(body)))])
            return [body.encode()]
        if mode == "refuse":
            return _hang_up(environ, start_response, ConnectionRefusedError("connection refused"))
        if mode == "slow" and environ.get("shop.in_process"):
            raise TimeoutError("the sandbox did not answer in time")
        if mode == "slow":
            time.sleep(seconds)
        if mode == "lost":
            run_wsgi_app(self._app, environ, buffered=True)
            return _hang_up(environ, start_response, ConnectionResetError("connection reset"))
        return self._app(environ, start_response)

    def _next_mode(self) -> tuple[str, int]:
        """Return the mode for this call; one set for a number of calls counts down to "ok"."""
        with self._store.read() as tx:
            mode, times = tx.setting("api_mode", "ok"), tx.setting("api_times", 0)
            seconds = tx.setting("api_seconds", 30)
        if mode == "ok" or not times:
            return mode, seconds
        with self._store.write() as tx:
            # A call in another thread may have been the last one meanwhile.
            mode, left = tx.setting("api_mode", "ok"), tx.setting("api_times", 0) - 1
            if mode != "ok" and left >= 0:
                tx.set({"api_times": left, "api_mode": mode if left else "ok"})
        return mode, seconds


def _hang_up(
    environ: dict[str, Any], start_response: Callable[..., Any], error: OSError
) -> list[bytes]:
    """Close the socket without a response; in process, raise what a socket would."""
    if environ.get("shop.in_process"):
        raise error
    connection = environ.get("werkzeug.socket") or environ.get("gunicorn.socket")
    if isinstance(connection, socket.socket):
        connection.shutdown(socket.SHUT_RDWR)
    # A server that does not show its socket sends this instead.
    start_response("503 Service Unavailable", [("Content-Length", "0"), ("Connection", "close")])
    return [b""]
