"""The visitor's cart, in the signed cookie: an id, quantities, a delivery, and no prices."""

import secrets
from typing import Any

from flask import session
from flask_babel import lazy_gettext as _l

from shop.catalog import deliveries, products
from shop.catalog.deliveries import DeliveryChoice
from shop.catalog.models import Product
from shop.catalog.products import BadQuantity, Choice
from shop.errors import ShopError
from shop.security import visitor

# A cookie holds 4 KB.
MOST_LINES = 30


class CartFull(ShopError):
    """The cart holds no more different products."""

    status = 422
    code = "cart_full"
    message = _l(
        "Your cart holds %(most)s different products at most. Please order these first; "
        "nothing was charged.",
        most=MOST_LINES,
    )


def cart_id() -> str:
    """Return the id of the cart; a new cart has a new one."""
    return str(_cart()["id"])


def count() -> int:
    """Return how many pieces lie in the cart."""
    visitor()
    return sum(session["cart"]["items"].values()) if "cart" in session else 0


def add(product_id: int, quantity: int) -> None:
    """Put pieces into the cart; raises ProductMissing, BadQuantity and CartFull."""
    if quantity < 1:
        raise BadQuantity
    _set(product_id, _items().get(str(product_id), 0) + quantity)


def change(product_id: int, quantity: int) -> None:
    """Set how many there are of a product in the cart; 0 takes it out. Raises what add() raises."""
    if quantity:
        _set(product_id, quantity)
    else:
        _keep({key: count for key, count in _items().items() if key != str(product_id)})


def choices() -> list[Choice]:
    """Return the products in the cart at today's prices, without those that are no longer sold."""
    return look()[0]


def look() -> tuple[list[Choice], list[Product]]:
    """Return what choices() returns, and the products in the cart that are no longer sold so.

    They are hidden, or have got variants.
    """
    items = _items()
    found = products.find_products([int(key) for key in items]) if items else ()
    sold = [one for one in found if one.is_on_sale and not one.all_variants]
    gone = [one for one in found if one not in sold]
    return [Choice(one, items[str(one.id)]) for one in sold], gone


def choose_delivery(delivery_id: int) -> None:
    """Keep how the goods in the cart shall come; raises DeliveryGone."""
    deliveries.choose(choices(), delivery_id)
    session["cart"] = _cart() | {"delivery": delivery_id}


def delivery(offered: list[DeliveryChoice]) -> DeliveryChoice | None:
    """Return the one of these deliveries that is kept with the cart, else the first."""
    kept = [offer for offer in offered if offer.delivery.id == _cart().get("delivery")]
    return next(iter(kept or offered), None)


def empty() -> None:
    """Begin a new, empty cart."""
    session.pop("cart", None)


def _cart() -> dict[str, Any]:
    fresh = {"id": secrets.token_urlsafe(16), "items": {}}
    return session.setdefault("cart", fresh)  # type: ignore[no-any-return]


def _items() -> dict[str, int]:
    return dict(_cart()["items"])


def _set(product_id: int, quantity: int) -> None:
    products.choose([(product_id, quantity)])
    items = _items() | {str(product_id): quantity}
    if len(items) > MOST_LINES:
        raise CartFull
    _keep(items)


def _keep(items: dict[str, int]) -> None:
    session["cart"] = _cart() | {"items": items}
