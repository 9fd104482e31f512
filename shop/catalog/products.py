"""Products, and the pieces of them in stock."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from flask_babel import lazy_gettext as _l
from sqlalchemy import Select, select, update
from sqlalchemy.orm import joinedload, selectinload

from shop.catalog.models import Picture, Product
from shop.db import changed_rows, db, is_key
from shop.errors import ShopError
from shop.money import Money

WINDOW_SIZE = 6
PAGE_SIZE = 48
MOST_PER_LINE = 99
# What is asked of a product or variant that is bought, and what cart and lists show of it.
CHOSEN = joinedload(Product.parent), selectinload(Product.all_variants)
SHOWN = (
    *CHOSEN,
    joinedload(Product.parent).selectinload(Product.pictures),
    selectinload(Product.pictures),
)


class ProductMissing(ShopError):
    """There is no such product on sale."""

    status = 404
    code = "no_product"
    message = _l("We do not sell this, or no longer do. Nothing was charged.")


class ChooseVariant(ShopError):
    """The product comes in variants, and one of them is to be chosen."""

    status = 422
    code = "choose_variant"
    message = _l(
        "“%(name)s” comes in several kinds. Please choose one on its page. Nothing was charged."
    )

    def __init__(self, product: Product) -> None:
        super().__init__(name=product.name)
        self.slug = product.slug


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
class ProductPage:
    """A page of products; `next_after` names the next page, None on the last."""

    products: Sequence[Product]
    next_after: int | None


@dataclass(frozen=True)
class Choice:
    """A quantity of one product or variant at its present price."""

    product: Product
    quantity: int

    @property
    def amount(self) -> Money:
        """The price of all pieces."""
        return self.product.price * self.quantity


def window() -> Sequence[Product]:
    """Return the few products that are shown beside the board."""
    return catalogue(most=WINDOW_SIZE).products


def catalogue(words: str = "", after: int | None = None, most: int = PAGE_SIZE) -> ProductPage:
    """Return a page of the products on sale, in the owner's order.

    Those whose name has `words` in it; those behind the product with the id `after`.
    """
    return page_of(select(Product).where(Product.active), words, after, most)


def page_of(
    chosen: Select[Product], words: str, after: int | None, most: int = PAGE_SIZE
) -> ProductPage:
    """Return a page of the chosen products, in the owner's order, variants under their products."""
    query = chosen.where(Product.parent_id.is_(None)).order_by(Product.position, Product.id)
    if words:
        query = query.where(Product.name.icontains(words, autoescape=True))
    last = db.session.get(Product, after) if after is not None and after < 2**63 else None
    if last is not None:
        behind = (Product.position > last.position) | (Product.id > last.id)
        query = query.where(Product.position >= last.position, behind)
    parts = selectinload(Product.all_variants), selectinload(Product.pictures)
    found = db.session.scalars(query.options(*parts).limit(most + 1)).all()
    return ProductPage(found[:most], found[most - 1].id if len(found) > most else None)


def get_product(slug: str) -> Product:
    """Return the product on sale at this address; raise ProductMissing."""
    mine = select(Product).where(Product.slug == slug, Product.active)
    product = db.session.scalar(mine) if is_key(slug) else None
    if product is None:
        raise ProductMissing
    return product


def slugs(most: int = 40_000) -> Sequence[str]:
    """Return the addresses of the products on sale, the newest first."""
    mine = select(Product.slug).where(Product.active, Product.slug.is_not(None))
    found = db.session.scalars(mine.order_by(Product.id.desc()).limit(most))
    return [str(slug) for slug in found]


def find_products(ids: Iterable[int]) -> Sequence[Product]:
    """Return the products and variants with these ids, hidden ones too, oldest first."""
    mine = select(Product).where(Product.id.in_(ids)).order_by(Product.id)
    return db.session.scalars(mine.options(*SHOWN)).all()


def first_pictures(ids: Iterable[int]) -> dict[int, Picture]:
    """Return the first picture of each of these products and variants that has one, by its id."""
    return {one.id: one.whole.pictures[0] for one in find_products(ids) if one.whole.pictures}


def choose(wanted: Iterable[tuple[int, int]]) -> list[Choice]:
    """Return (product id, quantity) pairs as choices, prices from the database.

    Raises ProductMissing, ChooseVariant, SoldOut where all variants are hidden, and BadQuantity.
    """
    pairs = list(wanted)
    ids = {product_id for product_id, _ in pairs if 0 < product_id < 2**63}
    mine = select(Product).where(Product.id.in_(ids)).options(*CHOSEN)
    found = {product.id: product for product in db.session.scalars(mine)}
    choices = []
    for product_id, quantity in pairs:
        product = found.get(product_id)
        if product is None or not product.is_on_sale:
            raise ProductMissing
        if product.variants:
            raise ChooseVariant(product)
        if product.all_variants:
            raise SoldOut(name=product.name)
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
