"""Sample goods and topics, in the shop's language, so that a new shop is not empty."""

from flask import current_app
from flask_babel import force_locale
from flask_babel import gettext as _
from sqlalchemy import select

from shop.board.models import Topic
from shop.catalog.models import Product
from shop.db import db, write


def fill() -> int:
    """Add the samples that are missing and return how many were added."""
    with force_locale(current_app.config["SHOP_LOCALE"]):
        return write(_fill)


def _fill() -> int:
    there = set(db.session.scalars(select(Product.slug)))
    samples: list[Product | Topic] = [good for good in _goods() if good.slug not in there]
    if db.session.scalar(select(Topic.id).limit(1)) is None:
        samples += _topics()
    # One by one: the T-shirt comes first in the shop because it is the first row.
    for sample in samples:
        db.session.add(sample)
        db.session.flush()
    return len(samples)


def _goods() -> list[Product]:
    """Return the sample goods; amounts in minor units, a stock of None is any number."""
    return [
        _product("t-shirt", _("T-shirt"), 2000, None,
                 _("Heavy cotton, printed by hand in the back of the shop. Runs a little large.")),
        _product("tea-towel", _("Linen tea towel"), 1200, 40,
                 _("Linen that gets softer every year.")),
        _product("last-mugs", _("Mug, the last ones"), 1800, 5,
                 _("Stoneware from a potter who has retired. When these are gone, they are gone.")),
        _product("postcards", _("Postcards, ten"), 500, None,
                 _("Ten views of the street from the shop window.")),
    ]  # fmt: skip


def _product(slug: str, name: str, amount: int, stock: int | None, text: str) -> Product:
    return Product(slug=slug, name=name, unit_amount=amount, stock=stock, description=text)


def _topics() -> list[Topic]:
    question = _(
        "Do the mugs survive a dishwasher? Mine is from 2019, and the glaze is still fine:"
    )
    return [
        Topic(name=_("Aya"), comment=_("The T-shirt is here. The fabric is lovely and solid.")),
        Topic(name=_("Ben"), comment=f"{question}\nhttps://www.example.com/mugs"),
        Topic(name="", comment=_("Lovely little shop. Open on Sundays?")),
    ]
