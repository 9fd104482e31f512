"""The one place that speaks with Stripe. What comes out is plain and frozen, never the SDK's.

The SDK (https://github.com/stripe/stripe-python) is imported with the first call: most visitors
never cause one.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_type_hints

from flask import current_app

from shop.db import db
from shop.parsers import visible
from shop.payments.gateway.client import stripe_client
from shop.payments.gateway.errors import BadSignature as BadSignature
from shop.payments.gateway.errors import CardDeclined as CardDeclined
from shop.payments.gateway.errors import KeyInUse as KeyInUse
from shop.payments.gateway.errors import OutcomeUnknown as OutcomeUnknown
from shop.payments.gateway.errors import StripeRefused as StripeRefused
from shop.payments.gateway.errors import StripeUnreachable as StripeUnreachable
from shop.payments.gateway.objects import (
    MOST_ID,
    Charge,
    CheckoutSession,
    Dispute,
    Endpoint,
    Event,
    Refund,
    read_charge,
    read_dispute,
    read_endpoint,
    read_event,
    read_reference,
    read_refund,
    read_session,
)

if TYPE_CHECKING:
    import stripe


T = TypeVar("T")
# Stripe's code for what it does not have: deleted test data, or another account's.
UNKNOWN = "resource_missing"
# How Stripe's ids of charges begin; https://docs.stripe.com/api/charges
CHARGES = ("ch_", "py_")
PAGE_SIZE = 100
# What reading an answer that is not as documented ends in.
NONSENSE = (
    ArithmeticError, AttributeError, LookupError, OSError, RecursionError, TypeError, ValueError,
)  # fmt: skip
SIGNATURE_TOLERANCE_SECONDS = 300


class Listed(list[T]):
    """What Stripe listed; `unreadable` names what else was there."""

    unreadable: tuple[str, ...] = ()


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
            # Stripe repeats a stored error for a day, https://docs.stripe.com/api/idempotent_requests
            headers = {name.lower(): value for name, value in dict(error.headers or {}).items()}
            if headers.get("idempotent-replayed") != "true":
                raise
            raise StripeRefused("stored_error", "", is_about_request=True) from error
        session = read_session(answer)
        if session.url is None and session.status == "open":
            raise ValueError("an open session without its address")
        if session.reference != params["client_reference_id"]:
            raise ValueError("the session of another order")
        return session

    return _ask(call)


@cache
def shipping_countries() -> tuple[str, ...]:
    """Return the two letters of every country that Stripe takes an address in."""
    from stripe.params.checkout import SessionCreateParamsShippingAddressCollection

    hints = get_type_hints(SessionCreateParamsShippingAddressCollection)
    [either] = get_args(hints["allowed_countries"])
    codes = next(args for args in map(get_args, (either, *get_args(either))) if "JP" in args)
    return tuple(code for code in codes if isinstance(code, str) and len(code) == 2)


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


def list_charges(since: datetime) -> Listed[Charge]:
    """Return the charges made since then, newest first.

    Raises StripeRefused and StripeUnreachable. https://docs.stripe.com/api/charges/list
    """
    wanted = {"created": {"gte": int(since.timestamp())}}
    return _list(lambda client, after: client.v1.charges.list({**wanted, **after}), read_charge)  # type: ignore[arg-type]


def highest_number(shop_id: str, since: datetime) -> int:
    """Return the highest number of an order of this shop among sessions and charges since then.

    0 for none. Raises StripeRefused and StripeUnreachable.
    """

    def read(answer: Any) -> int:
        metadata = answer.to_dict(for_json=True).get("metadata") or {}
        return int(metadata["number"]) if metadata.get("shop") == shop_id else 0

    wanted: Any = {"created": {"gte": int(since.timestamp())}}
    charges = _list(lambda client, after: client.v1.charges.list(wanted | after), read)
    sessions = _list(lambda client, after: client.v1.checkout.sessions.list(wanted | after), read)
    return max([*charges, *sessions], default=0)


def list_events(since: datetime, before: datetime, types: Sequence[str]) -> Listed[Event]:
    """Return the events of these types in this span of time, oldest first.

    Stripe keeps them for 30 days. Raises StripeRefused and StripeUnreachable.
    https://docs.stripe.com/api/events/list
    """
    span = {"gte": int(since.timestamp()), "lt": int(before.timestamp())}
    wanted = {"created": span, "types": list(types)}
    found = _list(
        lambda client, after: client.v1.events.list({**wanted, **after}),  # type: ignore[arg-type]
        read_event,
    )
    found.reverse()
    return found


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


def naming(money_id: str) -> dict[str, str]:
    """Return how Stripe is told which payment is meant."""
    return {"charge" if money_id.startswith(CHARGES) else "payment_intent": money_id}


def list_refunds(of: Mapping[str, Any]) -> Listed[Refund]:
    """Return the refunds of a payment (`payment_intent` or `charge`).

    Raises StripeRefused and StripeUnreachable. https://docs.stripe.com/api/refunds/list
    """
    return _list(lambda client, after: client.v1.refunds.list({**of, **after}), read_refund)  # type: ignore[arg-type]


def retrieve_dispute(dispute_id: str) -> Dispute:
    """Return the dispute as Stripe has it now; raises StripeRefused and StripeUnreachable."""
    return _ask(
        lambda client: _same(read_dispute(client.v1.disputes.retrieve(dispute_id)), dispute_id)
    )


def list_disputes(of: Mapping[str, Any]) -> Listed[Dispute]:
    """Return the disputes of a payment, as list_refunds() does."""
    return _list(lambda client, after: client.v1.disputes.list({**of, **after}), read_dispute)  # type: ignore[arg-type]


def find_reference(payment_intent: str) -> str | None:
    """Return the reference of the order that a payment intent was made for, if it is one's of ours.

    Raises StripeRefused and StripeUnreachable.
    """
    return _ask(lambda client: read_reference(client.v1.payment_intents.retrieve(payment_intent)))


def list_endpoints() -> Listed[Endpoint]:
    """Return the webhook endpoints of the account, as list_refunds() does.

    https://docs.stripe.com/api/webhook_endpoints
    """
    return _list(
        lambda client, after: client.v1.webhook_endpoints.list({**after}),  # type: ignore[arg-type]
        read_endpoint,
    )


def create_endpoint(url: str, types: Sequence[str], key: str) -> Endpoint:
    """Have Stripe send events of these types to `url`, in the version of the API that we read.

    The answer to the creation alone has the secret. Raises StripeRefused and StripeUnreachable.
    """
    params = {"url": url, "enabled_events": list(types), "api_version": api_version()}
    return _ask(
        lambda client: read_endpoint(
            client.v1.webhook_endpoints.create(params, {"idempotency_key": key})  # type: ignore[arg-type]
        )
    )


def update_endpoint(endpoint_id: str, types: Sequence[str]) -> None:
    """Have Stripe send events of these types to an endpoint, switched on again if it was off."""
    params = {"enabled_events": list(types), "disabled": False}
    _ask(lambda client: client.v1.webhook_endpoints.update(endpoint_id, params))  # type: ignore[arg-type]


def delete_endpoint(endpoint_id: str) -> None:
    """Have Stripe send nothing to an endpoint any more."""
    _ask(lambda client: client.v1.webhook_endpoints.delete(endpoint_id))


def cause_event(params: Mapping[str, Any]) -> None:
    """Open a Checkout Session and end it unpaid, so that Stripe has an event to send."""

    def call(client: "stripe.StripeClient") -> None:
        session = client.v1.checkout.sessions.create(params)  # type: ignore[arg-type]
        client.v1.checkout.sessions.expire(session.id)

    _ask(call)


@cache
def api_version() -> str:
    """Return the version of Stripe's API that the SDK reads."""
    import stripe

    return str(stripe.api_version)


def verify_event(body: bytes, signature: str | None, secrets: Iterable[str]) -> tuple[Event, str]:
    """Return the event that Stripe signed, and which of the secrets it signed with.

    Raises BadSignature for anything else, however broken.
    https://docs.stripe.com/webhooks#verify-official-libraries
    """
    import stripe

    try:
        for secret in secrets:
            with suppress(stripe.SignatureVerificationError):
                event = stripe_client().construct_event(
                    body, signature, secret, SIGNATURE_TOLERANCE_SECONDS
                )
                return read_event(event), secret
        raise ValueError("signed with none of the shop's secrets")
    # The SDK itself fails over what anybody may post here: a signature that is not ASCII
    # (TypeError), a body that is no UTF-8 or no JSON (ValueError), no object (AttributeError).
    except (ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
        raise BadSignature("This is no message from Stripe.") from error


def _list(
    call: Callable[["stripe.StripeClient", Mapping[str, Any]], Any], read: Callable[[Any], T]
) -> Listed[T]:
    """Return all things of a list, page by page; one that cannot be read stops no others.

    Each page is a call of its own, so that a long list ends with the time of its request.
    """
    found: Listed[T] = Listed()
    where: dict[str, Any] = {"limit": PAGE_SIZE}

    def read_page(client: "stripe.StripeClient") -> bool:
        page = call(client, where)
        for thing in page.data:
            try:
                found.append(read(thing))
            except NONSENSE as error:
                current_app.logger.warning("Stripe listed what cannot be read: %r", error)
                kind, own_id = (getattr(thing, name, None) for name in ("object", "id"))
                found.unreadable += (f"{kind} {own_id or 'without an id'}"[:MOST_ID],)
        has_more = getattr(page, "has_more", False) is True
        if has_more:
            where["starting_after"] = page.data[-1].id
        return has_more

    while _ask(read_page):
        pass
    return found


def _same(found: T, wanted: str) -> T:
    if found.id != wanted:  # type: ignore[attr-defined]
        raise ValueError("another object than the one asked for")
    return found


def _ask(
    call: Callable[["stripe.StripeClient"], T],
    *,
    may_decline: bool = False,
    timeout: tuple[float, float] | None = None,
) -> T:
    if db.session().in_transaction():
        raise RuntimeError("a transaction is open while Stripe is asked")
    import stripe

    try:
        return call(stripe_client(timeout))
    except stripe.CardError as error:
        if not may_decline:
            raise StripeUnreachable from error
        reason = error.error and visible(error.error.decline_code)
        raise CardDeclined(reason or visible(error.code) or "generic_decline") from error
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
        if isinstance(error, stripe.APIError) and error.http_status == 409:
            raise KeyInUse from error
        nothing = (stripe.APIConnectionError, stripe.RateLimitError, TimeoutError)
        raise StripeUnreachable(is_silent=isinstance(error, nothing)) from error
