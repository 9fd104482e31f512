"""Catalogue, product pages and the cart."""

from typing import Any

from flask import Response, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from markupsafe import escape

from shop.catalog import bp, cart, deliveries, legal, pictures, products
from shop.catalog.models import Product
from shop.catalog.products import Choice
from shop.errors import ShopError, page, wants_json
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
    return _product_page(products.get_product(slug))


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
    names = {"refusal": missing, "quantity": request.form.get("quantity")}
    names["delivery"] = request.form.get("delivery")
    return _product_page(products.get_product(missing.slug or ""), **names), missing.status


def _product_page(shown: Product, **names: Any) -> str:
    one = [Choice((shown.variants or [shown])[0], 1)]
    offers = deliveries.offers(one)
    return render_template("catalog/product.html", product=shown, offers=offers, **names)


@bp.app_errorhandler(deliveries.DeliveryGone)
def choose_delivery_again(gone: deliveries.DeliveryGone) -> ResponseReturnValue:
    """Ask who was about to pay for another delivery, and go on from there."""
    if wants_json():
        return page(gone.status, gone.code, str(gone.title), gone.message)
    try:
        choices = products.choose(gone.wanted)
    except ShopError as error:  # the goods are gone meanwhile as well
        return page(error.status, error.code, str(error.title), error.message)
    fields = {k: v for k, v in request.form.items() if k in ("order", "product_id", "quantity")}
    names = {"refusal": gone, "choices": choices, "offers": deliveries.offers(choices)}
    names["goods"] = products.total(choices)
    html = render_template("catalog/choose_delivery.html", fields=fields, **names)
    return html, gone.status


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
    names: dict[str, Any] = {"choices": choices, "gone": gone}
    if choices:
        offers = deliveries.offers(choices)
        chosen = cart.delivery(offers)
        names |= {"offers": offers, "chosen": chosen}
        names |= {"goods": products.total(choices), "total": deliveries.total(choices, chosen)}
    return render_template("catalog/cart.html", **names)


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


@bp.post("/cart/delivery")
def choose_delivery() -> ResponseReturnValue:
    """Keep how the goods in the cart shall come."""
    try:
        cart.choose_delivery(_number("delivery"))
    except deliveries.DeliveryGone as gone:
        if wants_json():
            raise
        flash(gone.message)
    return redirect(url_for("catalog.cart_page", _anchor="delivery"), 303)


@bp.get("/legal")
def legal_notice() -> str:
    """Show who sells here and what the law wants said."""
    return render_template("catalog/legal.html", items=legal.notice())


@bp.get("/privacy")
def privacy() -> str:
    """Show what is stored of whom, and for how long."""
    return render_template("catalog/privacy.html")


@bp.get("/sitemap.xml")
def sitemap() -> Response:
    """List the pages that search engines may show. https://www.sitemaps.org/protocol.html"""
    pages = ("board.index", "catalog.index", "catalog.legal_notice", "catalog.privacy")
    found = [external_url(endpoint) for endpoint in pages]
    found += [external_url("catalog.product", slug=slug) for slug in products.slugs()]
    urls = "".join(f"<url><loc>{escape(address)}</loc></url>" for address in found)
    xml = '<?xml version="1.0" encoding="UTF-8"?>\n<urlset xmlns="{}">{}</urlset>\n'
    return Response(
        xml.format("http://www.sitemaps.org/schemas/sitemap/0.9", urls), mimetype="application/xml"
    )


bp.add_app_template_global(legal.terms)


def _number(name: str, default: str = "") -> int:
    """Return a number of the form; -1, which no product and no quantity is, for anything else."""
    return whole_number(request.form.get(name, default), -1)
