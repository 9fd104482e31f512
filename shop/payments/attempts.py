"""Tries to collect an order's money: written before Stripe is called, one open at a time."""

import json
from datetime import datetime, timedelta
from typing import Any

from flask import current_app
from sqlalchemy import func, select

from shop.extensions import db, is_key
from shop.payments.models import Attempt, Order

# Stripe's least is 30 minutes; the rest is for two clocks that differ.
SESSION_LIFETIME = timedelta(minutes=35)


def find(kind: str, stripe_id: str, reference: str | None = None) -> Attempt | None:
    """Return the attempt, of the current mode, that a session or charge belongs to.

    `reference` finds the one whose session or charge was made though its answer never reached us.
    """
    if not is_key(stripe_id):
        return None
    ours = (
        select(Attempt)
        .join(Order, Attempt.order_id == Order.id)
        .where(Order.mode == current_app.config["SHOP_MODE"], Attempt.kind == kind)
    )
    found = db.session.scalar(ours.where(Attempt.stripe_id == stripe_id))
    if found is None and reference and is_key(reference):
        lost = ours.where(Order.uid == reference, Attempt.stripe_id.is_(None))
        found = db.session.scalar(lost.order_by(Attempt.id.desc()).limit(1))
    return found


def open_of(order: Order) -> Attempt | None:
    """Return the order's open attempt, if it has one."""
    return db.session.scalar(select(Attempt).where(Attempt.open_order_id == order.id))


def begin(order: Order, kind: str, params: dict[str, Any], expires: datetime) -> Attempt:
    """Write a new attempt, inside write(), with the key and parameters that are to go out."""
    last = select(func.max(Attempt.number)).where(Attempt.order_id == order.id)
    tries = db.session.scalar(last) or 0
    attempt = Attempt(
        order_id=order.id,
        open_order_id=order.id,
        number=tries + 1,
        kind=kind,
        key=f"{kind}-{order.uid}-{tries + 1}",
        params=json.dumps(params),
        expires=expires,
    )
    db.session.add(attempt)
    db.session.flush()
    return attempt


def close(attempt: Attempt, outcome: str) -> None:
    """Mark an attempt as over, inside write(); what went out under its key is not needed again."""
    attempt.open_order_id = None
    attempt.outcome = outcome
    attempt.params = "{}"
    db.session.flush()
