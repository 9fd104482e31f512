"""Goods that are held for orders which are not paid: given up in time, after asking Stripe."""

from collections.abc import Sequence
from functools import partial

from flask import current_app
from sqlalchemy import Select, func, select

from shop.catalog import shelf
from shop.extensions import db, end_read, now, write
from shop.payments import attempts, gateway, service, settle, underway
from shop.payments.models import Attempt, Order, OrderLine

MOST_TRIES = 3
# A buyer waits for the answers.
MOST_ASKED = 3


def replace(token: str) -> None:
    """Give an order up, with whatever way to pay it is open."""
    for _again in range(MOST_TRIES):
        underway.end_open_attempt(token)
        if write(partial(_cancel_unless_open, token)):
            return
    raise gateway.StripeUnreachable(order=token)


def _cancel_unless_open(token: str) -> bool:
    order = service.claim(token)
    if order is None:
        return True
    if attempts.open_of(order) is not None:  # another tab has begun to pay it
        return False
    return service.cancel(order, "replaced")


def free_for(wanted: Sequence[tuple[int, int]], visitor: str) -> bool:
    """Free goods that only seem to be sold out; return whether it is worth trying once more.

    They may be held by an order whose session has ended while the event was lost, or by another
    order of the very visitor who wants them. Raises AlreadyOrdered where that one was paid.
    """
    missing = [product_id for product_id, quantity in wanted if shelf.lacks(product_id, quantity)]
    over = select(Attempt.id).where(
        Attempt.open_order_id == Order.id, Attempt.stripe_id.is_not(None), Attempt.expires < now()
    )
    for token in _tokens(_holding(missing).where(over.exists()).limit(MOST_ASKED)):
        settle.refresh(service.get_order(token))
    if any(_is_blocked_by(visitor, *piece) for piece in wanted):
        for token in _tokens(_holding(missing).where(Order.visitor == visitor)):
            replace(token)
    return not any(shelf.lacks(product_id, quantity) for product_id, quantity in wanted)


def _holding(product_ids: Sequence[int]) -> Select[Order]:
    line = select(OrderLine.id).where(
        OrderLine.order_id == Order.id, OrderLine.product_id.in_(product_ids)
    )
    mine = select(Order).where(Order.mode == current_app.config["SHOP_MODE"], line.exists())
    return mine.where(Order.state == "pending", Order.holds_stock).order_by(Order.id)


def _is_blocked_by(visitor: str, product_id: int, quantity: int) -> bool:
    """Tell whether enough would be left of a product if the visitor's other orders let it go."""
    if not shelf.lacks(product_id, quantity):
        return False
    held = select(func.sum(OrderLine.quantity)).join(Order, OrderLine.order_id == Order.id)
    own = held.where(Order.visitor == visitor, Order.state == "pending", Order.holds_stock)
    count = db.session.scalar(own.where(OrderLine.product_id == product_id)) or 0
    return not shelf.lacks(product_id, quantity - int(count))


def _tokens(orders: Select[Order]) -> list[str]:
    found = [order.token for order in db.session.scalars(orders).all()]
    end_read()
    return found
