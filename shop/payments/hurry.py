"""How long Stripe is waited for: a visitor has 15 seconds, and so has the one worker there is."""

import time
from types import SimpleNamespace
from typing import Any

from flask import g, has_request_context

CONNECT_SECONDS = 3.0
ANSWER_SECONDS = 10.0
# All calls of one request together: a visitor waits 15 seconds at most.
REQUEST_SECONDS = 13.0
LEAST_SECONDS = 2.0


def time_left() -> tuple[float, float]:
    """Return the time-outs for connecting and answering, within what this request has left.

    Raises TimeoutError where that is not enough for an answer.
    """
    if not has_request_context():
        return CONNECT_SECONDS, ANSWER_SECONDS
    deadline = g.setdefault("stripe_deadline", time.monotonic() + REQUEST_SECONDS)
    left = deadline - time.monotonic()
    if left < LEAST_SECONDS:
        # Better not asked at all than asked and not listened to.
        raise TimeoutError("this request has no time left for Stripe")
    connect = min(CONNECT_SECONDS, left / 2)
    return connect, min(ANSWER_SECONDS, left - connect)


def hurried_session() -> Any:
    """Return a session of requests whose answers must be complete in time, not only begun.

    Its own time-out is for each piece of an answer: one byte a second would never end.
    """
    import requests

    class HurriedSession(requests.Session):
        def request(self, *args: Any, **options: Any) -> Any:
            until = time.monotonic() + ANSWER_SECONDS
            response = super().request(*args, **options | {"stream": True})
            content = bytearray()
            while piece := response.raw.read1(decode_content=True):
                content += piece
                if time.monotonic() > until:
                    response.close()
                    raise requests.exceptions.ReadTimeout("the answer did not end")
            return SimpleNamespace(
                content=bytes(content), status_code=response.status_code, headers=response.headers
            )

    return HurriedSession()
