"""The goods in the back office: the list, a product with its variants and pictures."""

from collections.abc import Callable
from typing import Any

from flask import abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from flask_wtf import FlaskForm
from wtforms import Field, HiddenField, StringField, TextAreaField, ValidationError

from shop.catalog import goods, pictures
from shop.catalog.models import Product
from shop.db import end_read
from shop.errors import ShopError, wants_json
from shop.money import Money
from shop.owner import bp
from shop.owner.audit import recorded
from shop.parsers import tidy, visible, whole_number
from shop.security import takes_files

MOST_WORDS = 100


def _reader(read: Callable[[str], Any]) -> Callable[[Any, Field], None]:
    """Return a validator that refuses what `read` cannot read, in its words."""

    def validate(_form: Any, field: Field) -> None:
        try:
            read(field.data or "")
        except goods.BadValue as error:
            raise ValidationError(error.message) from error

    return validate


class GoodForm(FlaskForm):  # type: ignore[misc]
    """A product as its owner describes it."""

    name = StringField(
        _l("What is it called?"), filters=[lambda raw: visible(raw, goods.NAME_LENGTH * 2) or ""]
    )
    price = StringField(_l("Price"), [_reader(goods.read_price)])
    stock = StringField(_l("How many are there?"), [_reader(goods.read_stock)])
    description = TextAreaField(_l("Description"), filters=[tidy])
    tax_rate = StringField(_l("Tax in the price, in percent"), [_reader(goods.read_tax_rate)])
    version = HiddenField()
    stock_before = HiddenField()

    def validate_name(self, field: Field) -> None:
        """Refuse no name, and one that fits nowhere."""
        if not field.data or len(field.data) > goods.NAME_LENGTH:
            most = goods.NAME_LENGTH
            raise ValidationError(_("A name has 1 to %(most)s characters.", most=most))

    def validate_description(self, field: Field) -> None:
        """Refuse a text without end."""
        if len(field.data) > goods.DESCRIPTION_LENGTH:
            most = goods.DESCRIPTION_LENGTH
            raise ValidationError(_("A description has at most %(most)s characters.", most=most))

    def values(self) -> dict[str, Any]:
        """Return the columns of the fields that were sent; the form is valid."""
        return {
            column: read(self[name].data or "")
            for name, (column, read) in COLUMNS.items()
            if name in self
        } | {
            name: request.form.getlist(name)[-1] == "on"
            for name in SWITCHES
            if name in request.form
        }


def _price_or_none(raw: str) -> int | None:
    return goods.read_price(raw) if raw.strip() else None


class VariantForm(GoodForm):
    """A variant: it costs what its product costs where it has no price of its own."""

    price = StringField(_l("Price, if it is another"), [_reader(_price_or_none)])


COLUMNS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "name": ("name", str),
    "price": ("unit_amount", _price_or_none),
    "stock": ("stock", goods.read_stock),
    "description": ("description", str),
    "tax_rate": ("tax_rate", goods.read_tax_rate),
}
SWITCHES = ("needs_shipping", "active")


@bp.get("/goods")
def goods_list() -> str:
    """Show all goods with prices and stock to be edited right there."""
    words = visible(request.args.get("q"), MOST_WORDS) or ""
    page = goods.page(words, whole_number(request.args.get("after", ""), None))
    return render_template("owner/goods.html", page=page, words=words, shown=_shown)


@bp.get("/goods/new")
def new_good() -> str:
    """Ask what is to be put on the shelf."""
    return _page(
        None, GoodForm(None, data={"tax_rate": goods.written_rate(goods.usual_tax_rate())})
    )


@bp.post("/goods/new")
@takes_files
def add_good() -> ResponseReturnValue:
    """Put a new product on the shelf, with a picture if one is sent."""
    form = GoodForm(request.form)
    if "tax_rate" not in request.form:
        del form["tax_rate"]
    if not form.validate():
        return _page(None, form), 422
    values = {"tax_rate": goods.usual_tax_rate()} | form.values()
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
    return _page(product, _form_of(product, None, data=_shown(product)))


@bp.post("/goods/<row:product_id>")
@takes_files
def change_good(product_id: int) -> ResponseReturnValue:
    """Save the fields that are sent of a product or variant, and no others."""
    product = goods.get(product_id)
    form = _form_of(product, request.form)
    for name in COLUMNS:
        if name in form and name not in request.form:
            del form[name]
    if not form.validate():
        return _page(product, form), 422
    values, title = form.values(), product.title
    what = f"{title}{_changes(product, form)}"
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
    form = _variant_form(request.form)
    if not form.validate():
        return _page(product, _form_of(product, None, data=_shown(product)), variant=form), 422
    values = form.values()
    try:
        recorded(lambda: goods.add_variant(goods.get(product_id), values).id, "goods_added",
                 f"{product.name}, {values['name']}")  # fmt: skip
    except ShopError as error:
        if wants_json():
            raise
        product = goods.get(product_id)
        shown = _form_of(product, None, data=_shown(product))
        page = _page(product, shown, variant=form, variant_refusal=error)
        return page, error.status
    flash(_("Added: %(name)s", name=values["name"]))
    return redirect(url_for("owner.good", product_id=product_id, _anchor="variants"), 303)


@bp.post("/goods/<row:product_id>/pictures")
@takes_files
def add_pictures(product_id: int) -> ResponseReturnValue:
    """Put pictures behind the others of a product."""
    product = goods.get(product_id).whole
    product_id, title = product.id, product.title
    alt = visible(request.form.get("alt"), 500) or ""
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
        form = _form_of(product, None, data=_shown(product))
        return _page(product, form, picture_refusal=error), error.status
    flash(_("The picture is added."))
    return redirect(url_for("owner.good", product_id=product_id, _anchor="pictures"), 303)


@bp.post("/goods/<row:product_id>/pictures/<row:picture_id>")
def change_picture(product_id: int, picture_id: int) -> ResponseReturnValue:
    """Move a picture, take it off, or say what is to be seen on it."""
    action = request.form.get("action", "save")
    alt = visible(request.form.get("alt"), 500) or ""

    def unit() -> None:
        product = goods.get(product_id)
        picture = pictures.get(product, picture_id)
        if picture is None:
            raise pictures.PictureMissing
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


def _form_of(product: Product, sent: Any, **given: Any) -> GoodForm:
    kind = VariantForm if product.parent else GoodForm
    form: GoodForm = kind(sent, **given)
    if product.parent:
        for name in ("description", "tax_rate"):
            del form[name]
    return form


def _variant_form(sent: Any) -> VariantForm:
    """Return the form of a new variant, which stands on the page of its product."""
    form = VariantForm(sent)
    for name in ("description", "tax_rate"):
        del form[name]
    for field in form:
        field.id = f"variant-{field.name}"
    return form


def _page(
    product: Product | None, form: GoodForm, refusal: ShopError | None = None, **names: Any
) -> str:
    """Return the page of a product: with what was typed, where something was refused."""
    if refusal and product:
        # Saving once more is meant then: the page shows what is stored beside what was typed.
        form.version.data = str(product.version)
    stored = _shown(product) if product and refusal else None
    names = {"product": product, "form": form, "refusal": refusal, "stored": stored} | names
    if product and "variant" not in names:
        names["variant"] = _variant_form(None)
    return render_template("owner/good.html", shown=_shown, **names)


def _shown(product: Product) -> dict[str, Any]:
    """Return the fields of a product as a person writes them."""
    stock = "" if product.stock is None else str(product.stock)
    own = Money(product.unit_amount, product.price.currency) if product.unit_amount else None
    return {
        "name": product.name,
        "price": own.written if own else "",
        "stock": stock,
        "stock_before": stock,
        "description": product.description,
        "tax_rate": goods.written_rate(product.tax_rate),
        "version": str(product.version),
    }


def _made_pictures() -> list[pictures.Made]:
    """Return the uploaded pictures, made ready; that takes long, so nothing is held open."""
    end_read()
    files = [file for file in request.files.getlist("picture") if file.filename]
    return [pictures.make(file.stream) for file in files[: pictures.MOST_PICTURES]]


def _changes(product: Product, form: GoodForm) -> str:
    """Return what a form changes, as the audit trail says it: “: Price 2,500, Stock 3”."""
    stored = _shown(product)
    typed = {name: form[name] for name in ("name", "price", "stock", "tax_rate") if name in form}
    changes = [
        f"{field.label.text} {field.data or '–'}"
        for name, field in typed.items()
        if field.data != stored[name]
    ]
    return f": {', '.join(changes)}" if changes else ""


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
