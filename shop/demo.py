"""Sample goods and topics, in the shop's language, so that a new shop is not empty."""

from io import BytesIO
from typing import Any

from flask import current_app
from flask_babel import force_locale
from flask_babel import gettext as _
from sqlalchemy import select

from shop.board.models import Topic
from shop.catalog import deliveries, goods, pictures
from shop.catalog.models import Delivery, Product
from shop.db import db, end_read, write
from shop.demo_pictures import draw
from shop.details import current


def fill() -> int:
    """Add the samples that are missing and return how many were added."""
    with force_locale(current_app.config["SHOP_LOCALE"]):
        return write(_fill)


def hang_pictures() -> None:
    """Give the samples that have no picture the one that is drawn for them. Takes seconds."""
    with force_locale(current_app.config["SHOP_LOCALE"]):
        for slug, alt in _alts().items():
            _hang(slug, alt)


def _hang(slug: str, alt: str) -> None:
    product = db.session.scalar(select(Product).where(Product.slug == slug))
    if product is None or product.pictures:
        return
    product_id = product.id
    end_read()  # drawing takes long
    made = pictures.make(BytesIO(draw(slug)))
    write(lambda: pictures.add(goods.get(product_id), made, alt))


def _fill() -> int:
    there = set(db.session.scalars(select(Product.slug)))
    added = 0
    for good in _goods():
        if good["slug"] not in there:
            kinds = good.pop("kinds", ())
            product = goods.add(good)
            for name, stock in kinds:
                goods.add_variant(product, {"name": name, "stock": stock})
            added += 1
    if db.session.scalar(select(Delivery.id).limit(1)) is None:
        for delivery in _deliveries():
            deliveries.add(delivery)
            added += 1
    if db.session.scalar(select(Topic.id).limit(1)) is None:
        topics = _topics()
        for topic in topics:  # one by one: the last is the newest
            db.session.add(topic)
            db.session.flush()
        added += len(topics)
    return added


def _goods() -> list[dict[str, Any]]:
    """Return the sample goods; amounts in minor units, a stock of None is any number."""
    return [
        {"slug": "t-shirt", "name": _("T-shirt"), "unit_amount": 2000, "stock": None,
         "description":
             _("Heavy cotton, printed by hand in the back of the shop. Runs a little large.")},
        {"slug": "tea-towel", "name": _("Linen tea towel"), "unit_amount": 1200, "stock": 40,
         "description": _("Linen that gets softer every year.")},
        {"slug": "last-mugs", "name": _("Mug, the last ones"), "unit_amount": 1800, "stock": 5,
         "description":
             _("Stoneware from a potter who has retired. When these are gone, they are gone.")},
        {"slug": "postcards", "name": _("Postcards, ten"), "unit_amount": 500, "stock": None,
         "description": _("Ten views of the street from the shop window.")},
        {"slug": "hoodie", "name": _("Hoodie"), "unit_amount": 5800, "stock": None,
         "kinds": (("S", 8), ("M", 12), ("L", 3), ("XL", 0)),
         "description": _("Brushed on the inside, with a pocket that holds a book.")},
    ]  # fmt: skip


def _deliveries() -> list[dict[str, Any]]:
    """Return the sample deliveries; amounts in minor units."""
    rate = goods.usual_tax_rate()
    return [
        {"name": _("Pick-up in the shop"), "amount": 0, "tax_rate": rate},
        {"name": _("Parcel"), "amount": 600, "free_from_amount": 8000, "tax_rate": rate,
         "countries": current().home_country},
    ]  # fmt: skip


def _alts() -> dict[str, str]:
    """Return what is to be seen on the pictures."""
    return {
        "t-shirt": _("A white T-shirt with a small green shop printed on the chest"),
        "tea-towel": _("A linen towel with two red stripes, hung over a wooden rod"),
        "last-mugs": _("Two mugs of coffee, a blue one behind a red one"),
        "postcards": _("Three postcards with small white houses on hills"),
        "hoodie": _("A dark green hoodie with pale cords"),
    }


def _topics() -> list[Topic]:
    question = _(
        "Do the mugs survive a dishwasher? Mine is from 2019, and the glaze is still fine:"
    )
    return [
        Topic(name=_("Aya"), comment=_("The T-shirt is here. The fabric is lovely and solid.")),
        Topic(name=_("Ben"), comment=f"{question}\nhttps://www.example.com/mugs"),
        Topic(name="", comment=_("Lovely little shop. Open on Sundays?")),
    ]
