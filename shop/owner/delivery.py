"""How goods come to the customer, as the owner sets it."""

from typing import Any

from flask import current_app, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from flask_wtf import FlaskForm
from wtforms import BooleanField, Field, StringField, ValidationError

from shop import details
from shop.catalog import deliveries, goods
from shop.catalog.models import Delivery
from shop.errors import ShopError, wants_json
from shop.money import Money
from shop.owner import bp
from shop.owner.audit import recorded
from shop.owner.forms import OFF, one_line, readable
from shop.payments import gateway


def _read_amount(raw: str) -> int:
    return goods.read_price(raw, least=0) if raw.strip() else 0


def _read_free_from(raw: str) -> int | None:
    return goods.read_price(raw) if raw.strip() else None


class DeliveryForm(FlaskForm):  # type: ignore[misc]
    """A delivery as its owner describes it."""

    name = StringField(_l("What is it called?"), filters=[one_line])
    amount = StringField(_l("Price"), [readable(_read_amount)])
    free_from = StringField(_l("Free from"), [readable(_read_free_from)])
    countries = StringField(_l("Countries"), filters=[one_line])
    tax_rate = StringField(_l("Tax in the price, in percent"), [readable(goods.read_tax_rate)])
    pickup = BooleanField(_l("People come and fetch it"), false_values=OFF)

    def validate_name(self, field: Field) -> None:
        """Refuse no name, and one that Stripe does not take."""
        if not 0 < len(field.data) <= deliveries.MOST_NAME:
            most = deliveries.MOST_NAME
            raise ValidationError(_("A name has 1 to %(most)s characters.", most=most))

    def validate_countries(self, field: Field) -> None:
        """Refuse countries that Stripe takes no address in."""
        if self.pickup.data:
            return
        codes = deliveries.read_countries(field.data or "")
        unknown = set(codes) - set(gateway.shipping_countries())
        if unknown:
            raise ValidationError(
                _("Please write countries in two letters each, like JP or US. Not known: %(codes)s",
                  codes=", ".join(sorted(unknown)))
            )  # fmt: skip

    def values(self) -> dict[str, Any]:
        """Return the columns; the form is valid. Without a country it goes to the shop's own."""
        codes = deliveries.read_countries(self.countries.data or "")
        codes = codes or [details.current().home_country]
        return {
            "name": self.name.data,
            "amount": _read_amount(self.amount.data or ""),
            "free_from_amount": _read_free_from(self.free_from.data or ""),
            "countries": "" if self.pickup.data else " ".join(codes),
            "tax_rate": goods.read_tax_rate(self.tax_rate.data or ""),
        }


@bp.get("/delivery")
def delivery_list() -> str:
    """Show the deliveries, and a form for one more."""
    return _page()


@bp.post("/delivery")
def add_delivery() -> ResponseReturnValue:
    """Offer one more delivery."""
    form = _sent_form(None)
    if not form.validate():
        return _page(form), 422
    values = form.values()
    try:
        recorded(lambda: deliveries.add(values).id, "delivery_added", values["name"])
    except ShopError as error:
        if wants_json():
            raise
        return _page(form, refusal=error), error.status
    flash(_("Added: %(name)s", name=values["name"]))
    return redirect(url_for("owner.delivery_list"), 303)


@bp.post("/delivery/<row:delivery_id>")
def change_delivery(delivery_id: int) -> ResponseReturnValue:
    """Save a delivery. Orders that are there keep theirs."""
    form = _sent_form(deliveries.get(delivery_id))
    if not form.validate():
        return _page(form, delivery_id), 422
    values = form.values()
    recorded(
        lambda: deliveries.change(deliveries.get(delivery_id), values),
        "delivery_changed",
        f"{values['name']}: {values['amount']}",
    )
    flash(_("Saved: %(name)s", name=values["name"]))
    return redirect(url_for("owner.delivery_list"), 303)


@bp.post("/delivery/<row:delivery_id>/move")
def move_delivery(delivery_id: int) -> ResponseReturnValue:
    """Change the place of a delivery; the first is what is chosen for who chooses nothing."""
    name, up = deliveries.get(delivery_id).name, request.form.get("direction") != "down"
    recorded(lambda: deliveries.move(deliveries.get(delivery_id), up), "delivery_moved", name)
    return redirect(url_for("owner.delivery_list"), 303)


@bp.post("/delivery/<row:delivery_id>/remove")
def remove_delivery(delivery_id: int) -> ResponseReturnValue:
    """Offer a delivery no longer."""
    name = deliveries.get(delivery_id).name
    recorded(lambda: deliveries.remove(deliveries.get(delivery_id)), "delivery_removed", name)
    flash(_("“%(name)s” is offered no longer. Orders that have it keep it.", name=name))
    return redirect(url_for("owner.delivery_list"), 303)


def _written(delivery: Delivery) -> dict[str, Any]:
    """Return the fields of a delivery as a person writes them."""
    currency = current_app.config["SHOP_CURRENCY"]
    free_from = delivery.free_from_amount
    return {
        "name": delivery.name,
        "amount": Money(delivery.amount, currency).written,
        "free_from": "" if free_from is None else Money(free_from, currency).written,
        "countries": delivery.countries,
        "tax_rate": goods.written_rate(delivery.tax_rate),
        "pickup": delivery.is_pickup,
    }


def _sent_form(delivery: Delivery | None) -> DeliveryForm:
    """Return the form that was sent, in which what was not sent is as it is stored."""
    stored = _written(delivery) if delivery else _fresh()
    if "countries" not in request.form and "pickup" in request.form:
        stored["countries"] = ""
    sent = {name: value for name, value in stored.items() if name != "pickup"}
    sent |= {name: request.form[name] for name in sent if name in request.form}
    is_pickup = request.form.get("pickup", "on" if stored["pickup"] else "off") not in OFF
    return DeliveryForm(None, data=sent | {"pickup": is_pickup})


def _fresh() -> dict[str, Any]:
    rate = goods.written_rate(goods.usual_tax_rate())
    country = details.current().home_country
    return {"name": "", "amount": "", "free_from": "", "countries": country, "tax_rate": rate,
            "pickup": False}  # fmt: skip


def _page(
    form: DeliveryForm | None = None,
    delivery_id: int | None = None,
    refusal: ShopError | None = None,
) -> str:
    """Return the page: what was typed stands in the form that it was typed into."""
    rows = []
    for one in deliveries.list_all():
        own = form if form and one.id == delivery_id else DeliveryForm(None, data=_written(one))
        rows.append((one, _with_ids(own, f"delivery-{one.id}")))
    new = form if form and delivery_id is None else DeliveryForm(None, data=_fresh())
    return render_template(
        "owner/delivery.html", rows=rows, new=_with_ids(new, "new"), refusal=refusal
    )


def _with_ids(form: DeliveryForm, prefix: str) -> DeliveryForm:
    for field in form:
        field.id = f"{prefix}-{field.name}"
    return form
