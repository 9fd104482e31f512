"""Catalogue, product pages and the cart."""

from flask import flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from shop.catalog import bp, cart, products
from shop.pages import kept_page
from shop.parsers import whole_number


@bp.get("/shop/")
@kept_page
def index() -> str:
    """Show everything on sale."""
    return render_template("catalog/index.html", products=products.catalogue())


@bp.get("/shop/<slug>")
@kept_page
def product(slug: str) -> str:
    """Show one product."""
    return render_template("catalog/product.html", product=products.get_product(slug))


@bp.get("/cart")
def cart_page() -> ResponseReturnValue:
    """Show the cart."""
    choices = cart.choices()
    total = products.total(choices) if choices else None
    return render_template("catalog/cart.html", choices=choices, total=total)


@bp.post("/cart/items")
def add_to_cart() -> ResponseReturnValue:
    """Put a product into the cart."""
    cart.add(_number("product_id"), _number("quantity", "1"))
    flash(_("It is in your cart."))
    return redirect(url_for("catalog.cart_page"), 303)


@bp.post("/cart/items/<row:product_id>")
def change_cart(product_id: int) -> ResponseReturnValue:
    """Change how many of a product are in the cart."""
    cart.change(product_id, _number("quantity"))
    return redirect(url_for("catalog.cart_page"), 303)


def _number(name: str, default: str = "") -> int:
    """Return a number of the form; -1, which no product and no quantity is, for anything else."""
    return whole_number(request.form.get(name, default), -1)
