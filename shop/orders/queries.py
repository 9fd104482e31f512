"""Finding orders."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from flask import current_app
from flask_babel import lazy_gettext as _l
from sqlalchemy import ColumnElement, or_, select, update
from sqlalchemy.orm import selectinload

from shop.db import changed_rows, db, is_key
from shop.errors import ShopError
from shop.orders import states
from shop.orders.models import Address, Order, OrderLine
from shop.orders.states import AlreadyOrdered
from shop.parsers import whole_number

PAGE_SIZE = 50
# Slips, and rows of the table for parcel numbers.
PACKED_AT_ONCE = 500
# What the owner's list can be narrowed to.
VIEWS: dict[str, ColumnElement[bool]] = {
    "to_pack": Order.state.in_(states.KEPT) & Order.shipped_at.is_(None),
    "sent": Order.state.in_(states.KEPT) & Order.shipped_at.is_not(None),
    "waiting": Order.state.in_(("pending", "awaiting_payment")),
    "needs_me": Order.state == "needs_review",
}


class OrderMissing(ShopError):
    """No order (of this mode) answers to what was asked for."""

    status = 404
    code = "no_order"
    title = _l("We cannot find this order")
    message = _l(
        "This link is not complete. If you have paid, your order is safe: we can send its link to "
        "the address that you paid with."
    )


def in_mode() -> ColumnElement[bool]:
    """Return the condition that an order is of the mode that the shop is in."""
    mode: str = current_app.config["SHOP_MODE"]
    return Order.mode == mode


def lock_payable(token: str) -> Order | None:
    """Return the order if it can still be paid, and keep it so until this write() ends.

    None where it was given up. Raises AlreadyOrdered, and OrderMissing for another mode's order.
    The UPDATE changes nothing but holds the row: who settles or closes the order waits, so that
    what is read after it is not out of date before it is acted upon.
    """
    mine = update(Order).where(Order.token == token, in_mode())
    if not changed_rows(mine.values(mode=Order.mode)):
        raise OrderMissing
    order = get_order(token)
    db.session.refresh(order)
    if order.state in states.ORDERED:
        raise AlreadyOrdered(token)
    return order if order.state in states.PAYABLE else None


def lock(order_id: int) -> Order:
    """Return the order as it is now, and keep it so until this write() ends."""
    changed_rows(update(Order).where(Order.id == order_id).values(mode=Order.mode))
    return db.session.get_one(Order, order_id, populate_existing=True)


def get_order(token: str, *, only_in_mode: bool = False) -> Order:
    """Return the order with this token, of whatever mode unless told; raise OrderMissing."""
    mine = select(Order).where(Order.token == token)
    order = db.session.scalar(mine) if is_key(token) else None
    if order is None or (only_in_mode and order.mode != current_app.config["SHOP_MODE"]):
        raise OrderMissing
    return order


def find_by_number(number: int, *, only_in_mode: bool = True) -> Order:
    """Return the order with this number, of this mode unless told; raise OrderMissing."""
    order = db.session.get(Order, number) if 0 < number < 2**63 else None
    if order is None or (only_in_mode and order.mode != current_app.config["SHOP_MODE"]):
        raise OrderMissing
    return order


def list_orders(state: str | None = None) -> Sequence[Order]:
    """Return all orders of all modes, or those in one state, oldest first, with their ledgers."""
    query = (
        select(Order)
        .order_by(Order.id)
        .options(selectinload(Order.ledger), selectinload(Order.address))
    )
    return db.session.scalars(query.where(Order.state == state) if state else query).all()


@dataclass(frozen=True)
class OrderPage:
    """A page of orders; `next_before` names the next page, None on the last."""

    orders: Sequence[Order]
    next_before: int | None


def newest_page(
    before: int | None = None,
    state: str = "",
    words: str = "",
    beside: ColumnElement[bool] | None = None,
    most: int = PAGE_SIZE,
) -> OrderPage:
    """Return a page of the orders of this mode, the newest first.

    `before`: only those with a smaller number; `state`: one of VIEWS, or of the states; `beside`:
    what else belongs to that view; `words`: those whose number, customer, goods or town have them.
    """
    query = select(Order).where(in_mode()).order_by(Order.id.desc()).limit(most + 1)
    if before is not None:
        query = query.where(Order.id < before)
    if state:
        view = VIEWS.get(state, Order.state == state)
        query = query.where(view if beside is None else view | beside)
    if words:
        query = query.where(_has(words))
    parts = selectinload(Order.ledger), selectinload(Order.address)
    found = db.session.scalars(query.options(*parts)).all()
    return OrderPage(found[:most], found[most - 1].id if len(found) > most else None)


def _has(words: str) -> ColumnElement[bool]:
    """Return the condition that an order has these words in what an owner looks for."""
    goods = Order.lines.any(OrderLine.name.icontains(words, autoescape=True))
    columns = Address.name, Address.city, Address.state, Address.postal_code
    place = or_(*(column.icontains(words, autoescape=True) for column in columns))
    found = Order.email.icontains(words, autoescape=True) | goods | Order.address.has(place)
    number = whole_number(words.lstrip("#"), None)
    return found if number is None else found | (Order.id == number)


def to_review(most: int = PAGE_SIZE) -> Sequence[Order]:
    """Return the orders about whose money the owner has to decide, the oldest first."""
    mine = select(Order).where(VIEWS["needs_me"], in_mode())
    return db.session.scalars(mine.order_by(Order.created_at).limit(most)).all()


def to_pack(most: int) -> Sequence[Order]:
    """Return the orders that are paid and not sent yet, the oldest first."""
    unsent = select(Order).where(VIEWS["to_pack"], in_mode()).options(selectinload(Order.address))
    return db.session.scalars(unsent.order_by(Order.created_at).limit(most)).all()


def find_by_reference(reference: str) -> Order | None:
    """Return the order of this mode that Stripe knows by this reference, None for no such."""
    mine = select(Order).where(Order.client_reference == reference, in_mode())
    return db.session.scalar(mine) if is_key(reference) else None


def waiting_order(visitor: str) -> Order | None:
    """Return the newest order of a visitor that can still be paid, None where there is none."""
    mine = select(Order).where(Order.visitor == visitor, Order.state.in_(states.PAYABLE), in_mode())
    return db.session.scalar(mine.order_by(Order.id.desc()).limit(1))


def newest_ordered(visitor: str, since: datetime) -> str | None:
    """Return the token of what a visitor has ordered and paid since then, None for nothing."""
    mine = select(Order.token).where(Order.visitor == visitor, Order.state.in_(states.ORDERED))
    recent = mine.where(Order.created_at > since, in_mode())
    return db.session.scalar(recent.order_by(Order.id.desc()).limit(1))


def order_of_cart(cart_id: str | None) -> str | None:
    """Return the token of what a cart became that is paid, or whose payment is on its way."""
    mine = select(Order.token).where(Order.cart_id == cart_id, Order.state.in_(states.ORDERED))
    return db.session.scalar(mine.where(in_mode()).limit(1)) if cart_id else None


def newest_paid(until: datetime) -> datetime | None:
    """Return when the newest order was paid of those paid until then, None where none was."""
    paid = select(Order.paid_at).where(in_mode(), Order.paid_at <= until)
    return db.session.scalar(paid.order_by(Order.id.desc()).limit(1))
