"""The goods that orders hold."""

from flask import current_app
from sqlalchemy import select, update

from shop.catalog import products
from shop.catalog.models import LOW_STOCK, Product
from shop.db import changed_rows, db
from shop.orders.models import Order


def reserve_stock(order: Order) -> str | None:
    """Take the goods off the shelf, inside write(); return the name of what is missing, if any."""
    # In one order for everybody, so that two buyers never wait for each other in a circle.
    lines = sorted(order.lines, key=lambda line: line.product_id)
    for position, line in enumerate(lines):
        if not products.take(line.product_id, line.quantity):
            for taken in lines[:position]:
                products.put_back(taken.product_id, taken.quantity)
            return line.name
    order.holds_stock = True
    return None


def release_stock(order: Order) -> None:
    """Put the goods back on the shelf, once, inside write()."""
    held = update(Order).where(Order.id == order.id, Order.holds_stock)
    if not changed_rows(held.values(holds_stock=False)):
        return
    for line in sorted(order.lines, key=lambda line: line.product_id):
        products.put_back(line.product_id, line.quantity)


def release_other_modes() -> None:
    """Put back what trial orders of another mode hold, inside write(); live ones keep theirs."""
    others = {"sandbox", "test"} - {current_app.config["SHOP_MODE"]}
    holding = select(Order).where(Order.mode.in_(sorted(others)), Order.holds_stock)
    for order in db.session.scalars(holding):
        release_stock(order)


def takes_the_last(order: Order) -> bool:
    """Tell whether only few are left of something in the order, after it."""
    ids = [line.product_id for line in order.lines]
    few = select(Product.id).where(Product.id.in_(ids), Product.stock <= LOW_STOCK)
    return db.session.scalar(few.limit(1)) is not None
