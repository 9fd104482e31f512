"""Ways to pay that are ended before another one begins, and goods that are freed in time."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy import Select, delete, func, select

from shop.catalog import products
from shop.db import changed_rows, db, end_read, now, write
from shop.orders import queries, states
from shop.orders.models import Order, OrderLine
from shop.payments import attempts, gateway, settle
from shop.payments.models import Attempt, StripeEvent

MOST_TRIES = 3
# A buyer waits for the answers.
MOST_ASKED = 3
SWEPT_AT_ONCE = 20
# Stripe sends an event for three days, and keeps it for thirty.
EVENTS_KEPT = timedelta(days=60)


def end_open_attempt(token: str) -> None:
    """See to it that nothing is open by which the order could still be paid; pay nothing for it.

    Raises AlreadyOrdered if the order turns out to be paid, StripeUnreachable if nobody knows.
    """
    for _again in range(MOST_TRIES):
        attempt = attempts.open_of(queries.get_order(token))
        if attempt is None:
            return
        attempt_id, session_id, kind = attempt.id, attempt.stripe_id, attempt.kind
        end_read()
        if kind == "charge":
            _learn_of_charge(token, attempt_id)
            continue
        if session_id:
            # Said beforehand: Stripe's event of the end may come before its answer, and the end of
            # this attempt is not the end of the order.
            write(partial(attempts.set_outcome, session_id, "open", "withdrawn"))
            end_session(token, session_id)
        # Nobody has the address of a session whose id never came, so nobody can pay it.
        if write(partial(attempts.close_as_known, attempt_id, "expired", session_id)):
            return
    raise gateway.OutcomeUnknown(order=token)


def _learn_of_charge(token: str, attempt_id: int) -> None:
    """Learn what became of a charge without asking for it again: the buyer wants another way."""
    try:
        settle.look_at(attempt_id)
    except (gateway.StripeUnreachable, gateway.StripeRefused) as error:
        raise gateway.OutcomeUnknown(order=token) from error
    if queries.get_order(token).state in states.ORDERED:
        raise states.AlreadyOrdered(token)
    if attempts.get(attempt_id).open_order_id is not None:
        raise gateway.OutcomeUnknown(order=token)


def end_session(token: str, session_id: str) -> None:
    """Make a session unpayable.

    Raises AlreadyOrdered if it was paid before, StripeUnreachable if it may still be.
    """
    try:
        gateway.expire_session(session_id)
    except gateway.StripeRefused as error:
        if error.code == gateway.UNKNOWN:
            return
        try:
            facts = settle.ask("checkout", session_id)
        except gateway.StripeRefused:
            raise gateway.StripeUnreachable(order=token) from error
        if settle.settle(session_id).state in states.ORDERED:
            raise states.AlreadyOrdered(token) from None
        if not facts.is_over:
            raise gateway.StripeUnreachable(order=token) from error


def replace(token: str) -> None:
    """Give an order up, with whatever way to pay it is open."""

    def cancel_unless_open() -> bool:
        order = queries.lock_payable(token)
        if order is None:
            return True
        if attempts.open_of(order) is not None:  # another tab has begun to pay it
            return False
        return states.cancel(order, "replaced")

    for _again in range(MOST_TRIES):
        end_open_attempt(token)
        if write(cancel_unless_open):
            return
    raise gateway.StripeUnreachable(order=token)


def free_for(wanted: Sequence[tuple[int, int]], visitor: str) -> bool:
    """Free goods that only seem to be sold out; return whether it is worth trying once more.

    They may be held by an order whose session has ended while the event was lost, or by another
    order of the very visitor who wants them. Raises AlreadyOrdered if that one was paid.
    """
    missing = [product_id for product_id, count in wanted if products.lacks(product_id, count)]
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
    return not any(products.lacks(product_id, count) for product_id, count in wanted)


def _holding(product_ids: Sequence[int]) -> Select[Order]:
    line = select(OrderLine.id).where(
        OrderLine.order_id == Order.id, OrderLine.product_id.in_(product_ids)
    )
    pending = select(Order).where(queries.in_mode(), Order.state == "pending", Order.holds_stock)
    return pending.where(line.exists()).order_by(Order.id)


def _is_blocked_by(visitor: str, product_id: int, quantity: int) -> bool:
    """Tell whether enough would be left of a product if the visitor's other orders let it go."""
    if not products.lacks(product_id, quantity):
        return False
    held = select(func.sum(OrderLine.quantity)).join(Order, OrderLine.order_id == Order.id)
    own = held.where(Order.visitor == visitor, Order.state == "pending", Order.holds_stock)
    own = own.where(queries.in_mode())
    count = db.session.scalar(own.where(OrderLine.product_id == product_id)) or 0
    return not products.lacks(product_id, quantity - int(count))


def _tokens(orders: Select[Order]) -> list[str]:
    found = [order.token for order in db.session.scalars(orders).all()]
    end_read()
    return found


def sweep() -> None:
    """Give up, without asking Stripe, what cannot be paid any more, and put its goods back.

    That is an order whose last attempt failed and was not followed by another, or whose session's
    id never came. Events that will not come again are forgotten.
    """
    too_old = now() - attempts.SESSION_LIFETIME
    busy = select(Attempt.id).where(
        Attempt.open_order_id == Order.id,
        Attempt.stripe_id.is_not(None) | (Attempt.kind == "charge") | (Attempt.expires_at > now()),
    )
    forgotten = select(Order.token).where(
        queries.in_mode(), Order.state == "pending", Order.created_at < too_old, ~busy.exists()
    )
    tokens = db.session.scalars(forgotten.limit(SWEPT_AT_ONCE)).all()
    old = select(StripeEvent.id).where(StripeEvent.received_at < now() - EVENTS_KEPT)
    event_ids = db.session.scalars(old.limit(SWEPT_AT_ONCE)).all()
    end_read()
    for token in tokens:
        write(partial(_give_up, token, too_old))
    if event_ids:
        write(lambda: changed_rows(delete(StripeEvent).where(StripeEvent.id.in_(event_ids))))


def _give_up(token: str, too_old: datetime) -> None:
    """Cancel an order that still looks forgotten now that its row is locked; inside write()."""
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
