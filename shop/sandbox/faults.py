"""Bad weather between the client and the API: the switch `control/api`."""

import json
import socket
import time
from collections.abc import Callable, Iterable
from typing import Any

from .errors import ApiError, ServerError
from .store import Store

# How a call is answered, and what that means.
MODES = {
    "ok": "all is well",
    "rate_limit": "429, too many requests",
    "error": "500, and nothing happens",
    "garbage": "200, but no JSON",
    "slow": "the answer takes too long",
    "refuse": "nobody answers",
    "lost": "it happens, but the answer does not arrive",
}
LONGEST_SECONDS = 120

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Faults:
    """WSGI middleware that lets API requests through, or does to them what the switch says."""

    def __init__(self, app: Application, store: Store) -> None:
        self._app = app
        self._store = store

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        mode, seconds = "ok", 0
        if environ.get("PATH_INFO", "").startswith("/v1/"):
            mode, seconds = self._weather()
        in_process = bool(environ.get("shop.in_process"))
        if mode == "rate_limit":
            text = "Too many requests hit the API too quickly. Please retry with back-off."
            return _send(start_response, "429 Too Many Requests",
                         ApiError(429, text, code="rate_limit").body())  # fmt: skip
        if mode == "error":
            text = "An unknown error occurred"
            return _send(start_response, "500 Internal Server Error", ServerError(500, text).body())
        if mode == "garbage":
            return _send(start_response, "200 OK", "<html>It works!")
        if mode == "refuse":
            return _hang_up(environ, start_response, ConnectionRefusedError("connection refused"))
        if mode == "slow" and in_process:
            raise TimeoutError("the sandbox did not answer in time")
        if mode == "slow":
            time.sleep(seconds)
        if mode == "lost":
            self._do_silently(environ)
            return _hang_up(environ, start_response, ConnectionResetError("connection reset"))
        return self._app(environ, start_response)

    def _weather(self) -> tuple[str, int]:
        """Return the switch's position; a position set for a number of calls counts down."""
        with self._store.read() as tx:
            mode, times = tx.setting("api_mode", "ok"), tx.setting("api_times", 0)
            seconds = tx.setting("api_seconds", 30)
        if mode == "ok" or not times:
            return mode, seconds
        with self._store.write() as tx:
            # Another call may have used up the last of them meanwhile.
            mode, left = tx.setting("api_mode", "ok"), tx.setting("api_times", 0) - 1
            if mode != "ok" and left >= 0:
                tx.set({"api_times": left, "api_mode": mode if left else "ok"})
        return mode, seconds

    def _do_silently(self, environ: dict[str, Any]) -> None:
        answer = self._app(environ, lambda *_: lambda _: None)
        b"".join(answer)
        close = getattr(answer, "close", None)
        if close:
            close()


def _send(start_response: Callable[..., Any], status: str, body: Any) -> list[bytes]:
    text = body if isinstance(body, str) else json.dumps(body)
    kind = "text/html" if isinstance(body, str) else "application/json"
    data = text.encode()
    start_response(status, [("Content-Type", kind), ("Content-Length", str(len(data)))])
    return [data]


def _hang_up(
    environ: dict[str, Any], start_response: Callable[..., Any], error: OSError
) -> list[bytes]:
    """End the connection unanswered: raise in process, close the socket where there is one."""
    if environ.get("shop.in_process"):
        raise error
    connection = environ.get("werkzeug.socket") or environ.get("gunicorn.socket")
    if isinstance(connection, socket.socket):
        connection.shutdown(socket.SHUT_RDWR)
    start_response("503 Service Unavailable", [("Content-Length", "0"), ("Connection", "close")])
    return [b""]
