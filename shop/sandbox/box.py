"""What one sandbox app is made of."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from flask import Response, current_app, request

from . import clock
from .events import Courier
from .store import Store


@dataclass(frozen=True)
class Sandbox:
    """A sandbox's parts: its memory, its courier, and whom it lets do what."""

    store: Store
    courier: Courier
    control_allowed: Callable[[Mapping[str, Any]], bool] | None
    secret_keys: Collection[str] | None

    def deliver_due(self) -> int:
        """Do what the clock says is due, deliver the events and return how many were answered.

        Call it when no database transaction is open and the visitor has the answer.
        """
        if self.courier.busy:
            return 0
        clock.tick(self.store)
        return self.courier.deliver_due()


def sandbox() -> Sandbox:
    """Return the current app's sandbox."""
    box: Sandbox = current_app.extensions["sandbox"]
    return box


def deliver_afterwards(response: Response) -> Response:
    """Do and deliver what is due once the answer is out, unless the caller does."""
    if not request.environ.get("shop.in_process"):
        response.call_on_close(sandbox().deliver_due)
    return response
