"""What Stripe says, as plain frozen values; the `read_…` functions make them of the SDK's objects.

Only the facts that a payment is compared by may fail to be read (ValueError). Everything else is
decoration: it is cleaned here, once, and is None where nothing is left of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from shop.parsers import visible

MOST_ID = 255
MOST_EMAIL = 400
MOST_ADDRESS = 5000
MOST_LINE = 500
# The year 9999, in which the calendars of Python and of the databases end.
LATEST = 253_370_764_800
# https://docs.stripe.com/api/disputes/object#dispute_object-status
DISPUTE_CLOSED = ("won", "lost", "warning_closed", "prevented")
# The states that end a refund, or nearly so; all others, and those to come, are on their way.
REFUND_STATES = ("succeeded", "failed", "canceled")


@dataclass(frozen=True)
class Slip:
    """What a customer pays with at a counter or a bank, such as a konbini's number."""

    url: str | None
    expires_at: datetime | None
    # Of each store: its name, and the numbers that are typed in or shown there.
    codes: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class ShippingAddress:
    """Where the customer wants the goods sent, as far as it is known; `country` has two letters."""

    name: str
    line1: str
    line2: str
    city: str
    state: str
    postal_code: str
    country: str
    phone: str


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
    shipping: ShippingAddress | None

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
        """Whether Stripe has the money; a session that is still open has none yet."""
        return self.payment_status == "paid" and self.status != "open"

    @property
    def is_over(self) -> bool:
        """Whether no money will come through this session any more, or none was asked for."""
        failed = self.intent_status in ("requires_payment_method", "canceled")
        fruitless = failed or self.payment_status == "no_payment_required"
        ended = self.status == "expired" or (self.status == "complete" and fruitless)
        return ended and not self.is_paid

    @property
    def is_awaited(self) -> bool:
        """Whether the customer has done their part and the money is still to come."""
        return self.status == "complete" and not self.is_paid and not self.is_over

    @property
    def awaited_from(self) -> str:
        """Where the money is to come from: a `slip`, a `bank` that is at work, or `else`."""
        if self.slip is not None:
            return "slip"
        return "bank" if self.intent_status == "processing" else "else"


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
    awaited_from = "else"
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
    # Until when an answer is taken, where one is awaited.
    due_at: datetime | None

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


@dataclass(frozen=True)
class Endpoint:
    """Where Stripe sends the account's events. `secret` is known of one that was just created.

    https://docs.stripe.com/api/webhook_endpoints/object
    """

    id: str
    url: str
    types: frozenset[str]
    api_version: str | None
    is_enabled: bool
    secret: str | None


def read_session(answer: Any) -> CheckoutSession:
    """Return the SDK's session as a plain value."""
    data = answer.to_dict(for_json=True)
    intent = _expanded(data.get("payment_intent"))
    customer = _fields(data.get("customer_details"))
    paid = data.get("payment_status") == "paid"
    return CheckoutSession(
        id=_id(data["id"]),
        status=visible(data.get("status")) or ("complete" if paid else "open"),
        payment_status=visible(data.get("payment_status")) or "unpaid",
        url=_address(data.get("url")),
        amount=_amount(data.get("amount_total") or 0),
        currency=_exact(data.get("currency")),
        reference=_exact(data.get("client_reference_id")),
        attempt=_exact(_fields(data.get("metadata")).get("attempt")),
        livemode=data.get("livemode") is True,
        payment_intent=_exact(intent.get("id")),
        intent_status=visible(intent.get("status")),
        email=_email(customer.get("email")) or _email(data.get("customer_email")),
        shipping=_shipping(
            _fields(data.get("collected_information")).get("shipping_details"), customer
        ),
        slip=_slip(_fields(intent.get("next_action"))),
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
        email=_email(data.get("receipt_email"))
        or _email(_fields(data.get("billing_details")).get("email")),
        shipping=_shipping(data.get("shipping"), _fields(data.get("shipping"))),
        payment_intent=_exact(_expanded(data.get("payment_intent")).get("id")),
        refunded_amount=refunded if type(refunded) is int else 0,
        is_disputed=data.get("disputed") is True,
        shop=_exact(metadata.get("shop")),
        number=visible(metadata.get("number")),
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
        state=visible(data.get("status")) or "needs_response",
        amount=_amount(data["amount"]),
        currency=_exact(data.get("currency")),
        reason=visible(data.get("reason")) or "general",
        money_ids=_money_ids(data),
        due_at=_moment(_fields(data.get("evidence_details")).get("due_by")),
    )


def read_reference(answer: Any) -> str | None:
    """Return the reference of the order that the SDK's payment intent was made for."""
    return _exact(_fields(answer.to_dict(for_json=True).get("metadata")).get("order"))


def read_endpoint(answer: Any) -> Endpoint:
    """Return the SDK's webhook endpoint as a plain value."""
    data = answer.to_dict(for_json=True)
    return Endpoint(
        id=_id(data["id"]),
        url=str(data.get("url")),
        types=frozenset(map(str, data.get("enabled_events") or ())),
        api_version=_exact(data.get("api_version")),
        is_enabled=data.get("status") != "disabled",
        secret=_exact(data.get("secret")),
    )


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


def _slip(next_action: Mapping[str, Any]) -> Slip | None:
    """Return what the customer pays with, of whatever way to pay has such a thing.

    https://docs.stripe.com/api/payment_intents/object#payment_intent_object-next_action
    """
    for details in map(_fields, next_action.values()):
        addresses = ("hosted_voucher_url", "hosted_instructions_url")
        url = next(filter(None, (_address(details.get(name)) for name in addresses)), None)
        until = _moment(details.get("expires_at")) or _moment(details.get("expires_after"))
        if url is not None or until is not None:
            return Slip(url, until, _codes(_fields(details.get("stores"))))
    return None


def _codes(stores: Mapping[str, Any]) -> tuple[tuple[str, ...], ...]:
    """Return the name of each store with the numbers that it asks for."""
    found = []
    for store, numbers in stores.items():
        given = [visible(_fields(numbers).get(n)) for n in ("payment_code", "confirmation_number")]
        if any(given):
            found.append((store[:MOST_ID], *filter(None, given)))
    return tuple(found)


def _shipping(details: Any, contact: Mapping[str, Any]) -> ShippingAddress | None:
    """Return where to send the goods, with the telephone of `contact`; None where nothing is said.

    A part that is no text is empty: an odd address must not stop the payment that it comes with.
    """
    given = _fields(_fields(details).get("address"))
    names = ("line1", "line2", "city", "state", "postal_code", "country")
    parts = {name: visible(given.get(name), MOST_LINE) or "" for name in names}
    name = visible(_fields(details).get("name"), MOST_LINE) or ""
    if not name and not any(parts.values()):
        return None
    return ShippingAddress(name=name, phone=visible(contact.get("phone"), MOST_LINE) or "", **parts)


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


def _email(value: Any) -> str | None:
    """Return an address without what nobody sees, which would make it another address."""
    text = visible(value, MOST_EMAIL) or ""
    # What tells two looks of one letter apart has no place in an address either.
    return "".join(char for char in text if not "\ufe00" <= char <= "\ufe0f") or None


def _moment(value: Any) -> datetime | None:
    """Return an instant, None for what is none that a calendar or a database has."""
    fits = type(value) is int and 0 < value < LATEST
    return datetime.fromtimestamp(value, UTC) if fits else None


def _address(value: Any) -> str | None:
    """Return a web address, None for anything that a browser must not be sent to."""
    is_text = isinstance(value, str) and len(value) <= MOST_ADDRESS and value.isprintable()
    return value if is_text and value.startswith(("https://", "http://")) else None


def _amount(value: Any) -> int:
    if type(value) is not int or abs(value) >= 2**63:
        raise ValueError(f"no amount: {value!r}")
    return value
