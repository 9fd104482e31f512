"""The connection to Stripe, and how long an answer is waited for."""

import os
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from flask import current_app, g, has_request_context

if TYPE_CHECKING:
    import stripe


CONNECT_SECONDS = 3.0
ANSWER_SECONDS = 10.0
# All calls of one request together: a visitor waits 15 seconds at most.
REQUEST_SECONDS = 13.0
LEAST_SECONDS = 2.0


def _time_left() -> tuple[float, float]:
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


def stripe_client(timeout: tuple[float, float] | None = None) -> "stripe.StripeClient":
    # A new client, and so a new connection, for each call: one kept from an hour ago is often dead,
    # and a visitor's request does not try twice.
    os.environ.pop("STRIPE_LOG", None)  # prints what is posted, card tokens too, past our filters
    import stripe

    stripe.enable_telemetry = False  # it would write a file into a home that hosts may not have
    config = current_app.config
    http: stripe.HTTPClient
    if "stripe_wsgi" in current_app.extensions:
        http = _in_process_client(current_app.extensions["stripe_wsgi"])
        return stripe.StripeClient("sk_test_sandbox", http_client=http, max_network_retries=0)
    http = stripe.RequestsClient(timeout=timeout or _time_left())
    base = config["STRIPE_API_BASE"]
    return stripe.StripeClient(
        config["STRIPE_SECRET_KEY"] or "sk_test_none",
        base_addresses={"api": base} if base else None,
        http_client=http,
        max_network_retries=0,
    )


def _in_process_client(call_wsgi: Callable[..., Any]) -> "stripe.HTTPClient":
    """Return a transport without a socket to the sandbox: one worker cannot wait for itself."""
    import stripe

    class InProcessClient(stripe.HTTPClient):
        name = "in-process"

        def request(
            self,
            method: str,
            url: str,
            headers: Mapping[str, str] | None,
            post_data: Any = None,
            *,
            _usage: Any = None,
        ) -> tuple[str, int, Mapping[str, str]]:
            try:
                return call_wsgi(method, url, headers or {}, post_data)  # type: ignore[no-any-return]
            except OSError as error:
                raise stripe.APIConnectionError(f"sandbox: {error!r}") from error  # type: ignore[no-untyped-call]

    return InProcessClient()
