"""The one place that speaks with Stripe. What comes out is plain and frozen, never the SDK's.

The SDK (https://github.com/stripe/stripe-python) is imported with the first call: most visitors
never cause one.
"""

import os
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from itertools import islice
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeVar

from flask import current_app, g, has_request_context
from flask_babel import gettext as _

from shop.errors import ShopError
from shop.extensions import db
from shop.payments.facts import (
    Charge,
    CheckoutSession,
    Event,
    read_charge,
    read_event,
    read_session,
)

if TYPE_CHECKING:
    import stripe

T = TypeVar("T")
CONNECT_SECONDS = 3.0
ANSWER_SECONDS = 10.0
# All calls of one request together: a visitor waits 15 seconds at most.
REQUEST_SECONDS = 13.0
LEAST_SECONDS = 2.0
MOST_CHARGES = 1000
# What reading an answer that is not as documented ends in.
NONSENSE = (
    ArithmeticError, AttributeError, LookupError, OSError, RecursionError, TypeError, ValueError,
)  # fmt: skip
SIGNATURE_TOLERANCE_SECONDS = 300


class StripeUnreachable(ShopError):
    """Stripe did not answer, or not sensibly: what was asked may or may not have happened."""

    status = 503
    code = "stripe_unreachable"

    def __init__(self, message: str = "", *, order: str | None = None) -> None:
        super().__init__(
            message
            or _(
                "We cannot reach the payment service just now. Nothing was charged; please try "
                "again in a minute."
            ),
            order=order,
        )


class StripeRefused(Exception):
    """Stripe said no to a call. `code` is Stripe's own.

    `is_about_request`: it looked at what was asked, so nothing of it was done. Otherwise (a key
    that is not valid, say) nobody knows what became of an earlier call with the same key.
    """

    def __init__(self, code: str, message: str, *, is_about_request: bool) -> None:
        super().__init__(message)
        self.code = code
        self.is_about_request = is_about_request


class CardDeclined(Exception):
    """The bank or Stripe turned the card down. `reason` is Stripe's decline code, or its code.

    https://docs.stripe.com/declines/codes
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class BadSignature(ShopError):
    """What came to the webhook is not a fresh message signed by Stripe."""

    code = "bad_signature"


def create_session(params: Mapping[str, Any], key: str) -> CheckoutSession:
    """Create the Checkout Session that is paid under this idempotency key, or get it again.

    Raises StripeRefused (nothing was created) or StripeUnreachable (perhaps it was).
    https://docs.stripe.com/api/checkout/sessions/create
    """

    def call(client: "stripe.StripeClient") -> CheckoutSession:
        session = read_session(
            client.v1.checkout.sessions.create(params, {"idempotency_key": key})  # type: ignore[arg-type]
        )
        if session.url is None and session.status == "open":
            raise ValueError("an open session without its address")
        if session.reference != params["client_reference_id"]:
            raise ValueError("the session of another order")
        return session

    return _ask(call)


def retrieve_session(session_id: str) -> CheckoutSession:
    """Return the session as Stripe has it now; raises StripeRefused and StripeUnreachable."""

    def call(client: "stripe.StripeClient") -> CheckoutSession:
        session = read_session(
            client.v1.checkout.sessions.retrieve(session_id, {"expand": ["payment_intent"]})
        )
        if session.id != session_id:
            raise ValueError("another session than the one asked for")
        return session

    return _ask(call)


def expire_session(session_id: str) -> None:
    """Make the session unpayable; raises StripeRefused where it is not open any more.

    https://docs.stripe.com/api/checkout/sessions/expire
    """
    _ask(lambda client: client.v1.checkout.sessions.expire(session_id))


def create_charge(params: Mapping[str, Any], key: str) -> Charge:
    """Charge a card token under this idempotency key, or get the charge of it again.

    Raises CardDeclined, StripeRefused (nothing was charged) or StripeUnreachable (perhaps it was).
    https://docs.stripe.com/api/charges/create
    """
    return _ask(
        lambda client: read_charge(
            client.v1.charges.create(params, {"idempotency_key": key})  # type: ignore[arg-type]
        ),
        may_decline=True,
    )


def retrieve_charge(charge_id: str) -> Charge:
    """Return the charge as Stripe has it now; raises StripeRefused and StripeUnreachable."""

    def call(client: "stripe.StripeClient") -> Charge:
        charge = read_charge(client.v1.charges.retrieve(charge_id))
        if charge.id != charge_id:
            raise ValueError("another charge than the one asked for")
        return charge

    return _ask(call)


def find_charge(key: str, since: datetime) -> Charge | None:
    """Return the charge that was made under an attempt's key, looked for among those since then.

    Raises StripeRefused and StripeUnreachable.
    """

    def call(client: "stripe.StripeClient") -> Charge | None:
        page = client.v1.charges.list({"created": {"gte": int(since.timestamp())}, "limit": 100})
        charges = (read_charge(charge) for charge in islice(page.auto_paging_iter(), MOST_CHARGES))
        return next((charge for charge in charges if charge.attempt == key), None)

    return _ask(call)


def verify_event(body: bytes, signature: str | None) -> Event:
    """Return the event that Stripe signed; raises BadSignature for anything else, however broken.

    https://docs.stripe.com/webhooks#verify-official-libraries
    """
    import stripe

    client = _client()
    try:
        event = client.construct_event(
            body,
            signature,
            current_app.config["STRIPE_WEBHOOK_SECRET"],
            SIGNATURE_TOLERANCE_SECONDS,
        )
        return read_event(event)
    # The SDK itself fails over what anybody may post here: a signature that is not ASCII
    # (TypeError), a body that is no UTF-8 or no JSON (ValueError), no object (AttributeError).
    except (
        stripe.SignatureVerificationError,
        ValueError,
        TypeError,
        AttributeError,
        LookupError,
        RecursionError,
    ) as error:
        raise BadSignature("This is no message from Stripe.") from error


def _ask(call: Callable[["stripe.StripeClient"], T], *, may_decline: bool = False) -> T:
    if db.session().in_transaction():
        raise RuntimeError("a transaction is open while Stripe is asked")
    import stripe

    try:
        return call(_client())
    except stripe.CardError as error:
        if not may_decline:
            raise StripeUnreachable from error
        reason = (error.error and error.error.decline_code) or error.code or "generic_decline"
        raise CardDeclined(reason) from error
    except (
        stripe.InvalidRequestError,
        stripe.IdempotencyError,
        stripe.AuthenticationError,
        stripe.PermissionError,
    ) as error:
        current_app.logger.warning("Stripe refused: %s", error)
        raise StripeRefused(
            error.code or type(error).__name__,
            error.user_message or "",
            is_about_request=isinstance(error, stripe.InvalidRequestError),
        ) from error
    except (stripe.StripeError, *NONSENSE) as error:
        current_app.logger.warning("Stripe did not answer sensibly: %r", error)
        raise StripeUnreachable from error


def _client() -> "stripe.StripeClient":
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
    http = stripe.RequestsClient(timeout=_time_left(), session=_hurried_session())
    base = config["STRIPE_API_BASE"]
    return stripe.StripeClient(
        config["STRIPE_SECRET_KEY"] or "sk_test_none",
        base_addresses={"api": base} if base else None,
        http_client=http,
        max_network_retries=0,
    )


def _time_left() -> tuple[float, float]:
    """Return the time-outs for connecting and answering, within what this request has left."""
    if not has_request_context():
        return CONNECT_SECONDS, ANSWER_SECONDS
    deadline = g.setdefault("stripe_deadline", time.monotonic() + REQUEST_SECONDS)
    left = deadline - time.monotonic()
    if left < LEAST_SECONDS:
        # Better not asked at all than asked and not listened to.
        raise StripeUnreachable
    connect = min(CONNECT_SECONDS, left / 2)
    return connect, min(ANSWER_SECONDS, left - connect)


def _hurried_session() -> Any:
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
