"""Goods on their way to the customer, and back."""

from collections.abc import Mapping

from flask_babel import lazy_gettext as _l

from shop import mail
from shop.db import db, insert_once, now
from shop.errors import ShopError
from shop.orders import queries, states, stock
from shop.orders.models import Address, Order
from shop.parsers import visible


class NotReady(ShopError):
    """The order cannot be shipped."""

    status = 409
    code = "not_ready"
    message = _l(
        "Only an order that is paid and was not shipped yet can be shipped. Nothing changed."
    )


class NothingToRestock(ShopError):
    """The goods of the order are on the shelf, or its customer's."""

    status = 409
    code = "nothing_to_restock"
    message = _l(
        "Only the goods of an order that is refunded can go back, and only once. Nothing changed."
    )


class PersonErased(ShopError):
    """The person who had ordered is erased."""

    status = 409
    code = "person_erased"
    message = _l("The person of this order was erased, so no address is kept. Nothing changed.")


def keep_address(order: Order, fields: Mapping[str, str]) -> None:
    """Write down where the goods go, inside write(), if they are sent and nobody has said so yet.

    `fields`: ADDRESS_FIELDS. The owner's own hand counts more than what Stripe says later.
    """
    if order.is_sent and not order.erased_at and insert_once(Address, order_id=order.id, **fields):
        db.session.expire(order, ["address"])


def replace_address(order: Order, fields: Mapping[str, str]) -> None:
    """Write down where the goods go, inside write(), whatever was known before.

    Raises PersonErased.
    """
    if order.erased_at:
        raise PersonErased
    if order.address is None:
        order.address = Address()
    for name, value in fields.items():
        setattr(order.address, name, value)


def pack(number: int) -> None:
    """Write down, inside write(), that the goods are packed. Raises OrderMissing and NotReady."""
    order = _ready(number)
    if order.packed_at is None:
        order.packed_at = now()
        states.log_event(order, "packed")


def ship(number: int, carrier: str = "", tracking: str = "") -> None:
    """Write down, inside write(), that the goods are on their way; the customer is told how.

    Raises OrderMissing, and NotReady for an order that is not paid or was shipped before.
    """
    order = _ready(number)
    order.packed_at = order.packed_at or now()
    order.shipped_at = now()
    order.carrier = visible(carrier) or None
    order.tracking = visible(tracking) or None
    said = ", ".join(filter(None, (order.carrier, order.tracking)))
    states.log_event(order, "shipped", said)
    mail.customer_shipped(order)


def restock(number: int) -> None:
    """Put the goods of a refunded order back on the shelf, inside write().

    Raises OrderMissing and NothingToRestock.
    """
    order = queries.lock(queries.find_by_number(number).id)
    if order.state != "refunded" or not order.holds_stock:
        raise NothingToRestock
    stock.release_stock(order)
    states.log_event(order, "restocked")


def _ready(number: int) -> Order:
    """Return the order as it is now, if it is paid and not shipped yet, inside write()."""
    order = queries.lock(queries.find_by_number(number).id)
    if order.shipped_at is not None or order.state not in states.KEPT:
        raise NotReady
    return order
