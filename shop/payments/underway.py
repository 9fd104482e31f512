"""A payment that is under way: carried out, or ended before another one begins."""

import json
from contextlib import suppress

from flask import current_app
from flask_babel import gettext as _
from sqlalchemy import update
from sqlalchemy.exc import SQLAlchemyError

from shop.errors import DatabaseBusy
from shop.extensions import changed_rows, db, end_read, now, write
from shop.payments import attempts, gateway, service, settle
from shop.payments.facts import Charge
from shop.payments.models import Attempt, Order

MOST_ENDS = 3
# Stripe's code for what it does not have: deleted test data, or another account's.
UNKNOWN = "resource_missing"


def end_open_attempt(token: str) -> None:
    """See to it that nothing is open by which the order could still be paid; pay nothing for it.

    Raises AlreadyOrdered where it turns out to be paid, StripeUnreachable where nobody knows.
    """
    for _again in range(MOST_ENDS):
        attempt = attempts.open_of(service.get_order(token))
        if attempt is None:
            return
        attempt_id, stripe_id, kind = attempt.id, attempt.stripe_id, attempt.kind
        is_lost = kind == "checkout" and stripe_id is None and attempt.expires > now()
        end_read()
        if kind == "charge":
            _await_charge(token, attempt_id)
            continue
        if is_lost:
            _find_session(attempt_id)
            continue
        if stripe_id:
            # Said beforehand: Stripe's event of the end may come before its answer, and the end of
            # this attempt is not the end of the order.
            write(lambda stripe_id=stripe_id: _set_outcome(stripe_id, "open", "withdrawn"))  # type: ignore[misc]
            end_session(token, stripe_id)
        if write(lambda i=attempt_id, s=stripe_id: attempts.close_as_known(i, "expired", s)):  # type: ignore[misc]
            return
    raise being_confirmed(token)


def _find_session(attempt_id: int) -> None:
    """Learn of the session whose answer was lost, so that it can be ended; give up if it is lost.

    Nobody has its address then, and `reconcile` goes on looking for it.
    """
    try:
        recover_session(attempt_id)
    except (gateway.StripeUnreachable, gateway.StripeRefused) as error:
        current_app.logger.warning("attempt %s may have a session: %r", attempt_id, error)
        write(lambda: attempts.give_up(attempt_id))


def end_session(token: str, session_id: str) -> None:
    """Make a session unpayable.

    Raises AlreadyOrdered where it was paid before, StripeUnreachable where it may still be.
    """
    try:
        gateway.expire_session(session_id)
    except gateway.StripeRefused as error:
        if error.code == UNKNOWN:
            return
        try:
            facts = settle.ask("checkout", session_id)
        except gateway.StripeRefused:
            raise gateway.StripeUnreachable(order=token) from error
        if settle.settle(session_id).state in service.ORDERED:
            raise service.AlreadyOrdered(token) from None
        if not facts.is_over:
            raise gateway.StripeUnreachable(order=token) from error


def take_up_again(session_id: str) -> None:
    """Say, inside write(), that a session which was to be ended goes on."""
    _set_outcome(session_id, "withdrawn", "open")


def recover_session(attempt_id: int) -> None:
    """Learn of the session whose answer was lost, by asking for it again under its own key.

    Raises StripeUnreachable. Where there was none, nothing more will come of the attempt.
    """
    attempt = db.session.get_one(Attempt, attempt_id)
    token = db.session.get_one(Order, attempt.order_id).token
    params, key, begun = json.loads(attempt.params), attempt.key, attempt.created
    end_read()
    if not params or now() - begun > attempts.KEY_LIFETIME:
        return
    try:
        session = gateway.create_session(params, key)
    except gateway.StripeRefused:
        write(lambda: attempts.close(attempt_id, "failed"))
        return
    if write(lambda: attempts.keep_session(attempt_id, session.id, session.url)):
        settle.look_at(attempt_id)  # the answer to a key is that of the first time
        return
    with suppress(service.AlreadyOrdered):
        end_session(token, session.id)


def resume_charge(token: str) -> None:
    """Ask for an open charge of the order once more, under its own key; for the charge form only.

    One whose key Stripe may have forgotten is not asked for: it would be charged a second time.
    Raises AlreadyOrdered where the order is paid by it, StripeUnreachable where nobody knows.
    """
    attempt = attempts.open_of(service.get_order(token))
    if attempt is None or attempt.kind != "charge":
        return
    if now() - attempt.created > attempts.KEY_LIFETIME:
        return
    attempt_id = attempt.id
    end_read()
    try:
        run_charge(attempt_id, is_first=False)
    except (gateway.CardDeclined, gateway.StripeRefused):
        return
    _raise_if_ordered(token)


def run_charge(attempt_id: int, *, is_first: bool = True) -> None:
    """Carry out a charge attempt: under one key Stripe charges once, however often it is asked.

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
    except gateway.StripeRefused as error:
        if not is_first and not error.is_about_request:
            raise being_confirmed(token) from error
        write(lambda: attempts.close(attempt_id, "failed"))
        raise
    except gateway.StripeUnreachable as error:
        raise being_confirmed(token) from error
    _keep_charge(token, attempt_id, facts)


def _keep_charge(token: str, attempt_id: int, facts: Charge) -> None:
    """Write the answer down; where that fails, the money is looked for later."""
    try:
        order = write(lambda: settle.apply(attempt_id, facts))
    except (DatabaseBusy, SQLAlchemyError) as error:
        raise being_confirmed(token) from error
    if order.state not in service.ORDERED:
        raise being_confirmed(token)


def being_confirmed(token: str) -> gateway.StripeUnreachable:
    """Return what to raise while nobody knows whether a payment went through."""
    message = _(
        "Your payment is being confirmed. Nothing is charged twice: look at your order in a "
        "minute before you try again."
    )
    return gateway.StripeUnreachable(message, order=token)


def _await_charge(token: str, attempt_id: int) -> None:
    """Learn what became of a charge without asking for it again: the buyer wants another way."""
    try:
        settle.look_at(attempt_id)
    except gateway.StripeUnreachable as error:
        raise being_confirmed(token) from error
    except gateway.StripeRefused as error:
        if not error.is_about_request:
            raise being_confirmed(token) from error
        # A server that keeps no list of charges: what its key was charged with is all it can tell.
        resume_charge(token)
    _raise_if_ordered(token)
    if db.session.get_one(Attempt, attempt_id).open_order_id is not None:
        raise being_confirmed(token)


def _raise_if_ordered(token: str) -> None:
    if service.get_order(token).state in service.ORDERED:
        raise service.AlreadyOrdered(token)


def _note_decline(attempt_id: int, reason: str) -> None:
    if attempts.close(attempt_id, "declined"):
        attempt = db.session.get_one(Attempt, attempt_id)
        service.note(db.session.get_one(Order, attempt.order_id), "declined", reason)


def _set_outcome(stripe_id: str, was: str, becomes: str) -> None:
    found = update(Attempt).where(Attempt.stripe_id == stripe_id, Attempt.outcome == was)
    changed_rows(found.values(outcome=becomes))
