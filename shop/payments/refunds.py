"""What Stripe says of money that goes back, asked for here or in its dashboard: known once.

https://docs.stripe.com/refunds
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, select, update

from shop import mail
from shop.extensions import changed_rows, db, end_read, insert_once, now, write
from shop.payments import gateway, ledger, service
from shop.payments.facts import Event, Refund
from shop.payments.models import REFUND_COUNTS, LedgerEntry, Order

# How Stripe's ids of charges begin; https://docs.stripe.com/api/charges
CHARGES = ("ch_", "py_")

# A refund's state only ever goes on: what was asked at Stripe earlier may be heard of later.
BEFORE = {
    "pending": ("asked", "refused"),
    "succeeded": ("asked", "refused", "pending"),
    "failed": ("asked", "refused", "pending", "succeeded"),
    "canceled": ("asked", "refused", "pending", "succeeded"),
}


def sync(payment_id: int, event: Event | None = None) -> None:
    """Write down what Stripe says of a payment's refunds; raises StripeUnreachable."""
    payment = db.session.get_one(LedgerEntry, payment_id)
    order_id, of = payment.order_id, named(payment)
    end_read()
    try:
        found = gateway.list_refunds(of)
    except gateway.StripeRefused as error:
        found = [_only_known(event, error)]
    mine = [one for one in found if not one.payment or set(of.values()) & set(one.payment)]
    write(lambda: apply(order_id, payment_id, mine, event))


def apply(
    order_id: int, payment_id: int, found: Sequence[Refund], event: Event | None = None
) -> None:
    """Write down, inside write(), what Stripe says: all that follows from it, or nothing."""
    order = service.hold(order_id)
    if event is not None and not service.take_event(event):
        return
    for one in found:
        _write_down(order, payment_id, one)
    total = ledger.sums(ledger.entries(order_id))
    service.follow_ledger(order, total.paid, total.refunded)


def named(payment: LedgerEntry) -> dict[str, Any]:
    """Return how Stripe is told which payment is meant."""
    is_charge = str(payment.stripe_id).startswith(CHARGES)
    return {"charge" if is_charge else "payment_intent": payment.stripe_id}


def _only_known(event: Event | None, error: gateway.StripeRefused) -> Refund:
    """Return the one refund that an event is about, from a server that keeps no list of them."""
    if event is None or not event.type.startswith("refund."):
        raise gateway.StripeUnreachable from error
    try:
        return gateway.retrieve_refund(event.object_id)
    except gateway.StripeRefused as refused:
        raise gateway.StripeUnreachable from refused


def _write_down(order: Order, payment_id: int, found: Refund) -> None:
    entry = _entry_of(order, payment_id, found)
    was = entry.state
    goes_on = update(LedgerEntry).where(
        LedgerEntry.id == entry.id, LedgerEntry.state.in_(BEFORE[found.state])
    )
    if not changed_rows(goes_on.values(state=found.state, stripe_id=found.id)):
        return
    if found.state in REFUND_COUNTS and was not in REFUND_COUNTS:
        _tell_refunded(order, entry)
    elif found.state not in REFUND_COUNTS:
        service.note(order, "refund_failed", str(entry.amount))
        told = service.letter(order, refund=entry.amount)
        mail.staff_refund_failed(order.id, told, _position(entry))


def _entry_of(order: Order, payment_id: int, found: Refund) -> LedgerEntry:
    """Return the entry of a refund, made here where it was begun in Stripe's dashboard."""
    mine = select(LedgerEntry).where(LedgerEntry.order_id == order.id, LedgerEntry.kind == "refund")
    entry = db.session.scalar(mine.where(LedgerEntry.stripe_id == found.id))
    if entry is None and found.key:
        unlinked = mine.where(LedgerEntry.stripe_id.is_(None))
        entry = db.session.scalar(unlinked.where(LedgerEntry.key == found.key))
    if entry is None:
        insert_once(
            LedgerEntry,
            order_id=order.id,
            kind="refund",
            stripe_id=found.id,
            amount=found.amount,
            currency=found.currency,
            state="asked",
            told=True,
            payment_id=payment_id,
            created=now(),
        )
        entry = db.session.scalars(mine.where(LedgerEntry.stripe_id == found.id)).one()
    return entry


def _tell_refunded(order: Order, entry: LedgerEntry) -> None:
    service.note(order, "refunded", str(entry.amount))
    if order.email:
        told = service.letter(order, refund=entry.amount)
        mail.customer_refunded(order.id, order.email, order.language, told, _position(entry))


def _position(entry: LedgerEntry) -> int:
    """Return whether this is the order's first refund, its second, …"""
    mine = select(func.count()).where(LedgerEntry.order_id == entry.order_id)
    earlier = mine.where(LedgerEntry.kind == "refund", LedgerEntry.id <= entry.id)
    return db.session.scalar(earlier) or 1
