"""A payment that is under way: carried out, looked after, or ended before another one begins."""

import json

from flask_babel import gettext as _
from sqlalchemy import update

from shop.extensions import changed_rows, db, end_read, write
from shop.payments import attempts, gateway, service, settle
from shop.payments.models import Attempt, Order


def end_open_attempt(token: str) -> None:
    """See to it that nothing is open by which the order could still be paid.

    Raises AlreadyOrdered where it turns out to be paid, StripeUnreachable where nobody knows.
    """
    attempt = attempts.open_of(service.get_order(token))
    if attempt is None:
        return
    attempt_id, stripe_id, kind = attempt.id, attempt.stripe_id, attempt.kind
    end_read()
    if kind == "charge":
        _learn_of_charge(attempt_id)
    elif stripe_id:
        # Said beforehand: Stripe's event of the end may come before its answer, and the end of
        # this attempt is not the end of the order.
        write(lambda: _set_outcome(stripe_id, "open", "withdrawn"))
        end_session(token, stripe_id)
    write(lambda: close_if_open(attempt_id, "expired"))


def end_session(token: str, session_id: str) -> None:
    """Make a session unpayable; raises AlreadyOrdered where it was paid before."""
    try:
        gateway.expire_session(session_id)
    except gateway.StripeRefused:
        if settle.settle(session_id).state in service.ORDERED:
            raise service.AlreadyOrdered(token) from None


def take_up_again(session_id: str) -> None:
    """Say, inside write(), that a session which was to be ended goes on."""
    _set_outcome(session_id, "withdrawn", "open")


def close_if_open(attempt_id: int, outcome: str) -> None:
    """Mark an attempt as over, inside write(), unless something else has ended it."""
    attempt = db.session.get_one(Attempt, attempt_id)
    if attempt.open_order_id is not None:
        attempts.close(attempt, outcome)


def run_charge(attempt_id: int) -> None:
    """Carry out a charge attempt, or learn what became of it: the same key charges once.

    Raises CardDeclined and StripeRefused, after closing the attempt, and StripeUnreachable.
    """
    attempt = db.session.get_one(Attempt, attempt_id)
    order = db.session.get_one(Order, attempt.order_id)
    token, key, params = order.token, attempt.key, json.loads(attempt.params)
    is_open = attempt.open_order_id is not None
    end_read()
    if not is_open:
        return
    try:
        facts = gateway.create_charge(params, key)
    except gateway.CardDeclined as error:
        reason = error.reason
        write(lambda: _note_decline(attempt_id, reason))
        raise
    except gateway.StripeRefused:
        write(lambda: close_if_open(attempt_id, "failed"))
        raise
    except gateway.StripeUnreachable as error:
        raise being_confirmed(token) from error
    write(lambda: settle.apply(attempt_id, facts))


def being_confirmed(token: str) -> gateway.StripeUnreachable:
    """Return what to raise while nobody knows whether a charge went through."""
    message = _(
        "Your payment is being confirmed. Nothing is charged twice: look at your order in a "
        "minute before you try again."
    )
    return gateway.StripeUnreachable(message, order=token)


def _learn_of_charge(attempt_id: int) -> None:
    try:
        run_charge(attempt_id)
    except (gateway.CardDeclined, gateway.StripeRefused):
        return
    order = db.session.get_one(Order, db.session.get_one(Attempt, attempt_id).order_id)
    if order.state in service.ORDERED:
        raise service.AlreadyOrdered(order.token)


def _note_decline(attempt_id: int, reason: str) -> None:
    attempt = db.session.get_one(Attempt, attempt_id)
    attempts.close(attempt, "declined")
    service.note(db.session.get_one(Order, attempt.order_id), "declined", reason)


def _set_outcome(stripe_id: str, was: str, becomes: str) -> None:
    found = update(Attempt).where(Attempt.stripe_id == stripe_id, Attempt.outcome == was)
    changed_rows(found.values(outcome=becomes))
