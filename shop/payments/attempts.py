"""Tries to collect an order's money: written before Stripe is called, one open at a time."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, func, select, update

from shop.db import changed_rows, db, is_key
from shop.orders import queries
from shop.orders.models import Order
from shop.payments.models import Attempt, shop_id

# Stripe's least is 30 minutes; the rest is for two clocks that differ.
SESSION_LIFETIME = timedelta(minutes=35)
# Stripe keeps what it answered under a key for 24 hours at least.
KEY_LIFETIME = timedelta(hours=23)


def find(kind: str, stripe_id: str, key: str = "", reference: str = "") -> Attempt | None:
    """Return the attempt, of the current mode, that a session or charge belongs to.

    Where its answer never reached us, `key` (or the order's `reference`, for a session) finds it.
    A charge behind a session carries no key: that money is the session's.
    """
    ours = (
        select(Attempt)
        .join(Order, Attempt.order_id == Order.id)
        .where(queries.in_mode(), Attempt.kind == kind)
    )
    known = ours.where(Attempt.stripe_id == stripe_id)
    found = db.session.scalar(known) if is_key(stripe_id) else None
    lost = ours.where(Attempt.stripe_id.is_(None)).order_by(Attempt.id.desc()).limit(1)
    if found is None and is_key(key):
        found = db.session.scalar(lost.where(Attempt.key == key))
    if found is None and kind == "checkout" and is_key(reference):
        found = db.session.scalar(lost.where(Order.client_reference == reference))
    return found


def get(attempt_id: int) -> Attempt:
    """Return the attempt as it was last read or written here."""
    return db.session.get_one(Attempt, attempt_id)


def open_of(order: Order) -> Attempt | None:
    """Return the order's open attempt, if it has one."""
    return db.session.scalar(select(Attempt).where(Attempt.open_order_id == order.id))


def begin(
    order: Order, kind: str, params: Callable[[dict[str, str]], dict[str, Any]], expires: datetime
) -> Attempt:
    """Write a new attempt, inside write().

    `params` makes what goes out from the labels that the money gets. It is kept with the attempt:
    under one idempotency key Stripe takes one set of parameters only.
    """
    last = select(func.max(Attempt.number)).where(Attempt.order_id == order.id)
    number = (db.session.scalar(last) or 0) + 1
    key = f"{kind}-{order.client_reference}-{number}"
    labels = {
        "order": order.client_reference,
        "number": str(order.number),
        "shop": shop_id(),
        "attempt": key,
    }
    attempt = Attempt(
        order_id=order.id,
        open_order_id=order.id,
        number=number,
        kind=kind,
        key=key,
        params=json.dumps(params(labels)),
        expires_at=expires,
    )
    db.session.add(attempt)
    db.session.flush()
    return attempt


def close(attempt_id: int, outcome: str, *only_if: ColumnElement[bool]) -> bool:
    """End an attempt, inside write(), if it is open; return whether it was."""
    mine = update(Attempt).where(Attempt.id == attempt_id, Attempt.open_order_id.is_not(None))
    # What went out under the key is not needed again, and a card's token not kept.
    ended = mine.where(*only_if).values(open_order_id=None, outcome=outcome, params="{}")
    return changed_rows(ended) == 1


def close_as_known(attempt_id: int, outcome: str, stripe_id: str | None) -> bool:
    """End an open attempt, inside write(), if its session is still the one that is known here."""
    same = Attempt.stripe_id.is_(None) if stripe_id is None else Attempt.stripe_id == stripe_id
    return close(attempt_id, outcome, same)


def set_outcome(session_id: str, was: str, becomes: str) -> None:
    """Change what is known of a session's attempt, inside write()."""
    found = update(Attempt).where(Attempt.stripe_id == session_id, Attempt.outcome == was)
    changed_rows(found.values(outcome=becomes))


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
