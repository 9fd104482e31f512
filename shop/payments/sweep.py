"""Orders that nobody can pay any more are given up in passing; their goods are sold again."""

from datetime import datetime
from functools import partial

from flask import current_app
from sqlalchemy import select

from shop.extensions import db, end_read, now, write
from shop.payments import attempts, service
from shop.payments.models import Attempt, Order

SWEPT_AT_ONCE = 20


def sweep() -> None:
    """Give up, without asking Stripe, what cannot be paid any more, and put its goods back.

    That is an order whose last try failed and was not followed by another, and one whose session's
    answer never came and whose session, if there is one, has ended.
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
