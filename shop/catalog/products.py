"""Products, and the pieces of them in stock."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from flask_babel import lazy_gettext as _l
from sqlalchemy import select, update

from shop.catalog.models import Product
from shop.db import changed_rows, db, is_key
from shop.errors import ShopError
from shop.money import Money

WINDOW_SIZE = 6
CATALOGUE_SIZE = 200
MOST_PER_LINE = 99


class ProductMissing(ShopError):
    """There is no such product on sale."""

    status = 404
    code = "no_product"
    message = _l("We do not sell this, or no longer do. Nothing was charged.")


class BadQuantity(ShopError):
    """The quantity is not from 1 to MOST_PER_LINE."""

    status = 422
    code = "bad_quantity"
    message = _l(
        "Please choose a number from 1 to %(most)s. Nothing was charged.", most=MOST_PER_LINE
    )


class SoldOut(ShopError):
    """Fewer are left of `name` than are wanted."""

    status = 409
    code = "sold_out"
    message = _l(
        "Nothing was charged: there are not enough left of “%(name)s”. Please choose fewer, or "
        "something else."
    )


@dataclass(frozen=True)
class Choice:
    """A quantity of one product at its present price."""

    product: Product
    quantity: int

    @property
    def amount(self) -> Money:
        """The price of all pieces."""
        return self.product.price * self.quantity


def window() -> Sequence[Product]:
    """Return the few products that are shown beside the board."""
    return catalogue(WINDOW_SIZE)


def catalogue(most: int = CATALOGUE_SIZE) -> Sequence[Product]:
    """Return the products on sale, oldest first."""
    on_sale = select(Product).where(Product.active).order_by(Product.id)
    return db.session.scalars(on_sale.limit(most)).all()


def get_product(slug: str) -> Product:
    """Return the product on sale at this address; raise ProductMissing."""
    mine = select(Product).where(Product.slug == slug, Product.active)
    product = db.session.scalar(mine) if is_key(slug) else None
    if product is None:
        raise ProductMissing
    return product


def find_products(ids: Iterable[int]) -> Sequence[Product]:
    """Return the products with these ids that are on sale, oldest first."""
    mine = select(Product).where(Product.id.in_(ids), Product.active).order_by(Product.id)
    return db.session.scalars(mine).all()


def choose(wanted: Iterable[tuple[int, int]]) -> list[Choice]:
    """Return (product id, quantity) pairs as choices, prices from the database.

    Raises ProductMissing and BadQuantity.
    """
    choices = []
    for product_id, quantity in wanted:
        product = db.session.get(Product, product_id) if 0 < product_id < 2**63 else None
        if product is None or not product.active:
            raise ProductMissing
        if not 1 <= quantity <= MOST_PER_LINE:
            raise BadQuantity
        choices.append(Choice(product, quantity))
    return choices


def total(choices: Sequence[Choice]) -> Money:
    """Return the price of all choices together; there is at least one."""
    return sum((choice.amount for choice in choices[1:]), choices[0].amount)


def take(product_id: int, quantity: int) -> bool:
    """Take pieces out of the stock, inside write(); return False where there are not enough."""
    product = update(Product).where(Product.id == product_id)
    enough = product.where(Product.stock.is_(None) | (Product.stock >= quantity))
    # One guarded statement: two buyers of the last piece cannot both see it.
    return changed_rows(enough.values(stock=Product.stock - quantity)) == 1


def lacks(product_id: int, quantity: int) -> bool:
    """Tell whether fewer pieces of a product are in stock than `quantity`."""
    stock = db.session.scalar(select(Product.stock).where(Product.id == product_id))
    return stock is not None and stock < quantity


def put_back(product_id: int, quantity: int) -> None:
    """Put pieces back into the stock, inside write(); a product without a limit stays so."""
    product = update(Product).where(Product.id == product_id)
    changed_rows(product.values(stock=Product.stock + quantity))
