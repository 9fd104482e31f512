"""What one sandbox app is made of."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from flask import Response, current_app, request

from . import clock
from .dispatcher import Dispatcher
from .store import Store


@dataclass(frozen=True)
class State:
    """A sandbox's parts: its memory, its dispatcher, and whom it lets do what."""

    store: Store
    dispatcher: Dispatcher
    control_allowed: Callable[[Mapping[str, Any]], bool] | None
    secret_keys: Collection[str] | None

    def deliver_due(self) -> int:
        """Do what the clock says is due, deliver the events and return how many were answered.

        Call it when no database transaction is open and the visitor has the answer.
        """
        if self.dispatcher.busy:
            return 0
        clock.tick(self.store)
        return self.dispatcher.deliver_due()


def current_state() -> State:
    """Return the current app's sandbox."""
    state: State = current_app.extensions["sandbox"]
    return state


def deliver_afterwards(response: Response) -> Response:
    """Do and deliver what is due once the answer is out, unless the caller does."""
    if not request.environ.get("shop.in_process"):
        response.call_on_close(current_state().deliver_due)
    return response
