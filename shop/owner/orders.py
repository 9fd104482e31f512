"""The orders in the back office: the list, one order, and where its goods go."""

from typing import Any

from flask import flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from shop.orders import queries, shipping
from shop.orders.models import TRACKING, Order
from shop.owner import bp
from shop.owner.audit import recorded
from shop.parsers import whole_number
from shop.payments import gateway
from shop.payments.forms import ShippingForm, shipping_form


@bp.get("/orders")
def orders_list() -> str:
    """Show the orders, the newest first."""
    page = queries.newest_page(whole_number(request.args.get("before", ""), None))
    return render_template("owner/orders.html", page=page)


@bp.get("/orders/<row:number>")
def order(number: int) -> str:
    """Show one order: customer, goods, money and what happened."""
    found = queries.find_by_number(number, only_in_mode=False)
    return _page(found, _address_form(found))


@bp.post("/orders/<row:number>/address")
def write_address(number: int) -> ResponseReturnValue:
    """Write down by hand where the goods of an order go."""
    found = queries.find_by_number(number, only_in_mode=False)
    form = _address_form(found, request.form)
    if not form.validate():
        return _page(found, form), 422
    order_id, fields = found.id, form.values()
    recorded(
        lambda: shipping.replace_address(queries.lock(order_id), fields),
        "address_written",
        str(number),
    )
    flash(_("The address is saved."))
    return redirect(url_for("owner.order", number=number), 303)


@bp.post("/orders/<row:number>/pack")
def pack(number: int) -> ResponseReturnValue:
    """Write down that an order is packed."""
    recorded(lambda: shipping.pack(number), "order_packed", str(number))
    flash(_("Order %(number)s is packed.", number=number))
    return redirect(url_for("owner.order", number=number), 303)


@bp.post("/orders/<row:number>/ship")
def ship(number: int) -> ResponseReturnValue:
    """Write down that an order is on its way; the customer is told."""
    carrier, tracking = request.form.get("carrier", ""), request.form.get("tracking", "")
    recorded(lambda: shipping.ship(number, carrier, tracking), "order_shipped", str(number))
    flash(_("Order %(number)s is on its way. The customer is told.", number=number))
    return redirect(url_for("owner.order", number=number), 303)


class _ByHandForm(ShippingForm):
    """An address that the owner writes, who may not know all of it."""

    validate_state = validate_postal_code = validate_phone = None  # type: ignore[assignment]


def _address_form(order: Order, sent: Any = None) -> ShippingForm:
    stored = order.address.to_dict() if order.address else {}
    if not stored and order.is_sent:
        stored = {"country": (order.delivery_countries or "").split()[0]}
    return shipping_form(gateway.shipping_countries(), sent, _ByHandForm, **stored)


def _page(order: Order, form: ShippingForm) -> str:
    return render_template("owner/order.html", order=order, form=form, carriers=TRACKING)
