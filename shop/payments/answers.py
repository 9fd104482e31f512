"""Reading what Stripe answers; what is not as documented raises ValueError, or a like error."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from shop.payments.facts import Charge, CheckoutSession, Dispute, Event, Refund, Slip

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
