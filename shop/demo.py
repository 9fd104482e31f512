"""Sample goods and topics, so that a new shop is not empty."""

from sqlalchemy import select

from shop.board.models import Topic
from shop.catalog.models import Product
from shop.extensions import db, write

# slug, name, price in minor units, stock (None: any number), text
GOODS = (
    (
        "t-shirt",
        "T-shirt",
        2000,
        None,
        "Heavy cotton, printed by hand in the back of the shop. Runs a little large.",
    ),
    ("tea-towel", "Tea towel", 1200, 40, "Linen that gets softer every year."),
    (
        "last-mugs",
        "The last mugs",
        1800,
        5,
        "Stoneware from a potter who has retired. When these are gone, they are gone.",
    ),
    ("postcards", "Ten postcards", 500, None, "Ten views of the street from the shop window."),
)
TOPICS = (
    ("Aya", "Tシャツ、届きました。生地がしっかりしていて気に入っています。"),
    (
        "Ben",
        "Do the mugs survive a dishwasher?\nMine is from 2019 and the glaze is still fine: https://www.example.com/mugs",
    ),
    ("", "Lovely little shop. Open on Sundays?"),
)


def fill() -> int:
    """Add the samples that are missing and return how many were added."""
    return write(_fill)


def _fill() -> int:
    there = set(db.session.scalars(select(Product.slug)))
    goods = [
        Product(slug=slug, name=name, unit_amount=amount, stock=stock, description=text)
        for slug, name, amount, stock, text in GOODS
        if slug not in there
    ]
    wrote = db.session.scalar(select(Topic.id).limit(1)) is not None
    topics = [] if wrote else [Topic(name=name, comment=text) for name, text in TOPICS]
    # One by one: the T-shirt comes first in the shop because it is the first row.
    for sample in (*goods, *topics):
        db.session.add(sample)
        db.session.flush()
    return len(goods) + len(topics)
