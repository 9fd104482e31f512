"""Orders that nobody can pay any more are given up in passing; their goods are sold again."""

from datetime import datetime, timedelta
from functools import partial

from flask import current_app
from sqlalchemy import delete, select

from shop.extensions import changed_rows, db, end_read, now, write
from shop.payments import attempts, service
from shop.payments.models import Attempt, Order, StripeEvent

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
        Attempt.stripe_id.is_not(None) | (Attempt.kind == "charge") | (Attempt.expires > now()),
    )
    forgotten = (
        select(Order.token)
        .where(Order.state == "pending", Order.created < too_old, ~busy.exists())
        .where(Order.mode == current_app.config["SHOP_MODE"])
        .limit(SWEPT_AT_ONCE)
    )
    tokens = db.session.scalars(forgotten).all()
    end_read()
    for token in tokens:
        write(partial(_give_up, token, too_old))
    _forget_old_events()


def _forget_old_events() -> None:
    old = select(StripeEvent.id).where(StripeEvent.received < now() - EVENTS_KEPT)
    ids = db.session.scalars(old.limit(SWEPT_AT_ONCE)).all()
    end_read()
    if ids:
        write(lambda: changed_rows(delete(StripeEvent).where(StripeEvent.id.in_(ids))))


def _give_up(token: str, too_old: datetime) -> None:
    try:
        order = service.claim(token)
    except service.AlreadyOrdered:
        return
    if order is None:
        return
    attempt = attempts.open_of(order)
    if attempt is not None and (attempt.stripe_id or attempt.kind == "charge"):
        return
    last = max((tried.created for tried in order.attempts), default=order.created)
    if last > too_old:
        return
    if attempt is not None:
        attempts.close(attempt.id, "expired")
    service.cancel(order, "expired")
