"""The parts of one sandbox app, and how its views reach them."""

import sqlite3
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from flask import Response, current_app, request

from . import clock
from .dispatcher import Dispatcher
from .store import Store


@dataclass(frozen=True)
class State:
    """The store, the dispatcher of events, and who may use the control page and the API."""

    store: Store
    dispatcher: Dispatcher
    control_allowed: Callable[[Mapping[str, Any]], bool] | None
    secret_keys: Collection[str] | None

    def deliver_due(self) -> int:
        """Run what is due on the clock, deliver the events and return how many were answered.

        Call it with no database transaction open, and after the visitor has the response.
        """
        if self.dispatcher.delivering:
            return 0
        try:
            clock.tick(self.store)
        except sqlite3.OperationalError:  # a folder that cannot be written; the page is out already
            return 0
        return self.dispatcher.deliver_due()


def current_state() -> State:
    """Return the state of the app that handles this request."""
    state: State = current_app.extensions["sandbox"]
    return state


def deliver_after_response(response: Response) -> Response:
    """Deliver events once the response is sent; an in-process caller does so itself."""
    if not request.environ.get("shop.in_process"):
        response.call_on_close(current_state().deliver_due)
    return response
