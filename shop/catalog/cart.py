"""The visitor's cart: an id and what lies in it, in the signed cookie. Prices are never in it."""

import secrets
from typing import Any

from flask import session

from shop.catalog.models import Product
from shop.catalog.shelf import MOST_PER_LINE, BadQuantity, Choice, choose
from shop.extensions import db

MOST_LINES = 30


def visitor() -> str:
    """Return the visitor's id: the same in all tabs of a browser, made with the first page."""
    if "visitor" not in session:
        session["visitor"] = secrets.token_urlsafe(16)
    return str(session["visitor"])


def cart_id() -> str:
    """Return the id of the cart; a new cart has a new one."""
    return str(_cart()["id"])


def count() -> int:
    """Return how many pieces lie in the cart."""
    visitor()
    return sum(session["cart"]["items"].values()) if "cart" in session else 0


def add(product_id: int, quantity: int) -> None:
    """Put pieces into the cart; raises ProductMissing and BadQuantity."""
    items = _items()
    total = items.get(str(product_id), 0) + quantity
    if quantity < 1 or (len(items) >= MOST_LINES and str(product_id) not in items):
        raise BadQuantity
    choose([(product_id, total)])
    _keep(items | {str(product_id): total})


def change(product_id: int, quantity: int) -> None:
    """Set how many there are of a product in the cart; 0 takes it out. Raises BadQuantity."""
    items = _items()
    if not 0 <= quantity <= MOST_PER_LINE:
        raise BadQuantity
    items.pop(str(product_id), None)
    if quantity:
        choose([(product_id, quantity)])
        items = _items() | {str(product_id): quantity}
    _keep(items)


def choices() -> list[Choice]:
    """Return what lies in the cart at today's prices; what is not sold any more is left out."""
    found = []
    for key, quantity in _items().items():
        product = db.session.get(Product, int(key))
        if product is not None and product.active:
            found.append(Choice(product, quantity))
    return found


def empty() -> None:
    """Begin a new, empty cart."""
    session.pop("cart", None)


def _cart() -> dict[str, Any]:
    if "cart" not in session:
        session["cart"] = {"id": secrets.token_urlsafe(16), "items": {}}
    cart: dict[str, Any] = session["cart"]
    return cart


def _items() -> dict[str, int]:
    return dict(_cart()["items"])


def _keep(items: dict[str, int]) -> None:
    session["cart"] = {"id": cart_id(), "items": items}
