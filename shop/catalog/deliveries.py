"""Ways for goods to come to the customer, and what they cost."""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flask_babel import lazy_gettext as _l
from sqlalchemy import select

from shop.catalog import products
from shop.catalog.models import Delivery
from shop.catalog.products import Choice
from shop.db import db
from shop.errors import ShopError
from shop.money import Money

MOST_DELIVERIES = 20
# https://docs.stripe.com/api/checkout/sessions/create#create_checkout_session-shipping_options
MOST_NAME = 100


class DeliveryGone(ShopError):
    """The delivery that was chosen is not offered for these goods, or no longer."""

    status = 409
    code = "delivery_gone"
    message = _l(
        "The delivery that you chose is no longer offered. Nothing was charged; please choose how "
        "the goods shall come to you."
    )

    def __init__(self, choices: Sequence[Choice], order: str | None = None) -> None:
        super().__init__(order=order)
        self.wanted = [(choice.product.id, choice.quantity) for choice in choices]


class DeliveryMissing(ShopError):
    """There is no such delivery to be edited."""

    status = 404
    code = "no_delivery"
    message = _l("This delivery does not exist any more. Nothing was changed.")


class TooManyDeliveries(ShopError):
    """There are as many deliveries as a customer can choose among."""

    status = 422
    code = "too_many_deliveries"
    message = _l("A shop has %(most)s deliveries at most.", most=MOST_DELIVERIES)


@dataclass(frozen=True)
class DeliveryChoice:
    """A delivery at what it costs for certain goods."""

    delivery: Delivery
    price: Money


def list_all() -> Sequence[Delivery]:
    """Return all deliveries in the owner's order."""
    every = select(Delivery).order_by(Delivery.position, Delivery.id).limit(MOST_DELIVERIES)
    return db.session.scalars(every).all()


def count() -> int:
    """Return how many deliveries there are to choose among."""
    return len(list_all())


def offers(choices: Sequence[Choice]) -> list[DeliveryChoice]:
    """Return the deliveries to choose among for these goods, none where nothing is to be sent."""
    if not any(choice.product.whole.needs_shipping for choice in choices):
        return []
    goods = products.total(choices)
    return [DeliveryChoice(one, one.price_for(goods)) for one in list_all()]


def choose(choices: Sequence[Choice], delivery_id: int | None) -> DeliveryChoice | None:
    """Return the delivery with this id, without an id the first; None where there is none.

    Raises DeliveryGone.
    """
    offered = offers(choices)
    if not offered:
        return None
    if delivery_id is None:
        return offered[0]
    for offer in offered:
        if offer.delivery.id == delivery_id:
            return offer
    raise DeliveryGone(choices)


def total(choices: Sequence[Choice], chosen: DeliveryChoice | None) -> Money:
    """Return the price of the goods and their delivery together; there is at least one choice."""
    goods = products.total(choices)
    return goods + chosen.price if chosen else goods


def read_countries(raw: str) -> list[str]:
    """Return the codes in a text such as "JP, us" in capital letters, each once."""
    text = unicodedata.normalize("NFKC", raw).upper().replace(",", " ").replace("、", " ")
    return list(dict.fromkeys(text.split()))


def get(delivery_id: int) -> Delivery:
    """Return a delivery to be edited; raise DeliveryMissing."""
    found = db.session.get(Delivery, delivery_id)
    if found is None:
        raise DeliveryMissing
    return found


def add(values: Mapping[str, Any]) -> Delivery:
    """Put a delivery behind the others, inside write(); raise TooManyDeliveries."""
    there = list_all()
    if len(there) >= MOST_DELIVERIES:
        raise TooManyDeliveries
    delivery = Delivery(position=there[-1].position + 1 if there else 1, **values)
    db.session.add(delivery)
    db.session.flush()
    return delivery


def change(delivery: Delivery, values: Mapping[str, Any]) -> None:
    """Change columns of a delivery, inside write(). Orders keep theirs as it was."""
    for name, value in values.items():
        setattr(delivery, name, value)


def remove(delivery: Delivery) -> None:
    """Offer a delivery no longer, inside write()."""
    db.session.delete(delivery)


def move(delivery: Delivery, up: bool) -> None:
    """Change the place of a delivery with its neighbour's, inside write()."""
    order = list(list_all())
    here = order.index(delivery)
    there = here - 1 if up else here + 1
    if 0 <= there < len(order):
        order[here], order[there] = order[there], order[here]
        for position, one in enumerate(order, 1):
            one.position = position
