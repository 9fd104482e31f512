"""The forms of the back office."""

from collections.abc import Callable
from typing import Any

from flask_babel import gettext
from flask_babel import lazy_gettext as _l
from flask_wtf import FlaskForm
from wtforms import (
    BooleanField,
    EmailField,
    Field,
    HiddenField,
    PasswordField,
    StringField,
    TextAreaField,
    ValidationError,
)

from shop.catalog import goods
from shop.catalog.models import Product
from shop.money import Money
from shop.parsers import tidy, visible

# A switch is sent on or off: first its checkbox, if it is on, then always this.
OFF = ("off", "")


class LoginForm(FlaskForm):  # type: ignore[misc]
    """Who comes in."""

    email = EmailField(_l("E-mail address"))
    password = PasswordField(_l("Password"))


class PasswordForm(FlaskForm):  # type: ignore[misc]
    """A new password, and the present one."""

    present = PasswordField(_l("Present password"))
    password = PasswordField(_l("New password"))


class WayInForm(FlaskForm):  # type: ignore[misc]
    """A new password."""

    password = PasswordField(_l("New password"))


def readable(read: Callable[[str], Any]) -> Callable[[Any, Field], None]:
    """Return a validator that refuses what `read` cannot read, in its words."""

    def validate(_form: Any, field: Field) -> None:
        try:
            read(field.data or "")
        except goods.BadValue as error:
            raise ValidationError(error.message) from error

    return validate


def one_line(raw: Any) -> str:
    """Return what was typed on one line, without what nobody sees."""
    return visible(raw, goods.NAME_LENGTH * 2) or ""


class GoodForm(FlaskForm):  # type: ignore[misc]
    """A product as its owner describes it."""

    name = StringField(_l("What is it called?"), filters=[one_line])
    price = StringField(_l("Price"), [readable(goods.read_price)])
    stock = StringField(_l("How many are there?"), [readable(goods.read_stock)])
    description = TextAreaField(_l("Description"), filters=[tidy])
    tax_rate = StringField(_l("Tax in the price, in percent"), [readable(goods.read_tax_rate)])
    needs_shipping = BooleanField(_l("It is sent in a parcel"), false_values=OFF, default=True)
    active = BooleanField(_l("Shown in the shop"), false_values=OFF, default=True)
    # What the owner saw: whether others have changed or bought something since.
    version = HiddenField()
    stock_before = HiddenField()

    def validate_name(self, field: Field) -> None:
        """Refuse no name, and one that fits nowhere."""
        most = goods.NAME_LENGTH
        if not 0 < len(field.data) <= most:
            raise ValidationError(gettext("A name has 1 to %(most)s characters.", most=most))

    def validate_description(self, field: Field) -> None:
        """Refuse a text without end."""
        most = goods.DESCRIPTION_LENGTH
        if len(field.data) > most:
            raise ValidationError(
                gettext("A description has at most %(most)s characters.", most=most)
            )

    def values(self) -> dict[str, Any]:
        """Return the columns of the fields that are there; the form is valid."""
        sent = {name: column for name, column in COLUMNS.items() if name in self}
        return {column: read(self[name].data or "") for name, (column, read) in sent.items()}


def _price_or_none(raw: str) -> int | None:
    return goods.read_price(raw) if raw.strip() else None


class VariantForm(GoodForm):
    """A variant: it costs what its product costs where it has no price of its own."""

    price = StringField(_l("Price, if it is another"), [readable(_price_or_none)])
    description = tax_rate = needs_shipping = None  # type: ignore[assignment]


# The column of each field, and how its text becomes the value.
COLUMNS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "name": ("name", str),
    "price": ("unit_amount", _price_or_none),
    "stock": ("stock", goods.read_stock),
    "description": ("description", str),
    "tax_rate": ("tax_rate", goods.read_tax_rate),
    "needs_shipping": ("needs_shipping", bool),
    "active": ("active", bool),
}


def good_form(product: Product | None, sent: Any = None) -> GoodForm:
    """Return the form of a product or variant as it is stored, None: of a new product.

    With `sent` it holds what was sent, and of an existing product no field that was not.
    """
    kind = VariantForm if product and product.parent else GoodForm
    if sent is None:
        stored = written(product) if product else {}
        return kind(None, data={"tax_rate": goods.written_rate(goods.usual_tax_rate())} | stored)
    form = kind(sent)
    needed = () if product else ("name", "price")
    for name in COLUMNS:
        if name in form and name not in sent and name not in needed:
            del form[name]
    return form


def variant_form(sent: Any = None) -> VariantForm:
    """Return the form of a new variant, which stands on the page of its product."""
    form = VariantForm(sent)
    del form["active"]
    for field in form:
        field.id = f"variant-{field.name}"
    return form


def written(product: Product) -> dict[str, Any]:
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
        "needs_shipping": product.needs_shipping,
        "active": product.active,
        "version": str(product.version),
    }


def changes(product: Product, form: GoodForm) -> str:
    """Return what a form changes, as the audit trail says it: “: Price 2,500, Stock 3”."""
    stored = written(product)
    typed = {name: form[name] for name in ("name", "price", "stock", "tax_rate") if name in form}
    new = [
        f"{field.label.text} {field.data or '–'}"
        for name, field in typed.items()
        if field.data != stored[name]
    ]
    return f": {', '.join(new)}" if new else ""
