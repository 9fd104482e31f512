"""A hand on the wire to Stripe: sees each request of the shop and may change the answers."""

import json
from collections.abc import Callable
from typing import Any

from flask import Flask

Answer = tuple[bytes, int, dict[str, str]]


class Wire:
    """Stands between a shop and its sandbox; `change` is given each answered session."""

    def __init__(self, app: Flask) -> None:
        self.requests: list[str] = []
        self.change: Callable[[dict[str, Any]], Any] = lambda answer: answer
        # (method, status, code): what every such request is refused with.
        self.refuse: tuple[str, int, str] | None = None
        self._ask = app.extensions["stripe_wsgi"]
        app.extensions["stripe_wsgi"] = self

    def __call__(self, method: str, url: str, headers: Any, data: Any) -> Any:
        self.requests.append(f"{method.upper()} {url.partition('/v1')[2]}")
        if self.refuse and self.refuse[0] == method.upper():
            error = {"type": "invalid_request_error", "code": self.refuse[2], "message": "no"}
            return json.dumps({"error": error}).encode(), self.refuse[1], {}
        body, status, answer_headers = self._ask(method, url, headers, data)
        changed = self.change(json.loads(body)) if status == 200 else json.loads(body)
        return json.dumps(changed).encode(), status, answer_headers
