"""Payments that a cardholder's bank takes back: told to the owner, whose answer Stripe awaits.

https://docs.stripe.com/disputes
"""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, select, update

from shop import mail
from shop.db import changed_rows, db, end_read, insert_once, now, write
from shop.orders import queries, states
from shop.orders.models import LedgerEntry, Order
from shop.orders.takings import Loss
from shop.payments import gateway
from shop.payments.gateway.objects import DISPUTE_CLOSED, Event
from shop.payments.gateway.objects import Dispute as Facts
from shop.payments.models import Dispute, take_event

# A bank's question before it takes anything: https://docs.stripe.com/disputes/how-disputes-work
INQUIRY = "warning"


def open_ones(order_id: int | None = None, most: int = 20) -> Sequence[Dispute]:
    """Return the disputes that are not closed, of an order or of this mode, the oldest first."""
    mine = select(Dispute).join(Order, Dispute.order_id == Order.id)
    mine = mine.where(queries.in_mode() if order_id is None else Order.id == order_id)
    unclosed = mine.where(Dispute.closed_at.is_(None)).order_by(Dispute.id)
    return db.session.scalars(unclosed.limit(most)).all()


def is_open() -> ColumnElement[bool]:
    """Return the condition that an order has a dispute that is not closed."""
    return Order.id.in_(select(Dispute.order_id).where(Dispute.closed_at.is_(None)))


def losses(since: datetime | None = None, order_ids: Sequence[int] = ()) -> list[Loss]:
    """Return what disputes of this mode took for good: since a moment, or of certain orders."""
    mine = select(Dispute).join(Order, Dispute.order_id == Order.id).where(queries.in_mode())
    lost = mine.where(Dispute.state == "lost")
    lost = lost.where(Dispute.closed_at >= since if since else Dispute.order_id.in_(order_ids))
    return [
        Loss(one.order_id, one.amount, one.currency, one.closed_at)
        for one in db.session.scalars(lost.order_by(Dispute.id))
        if one.closed_at is not None
    ]


def sync(payment_id: int, event: Event | None = None) -> tuple[str, ...]:
    """Write down what Stripe says of a payment's disputes; return the names of the unreadable.

    With an event, of the one dispute that it is about. Raises StripeUnreachable.
    """
    payment = db.session.get_one(LedgerEntry, payment_id)
    order_id, stripe_id = payment.order_id, str(payment.stripe_id)
    end_read()
    try:
        if event is not None:
            found = gateway.Listed([gateway.retrieve_dispute(event.object_id)])
        else:
            found = gateway.list_disputes(gateway.naming(stripe_id))
    except gateway.StripeRefused as error:
        raise gateway.StripeUnreachable from error
    write(lambda: apply(order_id, found, event))
    return found.unreadable


def apply(order_id: int, found: Sequence[Facts], event: Event | None = None) -> None:
    """Write disputes down, inside write(); what is closed stays closed."""
    order = queries.lock(order_id)
    if event is not None and not take_event(event):
        return
    for one in found:
        was = db.session.scalar(select(Dispute.state).where(Dispute.stripe_id == one.id))
        is_inquiry = one.state.startswith(INQUIRY)
        currency = one.currency or order.currency
        if was is None:
            insert_once(
                Dispute,
                order_id=order.id,
                stripe_id=one.id,
                amount=one.amount,
                currency=currency,
                reason=one.reason,
                state="new",
                opened_at=now(),
            )
        was_inquiry = was is not None and was.startswith(INQUIRY) and was not in DISPUTE_CLOSED
        if was is None or (was_inquiry and not is_inquiry and not one.is_closed):
            states.log_event(order, "disputed", one.reason)
            mail.staff_dispute(order, one.amount, currency, one.reason, is_inquiry, one.id)
        mine = update(Dispute).where(
            Dispute.stripe_id == one.id, Dispute.state.not_in(DISPUTE_CLOSED)
        )
        closed_at = now() if one.is_closed else None
        values = {"state": one.state, "closed_at": closed_at, "due_at": one.due_at}
        if changed_rows(mine.values(values)) and one.is_closed:
            outcome = "lost" if one.state == "lost" else "won"
            states.log_event(order, f"dispute_{outcome}", one.id)
            mail.staff_dispute_closed(order, one.amount, currency, outcome, one.id)
