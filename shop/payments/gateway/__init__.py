"""The one place that speaks with Stripe. What comes out is plain and frozen, never the SDK's.

The SDK (https://github.com/stripe/stripe-python) is imported with the first call: most visitors
never cause one.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from flask import current_app

from shop.db import db
from shop.payments.gateway.client import stripe_client
from shop.payments.gateway.errors import BadSignature as BadSignature
from shop.payments.gateway.errors import CardDeclined as CardDeclined
from shop.payments.gateway.errors import KeyInUse as KeyInUse
from shop.payments.gateway.errors import StripeRefused as StripeRefused
from shop.payments.gateway.errors import StripeUnreachable as StripeUnreachable
from shop.payments.gateway.objects import (
    Charge,
    CheckoutSession,
    Dispute,
    Event,
    Refund,
    read_charge,
    read_dispute,
    read_event,
    read_order,
    read_refund,
    read_session,
)

if TYPE_CHECKING:
    import stripe


T = TypeVar("T")
PAGE_SIZE = 100
MOST_LISTED = 2000
# What reading an answer that is not as documented ends in.
NONSENSE = (
    ArithmeticError, AttributeError, LookupError, OSError, RecursionError, TypeError, ValueError,
)  # fmt: skip
SIGNATURE_TOLERANCE_SECONDS = 300
# More than a session of this shop lives, and two clocks differ by.
SESSION_SECONDS = 3600


def create_session(params: Mapping[str, Any], key: str) -> CheckoutSession:
    """Create the Checkout Session that is paid under this idempotency key, or get it again.

    Raises StripeRefused (nothing was created) or StripeUnreachable (perhaps it was).
    https://docs.stripe.com/api/checkout/sessions/create
    """
    import stripe

    def call(client: "stripe.StripeClient") -> CheckoutSession:
        try:
            answer = client.v1.checkout.sessions.create(params, {"idempotency_key": key})  # type: ignore[arg-type]
        except stripe.APIError as error:
            if not _is_replayed(error):
                raise
            answer = _find_session(client, params, key)
        session = read_session(answer)
        if session.url is None and session.status == "open":
            raise ValueError("an open session without its address")
        if session.reference != params["client_reference_id"]:
            raise ValueError("the session of another order")
        return session

    return _ask(call)


def _is_replayed(error: "stripe.StripeError") -> bool:
    """Tell whether Stripe only repeats the error of the first time, as it does for a day.

    https://docs.stripe.com/api/idempotent_requests
    """
    headers = {name.lower(): value for name, value in dict(error.headers or {}).items()}
    return headers.get("idempotent-replayed") == "true"


def _find_session(client: "stripe.StripeClient", params: Mapping[str, Any], key: str) -> Any:
    """Return what was created before an error was answered; raises StripeRefused for nothing."""
    since = int(params["expires_at"]) - SESSION_SECONDS
    page = client.v1.checkout.sessions.list({"created": {"gte": since}, "limit": PAGE_SIZE})
    for session in islice(page.auto_paging_iter(), MOST_LISTED):
        if getattr(session.metadata, "attempt", None) == key:
            return session
    raise StripeRefused("nothing_created", "", is_about_request=True)


def retrieve_session(session_id: str) -> CheckoutSession:
    """Return the session as Stripe has it now; raises StripeRefused and StripeUnreachable."""

    def call(client: "stripe.StripeClient") -> CheckoutSession:
        found = client.v1.checkout.sessions.retrieve(session_id, {"expand": ["payment_intent"]})
        return _same(read_session(found), session_id)

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
    return _ask(lambda client: _same(read_charge(client.v1.charges.retrieve(charge_id)), charge_id))


def made_since(moment: datetime) -> Any:
    """Return how Stripe's lists are asked for what was made since then."""
    return {"created": {"gte": int(moment.timestamp())}}


def list_charges(since: datetime) -> list[Charge]:
    """Return the charges made since then, newest first; raises StripeRefused, StripeUnreachable."""
    wanted = made_since(since) | {"limit": PAGE_SIZE}
    return _list(lambda client: client.v1.charges.list(wanted), read_charge)


def list_sessions(since: datetime) -> list[CheckoutSession]:
    """Return the completed sessions made since then; raises StripeRefused, StripeUnreachable."""
    wanted = made_since(since) | {"limit": PAGE_SIZE, "status": "complete"}
    return _list(lambda client: client.v1.checkout.sessions.list(wanted), read_session)


def create_refund(params: Mapping[str, Any], key: str) -> Refund:
    """Give money back under this idempotency key, or get the refund of it again.

    Raises StripeRefused (nothing was given back) or StripeUnreachable (perhaps it was).
    https://docs.stripe.com/api/refunds/create
    """

    def call(client: "stripe.StripeClient") -> Refund:
        refund = read_refund(
            client.v1.refunds.create(params, {"idempotency_key": key})  # type: ignore[arg-type]
        )
        if refund.amount != params["amount"]:
            raise ValueError("the refund of another amount")
        return refund

    return _ask(call)


def retrieve_refund(refund_id: str) -> Refund:
    """Return the refund as Stripe has it now; raises StripeRefused and StripeUnreachable."""
    return _ask(lambda client: _same(read_refund(client.v1.refunds.retrieve(refund_id)), refund_id))


def list_refunds(of: Mapping[str, Any]) -> list[Refund]:
    """Return the refunds of a payment (`payment_intent` or `charge`), or `created` since when.

    Raises StripeRefused and StripeUnreachable. https://docs.stripe.com/api/refunds/list
    """
    return _list(lambda client: client.v1.refunds.list({**of, "limit": PAGE_SIZE}), read_refund)  # type: ignore[arg-type]


def retrieve_dispute(dispute_id: str) -> Dispute:
    """Return the dispute as Stripe has it now; raises StripeRefused and StripeUnreachable."""
    return _ask(
        lambda client: _same(read_dispute(client.v1.disputes.retrieve(dispute_id)), dispute_id)
    )


def list_disputes(of: Mapping[str, Any]) -> list[Dispute]:
    """Return the disputes of a payment, or `created` since when, as list_refunds() does."""
    return _list(lambda client: client.v1.disputes.list({**of, "limit": PAGE_SIZE}), read_dispute)  # type: ignore[arg-type]


def find_order(payment_intent: str) -> str | None:
    """Return the uid of the order that a payment intent was made for, None for somebody else's.

    Raises StripeRefused and StripeUnreachable.
    """
    return _ask(lambda client: read_order(client.v1.payment_intents.retrieve(payment_intent)))


def verify_event(body: bytes, signature: str | None) -> Event:
    """Return the event that Stripe signed; raises BadSignature for anything else, however broken.

    https://docs.stripe.com/webhooks#verify-official-libraries
    """
    import stripe

    try:
        event = stripe_client().construct_event(
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


def _list(
    call: Callable[["stripe.StripeClient"], Any], read: Callable[[Any], T], most: int = MOST_LISTED
) -> list[T]:
    """Return the newest `most` things of a list, page by page."""

    def run(client: "stripe.StripeClient") -> list[T]:
        page = call(client)
        # Another server's list of one page need not say that there is no second.
        several = getattr(page, "has_more", False)
        things = page.auto_paging_iter() if several else page.data
        return [read(thing) for thing in islice(things, most)]

    return _ask(run)


def _same(found: T, wanted: str) -> T:
    if found.id != wanted:  # type: ignore[attr-defined]
        raise ValueError("another object than the one asked for")
    return found


def _ask(call: Callable[["stripe.StripeClient"], T], *, may_decline: bool = False) -> T:
    if db.session().in_transaction():
        raise RuntimeError("a transaction is open while Stripe is asked")
    import stripe

    try:
        return call(stripe_client())
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
        raise _unreachable(error) from error


def _unreachable(error: Exception) -> StripeUnreachable:
    import stripe

    if isinstance(error, stripe.APIError) and error.http_status == 409:
        return KeyInUse()
    nothing = (stripe.APIConnectionError, stripe.RateLimitError, TimeoutError)
    return StripeUnreachable(is_silent=isinstance(error, nothing))
