"""Tries to collect an order's money: written before Stripe is called, one open at a time."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from flask import current_app
from sqlalchemy import func, select, update

from shop.db import changed_rows, db, is_key
from shop.orders.models import Order
from shop.payments.models import Attempt

# Stripe's least is 30 minutes; the rest is for two clocks that differ.
SESSION_LIFETIME = timedelta(minutes=35)
# Stripe keeps what it answered under a key for 24 hours at least.
KEY_LIFETIME = timedelta(hours=23)


def find(kind: str, stripe_id: str, key: str = "", reference: str = "") -> Attempt | None:
    """Return the attempt, of the current mode, that a session or charge belongs to.

    Where its answer never reached us, `key` (or `reference`, the order's uid, for a session) finds
    it. A charge behind a session carries no key: that money is the session's.
    """
    ours = (
        select(Attempt)
        .join(Order, Attempt.order_id == Order.id)
        .where(Order.mode == current_app.config["SHOP_MODE"], Attempt.kind == kind)
    )
    known = ours.where(Attempt.stripe_id == stripe_id)
    found = db.session.scalar(known) if is_key(stripe_id) else None
    lost = ours.where(Attempt.stripe_id.is_(None)).order_by(Attempt.id.desc()).limit(1)
    if found is None and is_key(key):
        found = db.session.scalar(lost.where(Attempt.key == key))
    if found is None and kind == "checkout" and is_key(reference):
        found = db.session.scalar(lost.where(Order.client_reference == reference))
    return found


def open_of(order: Order) -> Attempt | None:
    """Return the order's open attempt, if it has one."""
    return db.session.scalar(select(Attempt).where(Attempt.open_order_id == order.id))


def begin(
    order: Order, kind: str, params: Callable[[str], dict[str, Any]], expires: datetime
) -> Attempt:
    """Write a new attempt, inside write(); `params` makes what goes out from the key."""
    last = select(func.max(Attempt.number)).where(Attempt.order_id == order.id)
    number = (db.session.scalar(last) or 0) + 1
    key = f"{kind}-{order.client_reference}-{number}"
    attempt = Attempt(
        order_id=order.id,
        open_order_id=order.id,
        number=number,
        kind=kind,
        key=key,
        params=json.dumps(params(key)),
        expires_at=expires,
    )
    db.session.add(attempt)
    db.session.flush()
    return attempt


def close(attempt_id: int, outcome: str) -> bool:
    """End an attempt, inside write(), if it is open; return whether it was."""
    return _close(update(Attempt).where(Attempt.id == attempt_id), outcome)


def close_as_known(attempt_id: int, outcome: str, stripe_id: str | None) -> bool:
    """End an open attempt, inside write(), if its session is still the one that is known here."""
    mine = update(Attempt).where(Attempt.id == attempt_id)
    same = Attempt.stripe_id.is_(None) if stripe_id is None else Attempt.stripe_id == stripe_id
    return _close(mine.where(same), outcome)


def give_up(attempt_id: int) -> None:
    """End an open attempt, inside write(), whose session nobody could tell of: it may be there."""
    mine = update(Attempt).where(Attempt.id == attempt_id, Attempt.open_order_id.is_not(None))
    lost = mine.where(Attempt.stripe_id.is_(None))
    changed_rows(lost.values(open_order_id=None, outcome="lost"))


def mark_paid(attempt_id: int) -> None:
    """Write, inside write(), that the money came through this attempt, open or not."""
    mine = update(Attempt).where(Attempt.id == attempt_id)
    changed_rows(mine.values(open_order_id=None, outcome="paid", params="{}"))


def keep_session(attempt_id: int, stripe_id: str, url: str | None) -> bool:
    """Write a session's id down, inside write(); return whether the attempt is still open."""
    mine = update(Attempt).where(Attempt.id == attempt_id)
    changed_rows(mine.where(Attempt.stripe_id.is_(None)).values(stripe_id=stripe_id, url=url))
    # Changes nothing, but looks at the row as it is now and not as it was read before.
    still = mine.where(Attempt.open_order_id.is_not(None), Attempt.stripe_id == stripe_id)
    return changed_rows(still.values(number=Attempt.number)) == 1


def _close(which: Any, outcome: str) -> bool:
    # What went out under the key is not needed again, and a card's token not kept.
    ended = which.where(Attempt.open_order_id.is_not(None))
    return changed_rows(ended.values(open_order_id=None, outcome=outcome, params="{}")) == 1
