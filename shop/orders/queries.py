"""Finding orders."""

from datetime import datetime
from typing import Any

from flask import current_app
from flask_babel import lazy_gettext as _l
from sqlalchemy import select, update

from shop.db import changed_rows, db, is_key
from shop.errors import ShopError
from shop.orders import states
from shop.orders.models import Order
from shop.orders.states import AlreadyOrdered
from shop.security import external_url


class OrderMissing(ShopError):
    """No order (of this mode) answers to what was asked for."""

    status = 404
    code = "no_order"
    message = _l("We cannot find this order. Nothing was charged; please check the address.")


def claim(token: str) -> Order | None:
    """Return the order if it can still be paid, and keep it so until this write() ends.

    None where it was given up. Raises AlreadyOrdered, and OrderMissing for another mode's order.
    The UPDATE changes nothing but holds the row: who settles or closes the order waits, so that
    what is read after it is not out of date before it is acted upon.
    """
    mine = update(Order).where(Order.token == token, Order.mode == current_app.config["SHOP_MODE"])
    if not changed_rows(mine.values(mode=Order.mode)):
        raise OrderMissing
    order = get_order(token)
    db.session.refresh(order)
    if order.state in states.ORDERED:
        raise AlreadyOrdered(token)
    return order if order.state in states.PAYABLE else None


def hold(order_id: int) -> Order:
    """Return the order as it is now, and keep it so until this write() ends."""
    changed_rows(update(Order).where(Order.id == order_id).values(mode=Order.mode))
    return db.session.get_one(Order, order_id, populate_existing=True)


def get_order(token: str) -> Order:
    """Return the order with this token; raise OrderMissing."""
    order = db.session.scalar(select(Order).where(Order.token == token)) if is_key(token) else None
    if order is None:
        raise OrderMissing
    return order


def find_by_number(number: int) -> Order:
    """Return the order of this mode with this number; raise OrderMissing."""
    order = db.session.get(Order, number) if 0 < number < 2**63 else None
    if order is None or order.mode != current_app.config["SHOP_MODE"]:
        raise OrderMissing
    return order


def find_by_uid(uid: str) -> Order | None:
    """Return the order of this mode that Stripe knows by this reference, None for no such."""
    mine = select(Order).where(Order.uid == uid, Order.mode == current_app.config["SHOP_MODE"])
    return db.session.scalar(mine) if is_key(uid) else None


def waiting_order(visitor: str) -> Order | None:
    """Return the newest order of a visitor that can still be paid, None where there is none."""
    mine = select(Order).where(Order.visitor == visitor, Order.state.in_(states.PAYABLE))
    return db.session.scalar(
        mine.where(Order.mode == current_app.config["SHOP_MODE"]).order_by(Order.id.desc()).limit(1)
    )


def newest_ordered(visitor: str, since: datetime) -> str | None:
    """Return the token of what a visitor has ordered and paid since then, None for nothing."""
    mine = select(Order.token).where(Order.visitor == visitor, Order.state.in_(states.ORDERED))
    return db.session.scalar(mine.where(Order.created > since).order_by(Order.id.desc()).limit(1))


def order_of_cart(cart_id: str | None) -> str | None:
    """Return the token of what a cart became that is paid, or whose payment is on its way."""
    ordered = select(Order.token).where(Order.cart_id == cart_id, Order.state.in_(states.ORDERED))
    return db.session.scalar(ordered.limit(1)) if cart_id else None


def summary(order: Order) -> dict[str, Any]:
    """Return the order as outside programs and mails read it; amounts in minor units."""
    return {
        "order": order.token,
        "number": order.number,
        "state": order.state,
        "amount": order.amount,
        "refunded": order.refunded.amount,
        "currency": order.currency,
        "mode": order.mode,
        "lines": [
            {
                "name": line.name,
                "quantity": line.quantity,
                "unit_amount": line.unit_amount,
                "amount": line.unit_amount * line.quantity,
            }
            for line in order.lines
        ],
    }


def letter(order: Order, **more: Any) -> dict[str, Any]:
    """Return what a mail says about an order, with the link to it, and `more`."""
    link = external_url("payments.order", token=order.token)
    return summary(order) | {"link": link} | more
