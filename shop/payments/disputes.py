"""Payments that a cardholder's bank takes back: told to the owner, whose answer Stripe awaits.

https://docs.stripe.com/disputes
"""

from sqlalchemy import select, update

from shop import mail
from shop.db import changed_rows, db, end_read, insert_once, now, write
from shop.orders import queries, states
from shop.orders.models import LedgerEntry, Order
from shop.payments import gateway, models
from shop.payments.gateway.objects import DISPUTE_CLOSED, Event
from shop.payments.gateway.objects import Dispute as Facts
from shop.payments.models import Dispute


def sync(payment_id: int, event: Event) -> None:
    """Write down what Stripe says of the dispute that an event is about.

    Raises StripeUnreachable.
    """
    order_id = db.session.get_one(LedgerEntry, payment_id).order_id
    end_read()
    try:
        found = gateway.retrieve_dispute(event.object_id)
    except gateway.StripeRefused as error:
        raise gateway.StripeUnreachable from error
    write(lambda: apply(order_id, found, event))


def apply(order_id: int, found: Facts, event: Event | None = None) -> None:
    """Write a dispute down, inside write(); what is closed stays closed."""
    order = queries.lock(order_id)
    if event is not None and not models.take_event(event):
        return
    if _open(order, found):
        states.log_event(order, "disputed", found.reason)
        inquiry = found.state.startswith("warning")
        position = _position(order, found)
        mail.staff_dispute(order, found.amount, found.reason, inquiry, position)
    mine = update(Dispute).where(
        Dispute.stripe_id == found.id, Dispute.state.not_in(DISPUTE_CLOSED)
    )
    closed = now() if found.is_closed else None
    changed = changed_rows(mine.values(state=found.state, closed_at=closed))
    if changed and found.is_closed:
        outcome = "lost" if found.state == "lost" else "won"
        states.log_event(order, f"dispute_{outcome}", found.id)
        mail.staff_dispute_closed(order, found.amount, outcome, _position(order, found))


def _open(order: Order, found: Facts) -> bool:
    return insert_once(
        Dispute,
        order_id=order.id,
        stripe_id=found.id,
        amount=found.amount,
        currency=found.currency,
        reason=found.reason,
        state="new",
        opened_at=now(),
    )


def _position(order: Order, found: Facts) -> int:
    """Return whether this is the order's first dispute, its second, …"""
    mine = select(Dispute.stripe_id).where(Dispute.order_id == order.id).order_by(Dispute.id)
    return list(db.session.scalars(mine)).index(found.id) + 1
