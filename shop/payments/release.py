"""Ways to pay that are ended before another one begins, and goods that are freed in time."""

import json
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial

from flask import current_app
from flask_babel import gettext as _
from sqlalchemy import Select, delete, func, select, update
from sqlalchemy.exc import SQLAlchemyError

from shop.catalog import products
from shop.db import changed_rows, db, end_read, now, write
from shop.errors import DatabaseBusy
from shop.orders import queries, states
from shop.orders.models import Order, OrderLine
from shop.payments import attempts, gateway, settle
from shop.payments.gateway.objects import Charge
from shop.payments.models import Attempt, StripeEvent

MOST_ENDS = 3
# Stripe's code for what it does not have: deleted test data, or another account's.
UNKNOWN = "resource_missing"


def end_open_attempt(token: str) -> None:
    """See to it that nothing is open by which the order could still be paid; pay nothing for it.

    Raises AlreadyOrdered where it turns out to be paid, StripeUnreachable where nobody knows.
    """
    for _again in range(MOST_ENDS):
        attempt = attempts.open_of(queries.get_order(token))
        if attempt is None:
            return
        attempt_id, stripe_id, kind = attempt.id, attempt.stripe_id, attempt.kind
        is_lost = kind == "checkout" and stripe_id is None and attempt.expires_at > now()
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
        if settle.settle(session_id).state in states.ORDERED:
            raise states.AlreadyOrdered(token) from None
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
    params, key, begun = json.loads(attempt.params), attempt.key, attempt.created_at
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
    with suppress(states.AlreadyOrdered):
        end_session(token, session.id)


def resume_charge(token: str) -> None:
    """Ask for an open charge of the order once more, under its own key; for the charge form only.

    One whose key Stripe may have forgotten is not asked for: it would be charged a second time.
    Raises AlreadyOrdered where the order is paid by it, StripeUnreachable where nobody knows.
    """
    attempt = attempts.open_of(queries.get_order(token))
    if attempt is None or attempt.kind != "charge":
        return
    if now() - attempt.created_at > attempts.KEY_LIFETIME:
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
    if order.state not in states.ORDERED:
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
    if queries.get_order(token).state in states.ORDERED:
        raise states.AlreadyOrdered(token)


def _note_decline(attempt_id: int, reason: str) -> None:
    if attempts.close(attempt_id, "declined"):
        attempt = db.session.get_one(Attempt, attempt_id)
        states.log_event(db.session.get_one(Order, attempt.order_id), "declined", reason)


def _set_outcome(stripe_id: str, was: str, becomes: str) -> None:
    found = update(Attempt).where(Attempt.stripe_id == stripe_id, Attempt.outcome == was)
    changed_rows(found.values(outcome=becomes))


MOST_TRIES = 3
# A buyer waits for the answers.
MOST_ASKED = 3


def replace(token: str) -> None:
    """Give an order up, with whatever way to pay it is open."""
    for _again in range(MOST_TRIES):
        end_open_attempt(token)
        if write(partial(_cancel_unless_open, token)):
            return
    raise gateway.StripeUnreachable(order=token)


def _cancel_unless_open(token: str) -> bool:
    order = queries.lock_payable(token)
    if order is None:
        return True
    if attempts.open_of(order) is not None:  # another tab has begun to pay it
        return False
    return states.cancel(order, "replaced")


def free_for(wanted: Sequence[tuple[int, int]], visitor: str) -> bool:
    """Free goods that only seem to be sold out; return whether it is worth trying once more.

    They may be held by an order whose session has ended while the event was lost, or by another
    order of the very visitor who wants them. Raises AlreadyOrdered where that one was paid.
    """
    missing = [
        product_id for product_id, quantity in wanted if products.lacks(product_id, quantity)
    ]
    over = select(Attempt.id).where(
        Attempt.open_order_id == Order.id,
        Attempt.stripe_id.is_not(None),
        Attempt.expires_at < now(),
    )
    for token in _tokens(_holding(missing).where(over.exists()).limit(MOST_ASKED)):
        settle.refresh(queries.get_order(token))
    if any(_is_blocked_by(visitor, *piece) for piece in wanted):
        for token in _tokens(_holding(missing).where(Order.visitor == visitor)):
            replace(token)
    return not any(products.lacks(product_id, quantity) for product_id, quantity in wanted)


def _holding(product_ids: Sequence[int]) -> Select[Order]:
    line = select(OrderLine.id).where(
        OrderLine.order_id == Order.id, OrderLine.product_id.in_(product_ids)
    )
    mine = select(Order).where(Order.mode == current_app.config["SHOP_MODE"], line.exists())
    return mine.where(Order.state == "pending", Order.holds_stock).order_by(Order.id)


def _is_blocked_by(visitor: str, product_id: int, quantity: int) -> bool:
    """Tell whether enough would be left of a product if the visitor's other orders let it go."""
    if not products.lacks(product_id, quantity):
        return False
    held = select(func.sum(OrderLine.quantity)).join(Order, OrderLine.order_id == Order.id)
    own = held.where(Order.visitor == visitor, Order.state == "pending", Order.holds_stock)
    count = db.session.scalar(own.where(OrderLine.product_id == product_id)) or 0
    return not products.lacks(product_id, quantity - int(count))


def _tokens(orders: Select[Order]) -> list[str]:
    found = [order.token for order in db.session.scalars(orders).all()]
    end_read()
    return found


SWEPT_AT_ONCE = 20
# Stripe sends an event for three days, and again by hand for thirty.
EVENTS_KEPT = timedelta(days=60)


def sweep() -> None:
    """Give up, without asking Stripe, what cannot be paid any more, and put its goods back.

    That is an order whose last try failed and was not followed by another, and one whose session's
    answer never came and whose session, if there is one, has ended. Events that will not come
    again are forgotten.
    """
    too_old = now() - attempts.SESSION_LIFETIME
    busy = select(Attempt.id).where(
        Attempt.open_order_id == Order.id,
        Attempt.stripe_id.is_not(None) | (Attempt.kind == "charge") | (Attempt.expires_at > now()),
    )
    forgotten = (
        select(Order.token)
        .where(Order.state == "pending", Order.created_at < too_old, ~busy.exists())
        .where(Order.mode == current_app.config["SHOP_MODE"])
        .limit(SWEPT_AT_ONCE)
    )
    tokens = db.session.scalars(forgotten).all()
    end_read()
    for token in tokens:
        write(partial(_give_up, token, too_old))
    _forget_old_events()


def _forget_old_events() -> None:
    old = select(StripeEvent.id).where(StripeEvent.received_at < now() - EVENTS_KEPT)
    ids = db.session.scalars(old.limit(SWEPT_AT_ONCE)).all()
    end_read()
    if ids:
        write(lambda: changed_rows(delete(StripeEvent).where(StripeEvent.id.in_(ids))))


def _give_up(token: str, too_old: datetime) -> None:
    try:
        order = queries.lock_payable(token)
    except states.AlreadyOrdered:
        return
    if order is None:
        return
    attempt = attempts.open_of(order)
    if attempt is not None and (attempt.stripe_id or attempt.kind == "charge"):
        return
    newest = select(func.max(Attempt.created_at)).where(Attempt.order_id == order.id)
    if (db.session.scalar(newest) or order.created_at) > too_old:
        return
    if attempt is not None:
        attempts.close(attempt.id, "expired")
    states.cancel(order, "expired")
