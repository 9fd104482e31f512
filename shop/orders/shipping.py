"""Goods on their way to the customer."""

from collections.abc import Mapping

from flask_babel import gettext as _

from shop import mail
from shop.db import db, insert_once, now, write
from shop.errors import ShopError
from shop.orders import queries, states
from shop.orders.models import Address, Order


class NotReady(ShopError):
    """The order cannot be shipped."""

    status = 409
    code = "not_ready"


def keep_address(order: Order, fields: Mapping[str, str]) -> None:
    """Write down where the goods go, inside write(), if they are sent and nobody has said so yet.

    `fields`: ADDRESS_FIELDS. The owner's own hand counts more than what Stripe says later.
    """
    if order.is_sent and insert_once(Address, order_id=order.id, **fields):
        db.session.expire(order, ["address"])


def replace_address(order: Order, fields: Mapping[str, str]) -> None:
    """Write down where the goods go, inside write(), whatever was known before."""
    if order.address is None:
        order.address = Address()
    for name, value in fields.items():
        setattr(order.address, name, value)


def ship(number: int) -> None:
    """Write down that the goods are on their way, and tell the customer.

    Raises OrderMissing, and NotReady for an order that is not paid or was shipped before.
    """
    order_id = queries.find_by_number(number).id

    def unit() -> None:
        order = queries.lock(order_id)
        if order.shipped_at is not None or order.state not in ("paid", "partially_refunded"):
            raise NotReady(
                _(
                    "Only an order that is paid and was not shipped yet can be shipped. Nothing "
                    "changed."
                )
            )
        order.shipped_at = now()
        states.log_event(order, "shipped")
        mail.customer_shipped(order)

    write(unit)
