"""What Stripe tells by itself. An event is a hint: what it is about is asked for again.

https://docs.stripe.com/webhooks
"""

from contextlib import suppress

from shop.db import db, end_read, is_key
from shop.orders import ledger, queries
from shop.payments import attempts, disputes, gateway, refunds, settle
from shop.payments.gateway.objects import Event
from shop.payments.models import Attempt, StripeEvent


def receive(event: Event) -> None:
    """Act upon a verified event, once; one that is not about this shop's orders does nothing.

    Raises StripeUnreachable or DatabaseBusy, so that Stripe sends it once more.
    """
    handle = next((found for name, found in HANDLERS.items() if event.type.startswith(name)), None)
    if handle is None or not is_key(event.id) or db.session.get(StripeEvent, event.id) is not None:
        return
    handle(event)


def _session(event: Event) -> None:
    _settle(event, "checkout")


def _charge(event: Event) -> None:
    """Take note of a charge; one behind a session is the session's business."""
    _settle(event, "charge")


def _refund(event: Event) -> None:
    payment_id = _payment_of(event)
    if payment_id is not None:
        refunds.sync(payment_id, event)


def _dispute(event: Event) -> None:
    payment_id = _payment_of(event)
    if payment_id is not None:
        disputes.sync(payment_id, event)


HANDLERS = {
    "checkout.session.": _session,
    "charge.succeeded": _charge,
    "charge.refund": _refund,
    "refund.": _refund,
    "charge.dispute.": _dispute,
}


def _settle(event: Event, kind: str) -> None:
    attempt = attempts.find(kind, event.object_id, event.attempt, event.reference)
    if attempt is not None:
        settle.settle_attempt(attempt, event.object_id, event)


def _payment_of(event: Event) -> int | None:
    """Return the ledger's payment that the event's money came from, None where it is not ours.

    The event may be here before the payment itself is known: that is learned first.
    """
    ids = (event.payment_intent, event.charge)
    if not any(ids):
        return None
    found = ledger.payment_of(ids)
    if found is None:
        order = queries.find_by_uid(event.order or _ask_whose(event))
        if order is None:
            return None
        _learn_payment(order.id)
        found = ledger.payment_of(ids)
    if found is None:
        raise gateway.StripeUnreachable
    return found.id


def _ask_whose(event: Event) -> str:
    """Return the uid of the order that the money was for, as Stripe has it."""
    end_read()
    try:
        if event.payment_intent:
            return gateway.find_order(event.payment_intent) or ""
        return gateway.retrieve_charge(event.charge).reference or ""
    except gateway.StripeRefused:
        return ""


def _learn_payment(order_id: int) -> None:
    """Ask for the tries to pay an order, whatever became of them here."""
    tried = db.session.query(Attempt.id).filter_by(order_id=order_id).order_by(Attempt.id).all()
    end_read()
    for (attempt_id,) in tried:
        # What Stripe does not know of one of them is no reason not to ask about the others.
        with suppress(gateway.StripeRefused):
            settle.look_at(attempt_id)
