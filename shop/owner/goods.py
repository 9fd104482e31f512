"""The goods in the back office: the list, a product with its variants and pictures."""

from typing import Any

from flask import abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from shop.catalog import goods, pictures
from shop.catalog.models import Product
from shop.db import end_read
from shop.errors import ShopError, wants_json
from shop.owner import bp
from shop.owner.audit import recorded
from shop.owner.forms import GoodForm, changes, good_form, variant_form, written
from shop.parsers import visible, whole_number
from shop.security import takes_files

MOST_WORDS = 100
MOST_ALT = 500


@bp.get("/goods")
def goods_list() -> str:
    """Show all goods with prices and stock to be edited right there."""
    words = visible(request.args.get("q"), MOST_WORDS) or ""
    page = goods.page(words, whole_number(request.args.get("after", ""), None))
    return render_template("owner/goods.html", page=page, words=words, written=written)


@bp.get("/goods/new")
def new_good() -> str:
    """Ask what is to be put on the shelf."""
    return _page(None, good_form(None))


@bp.post("/goods/new")
@takes_files
def add_good() -> ResponseReturnValue:
    """Put a new product on the shelf, with a picture if one is sent."""
    form = good_form(None, request.form)
    if not form.validate():
        return _page(None, form), 422
    values = form.values()
    try:
        made = _made_pictures()
    except pictures.BadPicture as error:
        return _page(None, form, error), error.status

    def unit() -> int:
        product = goods.add(values)
        for picture in made:
            pictures.add(product, picture, "")
        return product.id

    product_id = recorded(unit, "goods_added", values["name"])
    flash(_("“%(name)s” is on the shelf. Sizes and more pictures can be added below.",
            name=values["name"]))  # fmt: skip
    return redirect(url_for("owner.good", product_id=product_id), 303)


@bp.get("/goods/<row:product_id>")
def good(product_id: int) -> str:
    """Show a product or variant to be edited."""
    product = goods.get(product_id)
    return _page(product, good_form(product))


@bp.post("/goods/<row:product_id>")
@takes_files
def change_good(product_id: int) -> ResponseReturnValue:
    """Save the fields that are sent of a product or variant, and no others."""
    product = goods.get(product_id)
    form = good_form(product, request.form)
    if not form.validate():
        return _page(product, form), 422
    values, title = form.values(), product.title
    what = f"{title}{changes(product, form)}"
    version = whole_number(form.version.data or "", product.version)
    before = whole_number(form.stock_before.data or "", None)
    try:
        made = _made_pictures()

        def unit() -> None:
            product = goods.get(product_id)
            goods.change(product, version, values, before)
            for picture in made:
                pictures.add(product.whole, picture, "")

        recorded(unit, _action(values), what)
    except ShopError as error:
        if wants_json():
            raise
        return _page(goods.get(product_id), form, error), error.status
    flash(_("Saved: %(name)s", name=values.get("name", title)))
    return redirect(_back(product_id), 303)


@bp.post("/goods/<row:product_id>/variants")
def add_variant(product_id: int) -> ResponseReturnValue:
    """Add a variant of a product."""
    product = goods.get(product_id)
    if product.parent:
        abort(404)
    form = variant_form(request.form)
    if not form.validate():
        return _page(product, good_form(product), variant=form), 422
    values = form.values()
    try:
        recorded(lambda: goods.add_variant(goods.get(product_id), values).id, "goods_added",
                 f"{product.name}, {values['name']}")  # fmt: skip
    except ShopError as error:
        if wants_json():
            raise
        product = goods.get(product_id)
        page = _page(product, good_form(product), variant=form, variant_refusal=error)
        return page, error.status
    flash(_("Added: %(name)s", name=values["name"]))
    return redirect(url_for("owner.good", product_id=product_id, _anchor="variants"), 303)


@bp.post("/goods/<row:product_id>/pictures")
@takes_files
def add_pictures(product_id: int) -> ResponseReturnValue:
    """Put pictures behind the others of a product."""
    product = goods.get(product_id).whole
    product_id, title = product.id, product.title
    alt = visible(request.form.get("alt"), MOST_ALT) or ""
    try:
        made = _made_pictures()
        if not made:
            raise pictures.BadPicture(_("Please choose a picture first."))

        def unit() -> None:
            for picture in made:
                pictures.add(goods.get(product_id).whole, picture, alt)

        recorded(unit, "picture_added", title)
    except ShopError as error:
        if wants_json():
            raise
        product = goods.get(product_id)
        return _page(product, good_form(product), picture_refusal=error), error.status
    flash(_("The picture is added."))
    return redirect(url_for("owner.good", product_id=product_id, _anchor="pictures"), 303)


@bp.post("/goods/<row:product_id>/pictures/<row:picture_id>")
def change_picture(product_id: int, picture_id: int) -> ResponseReturnValue:
    """Move a picture, take it off, or say what is to be seen on it."""
    action = request.form.get("action", "save")
    alt = visible(request.form.get("alt"), MOST_ALT) or ""

    def unit() -> None:
        product = goods.get(product_id)
        picture = pictures.get(product, picture_id)
        if action == "remove":
            pictures.remove(picture)
        elif action in ("up", "down"):
            pictures.move(product, picture, up=action == "up")
        else:
            picture.alt = alt

    title = goods.get(product_id).title
    recorded(unit, "picture_removed" if action == "remove" else "picture_changed", title)
    flash(_("The picture is removed.") if action == "remove" else _("Saved: %(name)s", name=title))
    return redirect(url_for("owner.good", product_id=product_id, _anchor="pictures"), 303)


@bp.post("/goods/<row:product_id>/move")
def move_good(product_id: int) -> ResponseReturnValue:
    """Change the place of a product, or of a variant, with its neighbour's."""
    title, up = goods.get(product_id).title, request.form.get("direction") != "down"
    recorded(lambda: goods.move(goods.get(product_id), up), "goods_moved", title)
    return redirect(_back(product_id), 303)


def _page(
    product: Product | None, form: GoodForm, refusal: ShopError | None = None, **names: Any
) -> str:
    """Return the page of a product: with what was typed, where something was refused."""
    names = {"product": product, "form": form, "refusal": refusal} | names
    if product:
        names = {"variant": variant_form(), "written": written} | names
    if product and refusal:
        # Saving once more is meant then: the page shows what is stored beside what was typed.
        form.version.data = str(product.version)
        names["stored"] = written(product)
    return render_template("owner/good.html", **names)


def _made_pictures() -> list[pictures.Made]:
    """Return the uploaded pictures, made ready; that takes long, so nothing is held open."""
    end_read()
    files = [file for file in request.files.getlist("picture") if file.filename]
    return [pictures.make(file.stream) for file in files[: pictures.MOST_PICTURES]]


def _action(values: dict[str, Any]) -> str:
    if set(values) == {"active"}:
        return "goods_shown" if values["active"] else "goods_hidden"
    return "goods_changed"


def _back(product_id: int) -> str:
    """Return the page that the form was on: the list, or the product's own page."""
    product = goods.get(product_id)
    if request.form.get("from") == "list":
        return url_for("owner.goods_list", q=request.form.get("q") or None,
                       after=request.form.get("after") or None,
                       _anchor=f"good-{product.whole.id}")  # fmt: skip
    return url_for("owner.good", product_id=product.whole.id,
                   _anchor="variants" if product.parent else None)  # fmt: skip
