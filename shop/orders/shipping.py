"""Goods on their way to the customer."""

from functools import partial

from flask_babel import gettext as _
from sqlalchemy import update

from shop import mail
from shop.db import changed_rows, now, write
from shop.errors import ShopError
from shop.orders import queries, states
from shop.orders.models import Order


def mark_shipped(order: Order) -> bool:
    """Write the day of shipping down, inside write(); return whether it was not yet."""
    ready = update(Order).where(
        Order.id == order.id,
        Order.shipped_at.is_(None),
        Order.state.in_(("paid", "partially_refunded")),
    )
    return changed_rows(ready.values(shipped_at=now())) == 1


class NotReady(ShopError):
    """The order cannot be shipped."""

    status = 409
    code = "not_ready"


def ship(number: int) -> None:
    """Write down that the goods are on their way, and tell the customer.

    Raises OrderMissing, and NotReady for an order that is not paid or was shipped before.
    """
    order_id = queries.find_by_number(number).id
    write(partial(_ship, order_id))


def _ship(order_id: int) -> None:
    order = queries.lock(order_id)
    if not mark_shipped(order):
        raise NotReady(
            _("Only an order that is paid and was not shipped yet can be shipped. Nothing changed.")
        )
    states.log_event(order, "shipped")
    mail.customer_shipped(order)
