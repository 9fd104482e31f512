"""What Stripe says, as plain frozen values; the `read_…` functions make them of the SDK's objects.

Only the facts that a payment is compared by may fail to be read (ValueError). Everything else is
decoration: it is cleaned here, once, and is None where nothing is left of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

MOST_ID = 255
MOST_EMAIL = 400
MOST_ADDRESS = 5000
# https://docs.stripe.com/api/disputes/object#dispute_object-status
DISPUTE_CLOSED = ("won", "lost", "warning_closed", "prevented")
# The states that end a refund, or nearly so; all others, and those to come, are on their way.
REFUND_STATES = ("succeeded", "failed", "canceled")


@dataclass(frozen=True)
class Slip:
    """What a customer pays at a konbini counter with."""

    url: str | None
    expires_at: datetime | None


@dataclass(frozen=True)
class _Payment:
    """What sessions and charges have in common; `attempt` is the key it was asked for with."""

    id: str
    amount: int
    currency: str | None
    reference: str | None
    attempt: str | None
    livemode: bool
    payment_intent: str | None
    email: str | None

    @property
    def money_id(self) -> str:
        """The id under which the ledger knows the money."""
        return self.payment_intent or self.id


@dataclass(frozen=True)
class CheckoutSession(_Payment):
    """A Checkout Session; its amount is in minor units.

    https://docs.stripe.com/api/checkout/sessions/object
    """

    status: str
    payment_status: str
    url: str | None
    intent_status: str | None
    slip: Slip | None

    @property
    def is_paid(self) -> bool:
        """Whether Stripe has the money."""
        return self.status == "complete" and self.payment_status == "paid"

    @property
    def is_awaited(self) -> bool:
        """Whether the customer has done their part and the money is still to come."""
        return self.status == "complete" and self.payment_status == "unpaid" and not self.is_over

    @property
    def is_over(self) -> bool:
        """Whether no money will come through this session any more."""
        failed = self.intent_status in ("requires_payment_method", "canceled")
        unpaid = self.status == "complete" and self.payment_status == "unpaid"
        return self.status == "expired" or (unpaid and failed)


@dataclass(frozen=True)
class Charge(_Payment):
    """A charge: of a card token, or behind a session. Amounts are in minor units.

    https://docs.stripe.com/api/charges/object
    """

    is_paid: bool
    is_over: bool
    refunded_amount: int
    is_disputed: bool
    shop: str | None
    number: str | None
    is_awaited = False
    slip = None
    url = None


Facts = CheckoutSession | Charge


@dataclass(frozen=True)
class Refund:
    """Money (minor units) that goes back. `key` is that of the ledger if it was asked for here.

    https://docs.stripe.com/api/refunds/object
    """

    id: str
    state: str
    amount: int
    currency: str | None
    key: str | None
    money_ids: tuple[str, ...]


@dataclass(frozen=True)
class Dispute:
    """A payment (minor units) that the cardholder's bank takes back.

    https://docs.stripe.com/api/disputes/object
    """

    id: str
    state: str
    amount: int
    currency: str | None
    reason: str
    money_ids: tuple[str, ...]

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


def read_session(answer: Any) -> CheckoutSession:
    """Return the SDK's session as a plain value."""
    data = answer.to_dict(for_json=True)
    intent = _expanded(data.get("payment_intent"))
    action = _fields(_fields(intent.get("next_action")).get("konbini_display_details"))
    slip_expires = action.get("expires_at")
    slip = Slip(
        _address(action.get("hosted_voucher_url")),
        datetime.fromtimestamp(slip_expires, UTC) if type(slip_expires) is int else None,
    )
    paid = data.get("payment_status") == "paid"
    return CheckoutSession(
        id=_id(data["id"]),
        status=_clean(data.get("status")) or ("complete" if paid else "open"),
        payment_status=_clean(data.get("payment_status")) or "unpaid",
        url=_address(data.get("url")),
        amount=_amount(data.get("amount_total") or 0),
        currency=_exact(data.get("currency")),
        reference=_exact(data.get("client_reference_id")),
        attempt=_exact(_fields(data.get("metadata")).get("attempt")),
        livemode=data.get("livemode") is True,
        payment_intent=_exact(intent.get("id")),
        intent_status=_clean(intent.get("status")),
        email=_clean(_fields(data.get("customer_details")).get("email"), MOST_EMAIL)
        or _clean(data.get("customer_email"), MOST_EMAIL),
        slip=slip if action else None,
    )


def read_charge(answer: Any) -> Charge:
    """Return the SDK's charge as a plain value."""
    data = answer.to_dict(for_json=True)
    metadata, refunded = _fields(data.get("metadata")), data.get("amount_refunded")
    return Charge(
        id=_id(data["id"]),
        is_paid=data.get("paid") is True and data.get("status") == "succeeded",
        is_over=data.get("status") == "failed",
        amount=_amount(data.get("amount") or 0),
        currency=_exact(data.get("currency")),
        reference=_exact(metadata.get("order")),
        attempt=_exact(metadata.get("attempt")),
        livemode=data.get("livemode") is True,
        email=_clean(data.get("receipt_email"), MOST_EMAIL)
        or _clean(_fields(data.get("billing_details")).get("email"), MOST_EMAIL),
        payment_intent=_exact(_expanded(data.get("payment_intent")).get("id")),
        refunded_amount=refunded if type(refunded) is int else 0,
        is_disputed=data.get("disputed") is True,
        shop=_exact(metadata.get("shop")),
        number=_clean(metadata.get("number")),
    )


def read_refund(answer: Any) -> Refund:
    """Return the SDK's refund as a plain value; one in no state that is known is pending."""
    data = answer.to_dict(for_json=True)
    state = data.get("status")
    return Refund(
        id=_id(data["id"]),
        state=state if state in REFUND_STATES else "pending",
        amount=_amount(data["amount"]),
        currency=_exact(data.get("currency")),
        key=_exact(_fields(data.get("metadata")).get("refund")),
        money_ids=_money_ids(data),
    )


def read_dispute(answer: Any) -> Dispute:
    """Return the SDK's dispute as a plain value."""
    data = answer.to_dict(for_json=True)
    return Dispute(
        id=_id(data["id"]),
        state=_clean(data.get("status")) or "needs_response",
        amount=_amount(data["amount"]),
        currency=_exact(data.get("currency")),
        reason=_clean(data.get("reason")) or "general",
        money_ids=_money_ids(data),
    )


def read_reference(answer: Any) -> str | None:
    """Return the reference of the order that the SDK's payment intent was made for."""
    return _exact(_fields(answer.to_dict(for_json=True).get("metadata")).get("order"))


def read_event(answer: Any) -> Event:
    """Return the SDK's event as a plain value; of its object only the id must be readable."""
    data = answer.to_dict(for_json=True)
    subject = data["data"]["object"]
    own_id = "" if subject.get("id") is None else _id(subject["id"])
    metadata = _fields(subject.get("metadata"))
    is_charge = subject.get("object") == "charge"
    charge = own_id if is_charge else _exact(_expanded(subject.get("charge")).get("id"))
    return Event(
        id=_id(data["id"]),
        type=_id(data["type"]),
        object_id=own_id,
        reference=_exact(subject.get("client_reference_id")) or "",
        attempt=_exact(metadata.get("attempt")) or "",
        order=_exact(metadata.get("order")) or "",
        payment_intent=_exact(_expanded(subject.get("payment_intent")).get("id")) or "",
        charge=charge or "",
    )


def _fields(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _expanded(value: Any) -> Mapping[str, Any]:
    """Return an object that Stripe sends whole or as its id."""
    return value if isinstance(value, dict) else {"id": value}


def _money_ids(data: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the ids under which the ledger may know the payment of a refund or a dispute."""
    found = [_exact(_expanded(data.get(name)).get("id")) for name in ("payment_intent", "charge")]
    return tuple(one for one in found if one)


def _exact(value: Any) -> str | None:
    """Return what is compared letter by letter, None for what can be no id or label of ours."""
    fits = isinstance(value, str) and 0 < len(value) <= MOST_ID and value.isprintable()
    return value if fits else None


def _id(value: Any) -> str:
    found = _exact(value)
    if found is None:
        raise ValueError(f"no id: {value!r}")
    return found


def _clean(value: Any, most: int = MOST_ID) -> str | None:
    """Return a text without what nobody sees: wallets send spaces, and people zero-width ones."""
    if not isinstance(value, str):
        return None
    return "".join(char for char in value if char.isprintable()).strip()[:most] or None


def _address(value: Any) -> str | None:
    """Return a web address, None for anything that a browser must not be sent to."""
    is_text = isinstance(value, str) and len(value) <= MOST_ADDRESS and value.isprintable()
    return value if is_text and value.startswith(("https://", "http://")) else None


def _amount(value: Any) -> int:
    if type(value) is not int or abs(value) >= 2**63:
        raise ValueError(f"no amount: {value!r}")
    return value
