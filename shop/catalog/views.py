"""Catalogue, product pages and the cart."""

from typing import Any

from flask import Response, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from shop.catalog import bp, cart, pictures, products
from shop.catalog.models import Product
from shop.errors import page, wants_json
from shop.pages import kept_page
from shop.parsers import visible, whole_number
from shop.security import external_url

MOST_WORDS = 100


@bp.get("/shop/")
@kept_page
def index() -> str:
    """Show what is on sale, page by page, or what a name is looked for."""
    words = visible(request.args.get("q"), MOST_WORDS) or ""
    shown = products.catalogue(words, whole_number(request.args.get("after", ""), None))
    return render_template("catalog/index.html", page=shown, words=words)


@bp.get("/shop/<slug>")
@kept_page
def product(slug: str) -> str:
    """Show one product with its variants."""
    return render_template("catalog/product.html", product=products.get_product(slug))


@bp.app_template_global()
def linked_data(product: Product) -> dict[str, Any]:
    """Return what search engines read of a product: an offer for each variant.

    https://schema.org/Product
    """
    address = external_url("catalog.product", slug=product.slug)
    names = [picture.jpeg(1600) for picture in product.pictures]
    return {
        "@context": "https://schema.org",
        "@type": "Product",
        "name": product.name,
        "description": product.description,
        "url": address,
        "image": [external_url("catalog.picture", name=name) for name in names],
        "offers": [
            {
                "@type": "Offer",
                "name": one.title,
                "url": address,
                "price": one.price.written,
                "priceCurrency": one.price.currency.upper(),
                "availability": f"https://schema.org/{'OutOfStock' if one.sold_out else 'InStock'}",
            }
            for one in product.variants or [product]
        ],
    }


@bp.app_errorhandler(products.ChooseVariant)
def choose_variant(missing: products.ChooseVariant) -> ResponseReturnValue:
    """Show the variants to who has chosen none."""
    if wants_json():
        return page(missing.status, missing.code, str(missing.title), missing.message)
    shown = products.get_product(missing.slug or "")
    typed = {"refusal": missing, "quantity": request.form.get("quantity")}
    html = render_template("catalog/product.html", product=shown, **typed)
    return html, missing.status


@bp.get("/pictures/<name>")
def picture(name: str) -> ResponseReturnValue:
    """Answer a file of a picture, which never changes: its name is made of what is in it."""
    found = pictures.read_file(name)
    if found is None:
        abort(404)
    headers = {
        "Cache-Control": "public, max-age=31536000, immutable",
        # Mails are read on other sites, and browsers would not show it there.
        "Cross-Origin-Resource-Policy": "cross-origin",
    }
    return Response(found[0], mimetype=found[1], headers=headers)


@bp.get("/cart")
def cart_page() -> ResponseReturnValue:
    """Show the cart."""
    choices, gone = cart.look()
    total = products.total(choices) if choices else None
    return render_template("catalog/cart.html", choices=choices, gone=gone, total=total)


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
