"""From a wish to an order: prices and goods from the shelf, nothing from the browser."""

import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass

from flask import current_app
from flask_babel import lazy_gettext as _l
from sqlalchemy import func, select

from shop import details
from shop.catalog import deliveries, products
from shop.catalog.deliveries import DeliveryChoice
from shop.catalog.products import Choice
from shop.db import Base, db
from shop.errors import ShopError
from shop.money import MOST_AMOUNT
from shop.orders import queries, states, stock
from shop.orders.models import Order, OrderLine

# The key under which the highest number that was given before a restore is kept.
FLOOR = "order floor"


class BuyingOff(ShopError):
    """The shop takes no payments."""

    status = 503
    code = "buying_off"
    message = _l("Paying is switched off for now. Nothing was charged; please come back later.")


class ShopClosed(ShopError):
    """The owner is away: the shop is looked at, and nothing is sold."""

    status = 503
    code = "closed"
    title = _l("The shop is closed")
    message = _l("Nothing was charged, and your cart is kept. %(note)s")


class NothingToBuy(ShopError):
    """The cart is empty."""

    status = 422
    code = "empty_cart"
    message = _l("Your cart is empty, so there is nothing to pay. Nothing was charged.")


class AmountTooLarge(ShopError):
    """Stripe takes no payment of more than eight digits."""

    status = 422
    code = "amount_too_large"
    message = _l("This is more than can be paid at once. Nothing was charged; please choose fewer.")


@dataclass(frozen=True)
class Buyer:
    """Who buys: the browser, the cart where it is the cart that is bought, and the language."""

    visitor: str
    cart_id: str | None
    language: str


def refuse_where_off() -> None:
    """Raise BuyingOff where the shop takes no payments."""
    mode = current_app.config["SHOP_MODE"]
    if mode == "off":
        raise BuyingOff
    # A real shop that lost its key must never become a playground.
    if mode == "sandbox" and db.session.scalar(
        select(Order.id).where(Order.mode == "live").limit(1)
    ):
        raise BuyingOff


def refuse_where_closed(key: str) -> None:
    """Raise ShopClosed on closed days; who has an open order for this wish may finish it."""
    open_order = select(Order.id).where(Order.dedup_key == key)
    if details.current().is_closed and db.session.scalar(open_order) is None:
        raise ShopClosed(note=details.current().closed_words)


def dedup_key(choices: Sequence[Choice], chosen: DeliveryChoice | None, buyer: Buyer) -> str:
    """Return what is the same for the same wish of the same visitor: for a double click, say."""
    lines = sorted((c.product.id, c.quantity, c.product.price.amount) for c in choices)
    config = current_app.config
    wish = [config["SHOP_MODE"], config["SHOP_CURRENCY"], buyer.visitor, buyer.cart_id, lines]
    if chosen:
        wish.append([chosen.delivery.id, chosen.price.amount])
    secret = config["SECRET_KEY"].encode()
    return hmac.new(secret, json.dumps(wish).encode(), hashlib.sha256).hexdigest()


def find_or_make(wanted: Sequence[tuple[int, int]], delivery_id: int | None, buyer: Buyer) -> str:
    """Return the token of the open order for this wish, or of a new one; inside write().

    `wanted`: product ids and quantities; without a delivery it is the first that fits. Raises
    SoldOut, AmountTooLarge, AlreadyOrdered, DeliveryGone, and what products.choose() raises.
    """
    choices = products.choose(wanted)
    chosen = deliveries.choose(choices, delivery_id)
    key = dedup_key(choices, chosen, buyer)
    order = db.session.scalar(select(Order).where(Order.dedup_key == key))
    if order is not None:
        return order.token
    # Asked after the key: an event may have paid the cart's order since this request began.
    paid = queries.order_of_cart(buyer.cart_id)
    if paid is not None:
        raise states.AlreadyOrdered(paid)
    stock.release_other_modes()
    order = _new_order(choices, chosen, buyer, key)
    number = _number_above_floor()
    if number is not None:
        order.id = number
    db.session.add(order)
    db.session.flush()
    missing = stock.reserve_stock(order)
    if missing is not None:
        raise products.SoldOut(name=missing)
    states.log_event(order, "ordered")
    return order.token


def _number_above_floor() -> int | None:
    """Return the next number where SQLite would give one again that was given before a restore.

    It counts on from the rows that are there; servers count by themselves.
    """
    if db.engine.dialect.name != "sqlite":
        return None
    kept = Base.metadata.tables["key_values"]
    floor = int(db.session.scalar(select(kept.c.value).where(kept.c.name == FLOOR)) or 0)
    highest = db.session.scalar(select(func.max(Order.id))) or 0 if floor else 0
    return floor + 1 if floor > highest else None


def _new_order(
    choices: Sequence[Choice], chosen: DeliveryChoice | None, buyer: Buyer, key: str
) -> Order:
    amount = deliveries.total(choices, chosen).amount
    if amount > MOST_AMOUNT:
        raise AmountTooLarge
    order = Order(
        mode=current_app.config["SHOP_MODE"],
        currency=current_app.config["SHOP_CURRENCY"],
        amount=amount,
        visitor=buyer.visitor,
        cart_id=buyer.cart_id,
        dedup_key=key,
        language=buyer.language,
        lines=[
            OrderLine(
                product_id=choice.product.id,
                name=choice.product.title,
                quantity=choice.quantity,
                unit_amount=choice.product.price.amount,
                tax_rate=choice.product.whole.tax_rate,
            )
            for choice in choices
        ],
    )
    if chosen:
        order.delivery_id = chosen.delivery.id
        order.delivery_name = chosen.delivery.name
        order.delivery_amount = chosen.price.amount
        order.delivery_tax_rate = chosen.delivery.tax_rate
        order.delivery_countries = chosen.delivery.countries
    return order
