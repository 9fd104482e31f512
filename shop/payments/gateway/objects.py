"""What Stripe says, as plain frozen values. `answers` reads them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

# https://docs.stripe.com/api/disputes/object#dispute_object-status
DISPUTE_CLOSED = ("won", "lost", "warning_closed", "prevented")


@dataclass(frozen=True)
class Slip:
    """What a customer pays at a konbini counter with."""

    url: str | None
    expires_at: datetime | None


@dataclass(frozen=True)
class CheckoutSession:
    """A Checkout Session. `amount` is in minor units; `attempt` is the key it was asked for with.

    https://docs.stripe.com/api/checkout/sessions/object
    """

    id: str
    status: str
    payment_status: str
    url: str | None
    amount: int | None
    currency: str | None
    reference: str | None
    attempt: str | None
    livemode: bool
    payment_intent: str | None
    intent_status: str | None
    email: str | None
    slip: Slip | None

    @property
    def is_paid(self) -> bool:
        """Whether Stripe has the money."""
        return self.status == "complete" and self.payment_status == "paid"

    @property
    def is_awaited(self) -> bool:
        """Whether the customer has done their part and the money is still to come."""
        return self.status == "complete" and self.payment_status == "unpaid" and not self._failed

    @property
    def is_over(self) -> bool:
        """Whether no money will come through this session any more."""
        return self.status == "expired" or (self.status == "complete" and self._failed)

    @property
    def money_id(self) -> str:
        """Stripe's id of the money, under which the ledger knows it."""
        return self.payment_intent or self.id

    @property
    def _failed(self) -> bool:
        failed = self.intent_status in ("requires_payment_method", "canceled")
        return failed and self.payment_status == "unpaid"


@dataclass(frozen=True)
class Charge:
    """A charge of a card token. `amount` is in minor units.

    https://docs.stripe.com/api/charges/object
    """

    id: str
    is_paid: bool
    is_over: bool
    amount: int | None
    currency: str | None
    reference: str | None
    attempt: str | None
    livemode: bool
    email: str | None
    is_awaited = False
    slip = None
    url = None

    @property
    def money_id(self) -> str:
        """Stripe's id of the money, under which the ledger knows it."""
        return self.id


Facts = CheckoutSession | Charge


@dataclass(frozen=True)
class Refund:
    """Money that goes back. `key` is that of the ledger where it was asked for here.

    https://docs.stripe.com/api/refunds/object
    """

    id: str
    state: str
    amount: int
    currency: str
    key: str | None
    payment: tuple[str, ...]


@dataclass(frozen=True)
class Dispute:
    """A payment that the cardholder's bank takes back. `amount` is in minor units.

    https://docs.stripe.com/api/disputes/object
    """

    id: str
    state: str
    amount: int
    currency: str
    reason: str
    payment: tuple[str, ...]

    @property
    def is_closed(self) -> bool:
        """Whether nothing will change any more."""
        return self.state in DISPUTE_CLOSED


@dataclass(frozen=True)
class Event:
    """A verified event: a hint that something happened to `object_id`, to be asked for again.

    What else it says of its object is empty where it does not say it.
    https://docs.stripe.com/api/events/object
    """

    id: str
    type: str
    object_id: str
    reference: str = ""
    attempt: str = ""
    order: str = ""
    payment_intent: str = ""
    charge: str = ""


MOST_ID = 255
MOST_ADDRESS = 5000
# What the ledger calls each of Stripe's: who has to claim the money still gets it.
REFUND_STATES = {"requires_action": "pending"} | {
    state: state for state in ("pending", "succeeded", "failed", "canceled")
}


def read_session(answer: Any) -> CheckoutSession:
    """Return the SDK's session as a plain value."""
    data = answer.to_dict(for_json=True)
    url = _text_or_none(data, "url", MOST_ADDRESS)
    if url is not None and not url.startswith(("https://", "http://")):
        raise ValueError("the session's address is no web address")
    intent = _expanded(data.get("payment_intent"))
    paid = data["payment_status"] == "paid"
    return CheckoutSession(
        id=_text(data, "id"),
        status=_text_or_none(data, "status") or ("complete" if paid else "open"),
        payment_status=_text(data, "payment_status"),
        url=url,
        amount=_whole_or_none(data, "amount_total"),
        currency=_text_or_none(data, "currency"),
        reference=_label(data, "client_reference_id"),
        attempt=_label(data.get("metadata") or {}, "attempt"),
        livemode=data["livemode"] is True,
        payment_intent=_text_or_none(intent, "id"),
        intent_status=_text_or_none(intent, "status"),
        email=_text_or_none(data.get("customer_details") or {}, "email"),
        slip=_read_slip(intent.get("next_action")),
    )


def read_charge(answer: Any) -> Charge:
    """Return the SDK's charge as a plain value."""
    data = answer.to_dict(for_json=True)
    return Charge(
        id=_text(data, "id"),
        is_paid=data["paid"] is True and data["status"] == "succeeded",
        is_over=data["status"] == "failed",
        amount=_whole_or_none(data, "amount"),
        currency=_text_or_none(data, "currency"),
        reference=_label(data.get("metadata") or {}, "order"),
        attempt=_label(data.get("metadata") or {}, "attempt"),
        livemode=data["livemode"] is True,
        email=_text_or_none(data, "receipt_email"),
    )


def read_refund(answer: Any) -> Refund:
    """Return the SDK's refund as a plain value; one that waits for the customer is pending."""
    data = answer.to_dict(for_json=True)
    state = _text(data, "status")
    if state not in REFUND_STATES:
        raise ValueError(f"no such state of a refund: {state}")
    return Refund(
        id=_text(data, "id"),
        state=REFUND_STATES[state],
        amount=_whole(data, "amount"),
        currency=_text(data, "currency"),
        key=_label(data.get("metadata") or {}, "refund"),
        payment=_payment(data),
    )


def read_dispute(answer: Any) -> Dispute:
    """Return the SDK's dispute as a plain value."""
    data = answer.to_dict(for_json=True)
    return Dispute(
        id=_text(data, "id"),
        state=_text(data, "status"),
        amount=_whole(data, "amount"),
        currency=_text(data, "currency"),
        reason=_text_or_none(data, "reason") or "general",
        payment=_payment(data),
    )


def read_order(answer: Any) -> str | None:
    """Return the uid of the order that the SDK's payment intent or charge was made for."""
    metadata = answer.to_dict(for_json=True).get("metadata") or {}
    return _label(metadata, "order")


def read_event(answer: Any) -> Event:
    """Return the SDK's event as a plain value; of its object only the id must be readable."""
    data = answer.to_dict(for_json=True)
    subject = data["data"]["object"]
    own_id = _text_or_none(subject, "id") or ""
    metadata = subject.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    is_charge = subject.get("object") == "charge"
    return Event(
        id=_text(data, "id"),
        type=_text(data, "type"),
        object_id=own_id,
        reference=_hint(subject.get("client_reference_id")),
        attempt=_hint(metadata.get("attempt")),
        order=_hint(metadata.get("order")),
        payment_intent=_hint(_expanded(subject.get("payment_intent"))["id"]),
        charge=own_id if is_charge else _hint(_expanded(subject.get("charge"))["id"]),
    )


def _payment(data: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the ids of the money that an object is about, as the ledger may know it."""
    named = (_expanded(data.get(name)).get("id") for name in ("payment_intent", "charge"))
    return tuple(found for found in named if found and isinstance(found, str))


def _expanded(value: Any) -> dict[str, Any]:
    """Return an object that Stripe sends whole or as its id."""
    return value if isinstance(value, dict) and "id" in value else {"id": value}


def _hint(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _read_slip(action: Any) -> Slip | None:
    """Return the konbini slip; https://docs.stripe.com/payments/konbini/accept-a-payment."""
    details = (action or {}).get("konbini_display_details")
    if not details:
        return None
    expires = _whole_or_none(details, "expires_at")
    url = _text_or_none(details, "hosted_voucher_url", MOST_ADDRESS)
    safe = url is not None and url.startswith(("https://", "http://"))
    return Slip(url if safe else None, datetime.fromtimestamp(expires, UTC) if expires else None)


def _text(data: Mapping[str, Any], name: str, most: int = MOST_ID) -> str:
    value = data[name]
    if not isinstance(value, str) or not 0 < len(value) <= most or not value.isprintable():
        raise ValueError(f"{name} is no text")
    return value


def _text_or_none(data: Mapping[str, Any], name: str, most: int = MOST_ID) -> str | None:
    return None if data.get(name) is None else _text(data, name, most)


def _label(data: Mapping[str, Any], name: str) -> str | None:
    """Return what money is labelled with, None for what another program wrote that is not ours."""
    try:
        return _text_or_none(data, name)
    except ValueError:
        return None


def _whole(data: Mapping[str, Any], name: str) -> int:
    value = _whole_or_none(data, name)
    if value is None:
        raise ValueError(f"{name} is missing")
    return value


def _whole_or_none(data: Mapping[str, Any], name: str) -> int | None:
    value = data.get(name)
    if value is not None and (type(value) is not int or abs(value) >= 2**63):
        raise ValueError(f"{name} is no whole number")
    return value
