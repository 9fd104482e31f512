"""What Stripe tells by itself. An event is a hint: what it is about is asked for again.

https://docs.stripe.com/webhooks
"""

from contextlib import suppress
from datetime import timedelta

from flask import current_app
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from shop.db import db, end_read, is_key, now, write
from shop.errors import ShopError
from shop.orders import ledger, queries
from shop.orders.models import LedgerEntry
from shop.payments import attempts, disputes, gateway, refunds, settle
from shop.payments.gateway.objects import Event
from shop.payments.models import Attempt, StripeEvent, recall, remember, take_event

SESSIONS = (
    "checkout.session.completed",
    "checkout.session.async_payment_succeeded",
    "checkout.session.async_payment_failed",
    "checkout.session.expired",
)
CHARGES = ("charge.succeeded",)
REFUNDS = (
    "charge.refunded",
    "charge.refund.updated",
    "refund.created",
    "refund.updated",
    "refund.failed",
)
DISPUTES = (
    "charge.dispute.created",
    "charge.dispute.updated",
    "charge.dispute.closed",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.funds_reinstated",
)
# What Stripe is to send; https://docs.stripe.com/api/events/types
TYPES = (*SESSIONS, *CHARGES, *REFUNDS, *DISPUTES)
# That a message came is written down no more often.
NOTED_EVERY = timedelta(minutes=1)


def receive(event: Event) -> int | None:
    """Act upon a verified event, once; return the order that a new one was about, if it was ours.

    Raises StripeUnreachable or DatabaseBusy, so that Stripe sends it once more.
    """
    if event.type not in TYPES or not is_key(event.id):
        return None
    if db.session.get(StripeEvent, event.id) is not None:
        return None
    if event.type in SESSIONS or event.type in CHARGES:
        kind = "checkout" if event.type in SESSIONS else "charge"
        attempt = attempts.find(kind, event.object_id, event.attempt, event.reference)
        if attempt is not None and event.object_id:
            return settle.settle_attempt(attempt, event.object_id, event).id
    else:
        payment = _payment_of(event)
        if payment is not None:
            order_id = payment.order_id
            sync = refunds.sync if event.type in REFUNDS else disputes.sync
            sync(payment.id, event)
            return order_id
    # Somebody else's money, or a charge behind a session of ours: remembered, so that nobody asks
    # Stripe about it again.
    end_read()
    write(lambda: take_event(event))
    return None


def note_delivery() -> None:
    """Keep for the self-check that Stripe's messages arrive; Stripe is answered all the same."""
    try:
        if recall("delivered") <= now() - NOTED_EVERY:
            remember("delivered", now())
    except (ShopError, SQLAlchemyError) as error:
        end_read()
        current_app.logger.warning("the delivery is not noted: %r", error)


def _payment_of(event: Event) -> LedgerEntry | None:
    """Return the ledger's payment that the event's money came from, None for somebody else's.

    The event may be here before the payment itself is known: that is learned first.
    """
    ids = (event.payment_intent, event.charge)
    if not any(ids):
        return None
    found = ledger.payment_of(ids)
    if found is None:
        order = queries.find_by_reference(event.order or _ask_whose(event))
        if order is None:
            return None
        learn_payments(order.id)
        found = ledger.payment_of(ids)
    if found is None:
        raise gateway.StripeUnreachable
    return found


def _ask_whose(event: Event) -> str:
    """Return the reference of the order that the money was for, as Stripe has it."""
    end_read()
    try:
        if event.payment_intent:
            return gateway.find_reference(event.payment_intent) or ""
        return gateway.retrieve_charge(event.charge).reference or ""
    except gateway.StripeRefused:
        return ""


def learn_payments(order_id: int) -> None:
    """Ask Stripe about all attempts to pay an order, whatever became of them here."""
    mine = select(Attempt.id).where(Attempt.order_id == order_id).order_by(Attempt.id)
    attempt_ids = db.session.scalars(mine).all()
    end_read()
    for attempt_id in attempt_ids:
        # What Stripe does not know of one of them is no reason not to ask about the others.
        with suppress(gateway.StripeRefused):
            settle.look_at(attempt_id)
