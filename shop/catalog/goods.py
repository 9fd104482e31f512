"""Goods as the owner keeps them: put on the shelf, priced, moved, hidden.

What changes them is called inside write().
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from contextlib import suppress
from decimal import Decimal, InvalidOperation
from itertools import count
from typing import Any

from flask import current_app
from flask_babel import lazy_gettext as _l
from sqlalchemy import case, func, select, tuple_, update
from sqlalchemy.orm import selectinload

from shop.catalog import products
from shop.catalog.models import LOW_STOCK, Product
from shop.catalog.products import ProductPage
from shop.db import changed_rows, db
from shop.errors import ShopError
from shop.i18n import format_minor
from shop.money import MOST_AMOUNT, WHOLE_HUNDREDS, ZERO_DECIMAL, minor_units
from shop.parsers import whole_number

MOST_PIECES = 1_000_000
NAME_LENGTH = 120
DESCRIPTION_LENGTH = 5000
MOST_VARIANTS = 50
FIGURES = re.compile(r"[0-9,]*[0-9](\.[0-9]{1,2})?")
BAD_PRICE = _l("Please write the price in %(currency)s in figures, like %(example)s.")


class GoodMissing(ShopError):
    """There is no such product, on the shelf or hidden."""

    status = 404
    code = "no_product"
    message = _l("This product does not exist. Nothing was changed.")


class EditedMeanwhile(ShopError):
    """Somebody else has changed the product since the form was shown."""

    status = 409
    code = "edited_meanwhile"
    message = _l(
        "Somebody has changed this product since you opened it. Nothing of yours is saved yet, "
        "and nothing is lost: it is here. Look at both, and save again to keep yours."
    )


class NameTaken(ShopError):
    """Another variant of the same product has this name."""

    status = 422
    code = "name_taken"
    message = _l("There is a variant “%(name)s” already.")


class TooManyVariants(ShopError):
    """The product has as many variants as a page can show."""

    status = 422
    code = "too_many_variants"
    message = _l("A product has %(most)s variants at most.", most=MOST_VARIANTS)


class BadValue(ShopError):
    """A field cannot be read; the message says how to write it."""

    status = 422


def read_price(raw: str, least: int = 1, currency: str | None = None) -> int:
    """Return a price as a person writes it ("2,000", "19.99", in wide figures too) in minor units.

    Raises BadValue.
    """
    from babel.numbers import NumberFormatError, parse_decimal

    currency = currency or str(current_app.config["SHOP_CURRENCY"])
    is_whole = currency in ZERO_DECIMAL | WHOLE_HUNDREDS
    text = re.sub(r"[\s¥$€£円]", "", _narrow(raw).lower().replace(currency, ""))
    try:
        if not FIGURES.fullmatch(text):
            raise NumberFormatError(text)
        # Strict: of “19,99” nobody knows whether it is 19.99 or 1,999.
        amount = minor_units(parse_decimal(text, locale="en", strict=True), currency)
    except (NumberFormatError, ValueError) as error:
        raise BadValue(
            BAD_PRICE, currency=currency.upper(), example="2,000" if is_whole else "19.99"
        ) from error
    if amount < least:
        raise BadValue(_l("A price is more than nothing."))
    if amount > MOST_AMOUNT:
        raise BadValue(_l("Stripe takes no more than %(most)s at once.",
                          most=format_minor(MOST_AMOUNT, currency)))  # fmt: skip
    return amount


def read_stock(raw: str) -> int | None:
    """Return how many there are, None for an empty field: as many as people want.

    Raises BadValue.
    """
    text = _narrow(raw).replace(",", "")
    if not text:
        return None
    pieces = whole_number(text, -1)
    if not 0 <= pieces <= MOST_PIECES:
        raise BadValue(_l("Please write how many there are in figures, 0 to 1,000,000, or nothing "
                          "where there is no limit."))  # fmt: skip
    return pieces


def read_tax_rate(raw: str) -> int:
    """Return a rate that is written in percent ("10", "8 %", "7.7") in hundredths of a percent.

    Raises BadValue.
    """
    text = _narrow(raw).rstrip("%").strip()
    with suppress(InvalidOperation):
        rate = Decimal(text) * 100 if FIGURES.fullmatch(text) else Decimal(-1)
        if 0 <= rate < 10000 and rate == int(rate):
            return int(rate)
    raise BadValue(_l("Please write the tax rate in percent, like 10 or 8."))


def written_rate(rate: int) -> str:
    """Return a rate in hundredths of a percent as it is written in percent: 10, 7.7."""
    return f"{Decimal(rate) / 100:f}".removesuffix(".00")


def usual_tax_rate() -> int:
    """Return the rate of the newest product; before the first one, Japan's for a shop in yen."""
    newest = select(Product.tax_rate).where(Product.parent_id.is_(None))
    found = db.session.scalar(newest.order_by(Product.id.desc()).limit(1))
    usual = 1000 if current_app.config["SHOP_CURRENCY"] == "jpy" else 0
    return usual if found is None else found


def _narrow(raw: str) -> str:
    """Return what was typed with the figures and signs of ASCII, without space around it."""
    return unicodedata.normalize("NFKC", raw).strip()


def page(words: str = "", after: int | None = None) -> ProductPage:
    """Return a page of all products, hidden ones too, in the owner's order."""
    return products.page_of(select(Product), words, after)


def list_all() -> Sequence[Product]:
    """Return all products, hidden ones too, in the owner's order."""
    every = select(Product).where(Product.parent_id.is_(None))
    every = every.order_by(Product.position, Product.id)
    return db.session.scalars(every.options(selectinload(Product.all_variants))).all()


def low(most: int = 20) -> Sequence[Product]:
    """Return the products and variants on sale of which few or none are left, the fewest first."""
    few = select(Product).where(Product.active, Product.stock <= LOW_STOCK)
    found = db.session.scalars(few.order_by(Product.stock, Product.id).limit(most)).all()
    return [one for one in found if one.is_on_sale and not one.all_variants]


def get(product_id: int) -> Product:
    """Return a product or variant, hidden or not; raise GoodMissing."""
    product = db.session.get(Product, product_id)
    if product is None:
        raise GoodMissing
    return product


def add(values: Mapping[str, Any]) -> Product:
    """Put a new product behind the others.

    `values`: columns of Product; without a tax rate it has the usual one.
    """
    usual = {"slug": _new_slug(values["name"]), "tax_rate": usual_tax_rate()}
    product = Product(position=_next_position(None), **(usual | dict(values)))
    db.session.add(product)
    db.session.flush()
    return product


def add_variant(parent: Product, values: Mapping[str, Any]) -> Product:
    """Put a new variant behind the others of its product. Raises NameTaken, TooManyVariants."""
    _refuse_taken(parent, values["name"], None)
    if len(parent.all_variants) >= MOST_VARIANTS:
        raise TooManyVariants
    variant = Product(parent_id=parent.id, position=_next_position(parent.id), **values)
    db.session.add(variant)
    db.session.flush()
    return variant


def change(
    product: Product, version: int, values: Mapping[str, Any], stock_before: int | None = None
) -> None:
    """Change columns of a product that is still at this version; raise EditedMeanwhile, NameTaken.

    `stock_before` is what the owner saw: what was sold since then is not put back by a new number.
    """
    if product.parent and "name" in values:
        _refuse_taken(product.parent, values["name"], product.id)
    values = dict(values)
    if "stock" in values and values["stock"] == stock_before:
        del values["stock"]
    elif values.get("stock") is not None and stock_before is not None:
        left = Product.stock + (values["stock"] - stock_before)
        values["stock"] = case((left < 0, 0), else_=left)
    still = update(Product).where(Product.id == product.id, Product.version == version)
    if not changed_rows(still.values(version=Product.version + 1, **values)):
        raise EditedMeanwhile
    db.session.expire(product)


def move(product: Product, up: bool) -> None:
    """Change the place of a product, or of a variant of one, with its neighbour's."""
    row = select(Product).where(Product.parent_id.is_not_distinct_from(product.parent_id))
    place, own = tuple_(Product.position, Product.id), (product.position, product.id)
    if up:
        row = row.where(place < own).order_by(Product.position.desc(), Product.id.desc())
    else:
        row = row.where(place > own).order_by(Product.position, Product.id)
    neighbour = db.session.scalar(row.limit(1))
    if neighbour is None:
        return
    if neighbour.position == product.position:  # two that were added at the same moment
        product.position += -1 if up else 1
    else:
        product.position, neighbour.position = neighbour.position, product.position


def _next_position(parent_id: int | None) -> int:
    last = select(func.max(Product.position))
    last = last.where(Product.parent_id.is_not_distinct_from(parent_id))
    return (db.session.scalar(last) or 0) + 1


def _refuse_taken(parent: Product, name: str, own_id: int | None) -> None:
    names = {one.name.casefold() for one in parent.all_variants if one.id != own_id}
    if name.casefold() in names:
        raise NameTaken(name=name)


def _new_slug(name: str) -> str:
    """Return an address for the name that no product has yet."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    base = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:60] or "item"
    alike = select(Product.slug).where(Product.slug.startswith(base, autoescape=True))
    taken = set(db.session.scalars(alike))
    free = (base if n == 1 else f"{base}-{n}" for n in count(1))
    return next(slug for slug in free if slug not in taken)
