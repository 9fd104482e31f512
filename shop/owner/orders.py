"""The orders in the back office: the list, one order, and what its owner does with it."""

from contextlib import suppress
from functools import partial
from typing import Any

from flask import (
    Response,
    flash,
    redirect,
    render_template,
    request,
    stream_with_context,
    url_for,
)
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from sqlalchemy import ColumnElement

from shop.catalog import goods
from shop.db import db, write
from shop.errors import ShopError, wants_json
from shop.i18n import format_money
from shop.mail import outbox
from shop.money import Money
from shop.orders import export, ledger, queries, shipping, states
from shop.orders.models import TRACKING, Order
from shop.owner import access, bp
from shop.owner.audit import record, recorded
from shop.owner.story import MAILS, told
from shop.parsers import tidy, visible, whole_number
from shop.payments import attempts, disputes, gateway, refunds, review, settle
from shop.payments.forms import ShippingForm, shipping_form

MOST_NOTE = 2000
MOST_WORDS = 100
VIEWS = {
    "": _l("All"),
    "to_pack": _l("To be packed"),
    "sent": _l("Sent"),
    "waiting": _l("Waiting"),
    "needs_me": _l("Needs you"),
    "refunded": _l("Refunded"),
}


@bp.get("/orders")
def orders_list() -> str:
    """Show the orders, the newest first: all, or those that are looked for."""
    state, words, beside = _looked_for()
    before = whole_number(request.args.get("before", ""), None)
    page = queries.newest_page(before, state, words, beside)
    return render_template("owner/orders.html", page=page, state=state, words=words, views=VIEWS)


@bp.get("/orders.csv")
def orders_csv() -> Response:
    """Return the orders that the list shows as CSV, a row for each line."""
    rows = stream_with_context(export.lines(*_looked_for()))
    response = Response(rows, mimetype="text/csv")
    response.headers["Content-Disposition"] = "attachment; filename=orders.csv"
    return response


@bp.get("/orders/slips")
def slips() -> str:
    """Show the packing slips of all orders that are to be packed, to be printed."""
    most = queries.PACKED_AT_ONCE
    return render_template("owner/slips.html", orders=queries.to_pack(most), most=most)


@bp.get("/orders/<row:number>/slip")
def slip(number: int) -> str:
    """Show the packing slip of one order."""
    return render_template("owner/slips.html", orders=[_order(number)], most=None)


@bp.post("/orders/bulk")
def bulk() -> ResponseReturnValue:
    """Write down that several orders are packed, or on their way (`action`: `pack` or `ship`).

    Those that are not ready are left out.
    """
    numbers = [whole_number(raw, 0) for raw in request.form.getlist("number")]
    ships = request.form.get("action") == "ship"
    step, action = (shipping.ship, "order_shipped") if ships else (shipping.pack, "order_packed")
    done = []
    for number in dict.fromkeys(numbers):
        with suppress(shipping.NotReady, queries.OrderMissing):
            recorded(partial(step, number), action, str(number))
            done.append(str(number))
    said = _("On their way: %(numbers)s") if ships else _("Packed: %(numbers)s")
    flash(said % {"numbers": ", ".join(done) or "–"})
    return redirect(url_for("owner.orders_list", state="to_pack"), 303)


@bp.get("/orders/<row:number>")
def order(number: int) -> str:
    """Show one order: customer, goods, money and what happened."""
    return _page(_order(number))


@bp.post("/orders/<row:number>/address")
def write_address(number: int) -> ResponseReturnValue:
    """Write down by hand where the goods of an order go."""
    found = _order(number)
    form = _address_form(found, request.form)
    if not form.validate():
        return _page(found, form=form), 422
    order_id, fields = found.id, form.values()
    recorded(
        lambda: shipping.replace_address(queries.lock(order_id), fields),
        "address_written",
        str(number),
    )
    flash(_("The address is saved."))
    return _back(number)


@bp.post("/orders/<row:number>/pack")
def pack(number: int) -> ResponseReturnValue:
    """Write down that an order is packed."""
    recorded(lambda: shipping.pack(number), "order_packed", str(number))
    flash(_("Order %(number)s is packed.", number=number))
    return _back(number)


@bp.post("/orders/<row:number>/ship")
def ship(number: int) -> ResponseReturnValue:
    """Write down that an order is on its way; the customer is told."""
    carrier, tracking = request.form.get("carrier", ""), request.form.get("tracking", "")
    recorded(lambda: shipping.ship(number, carrier, tracking), "order_shipped", str(number))
    flash(
        _("Order %(number)s is on its way. The customer is told.", number=number)
        if _order(number).email
        else _("Order %(number)s is on its way. Nobody is told: it has no mail address.",
               number=number)
    )  # fmt: skip
    return _back(number)


@bp.post("/orders/<row:number>/refund")
def refund(number: int) -> ResponseReturnValue:
    """Give money back: all that is left, or an amount as a person writes it.

    The form's key makes it one refund, however often the form is sent.
    """
    found = _order(number)
    raw, key = request.form.get("amount", ""), request.form.get("key") or refunds.new_key()
    try:
        access.confirm_password(request.form.get("password", ""))
        amount = goods.read_price(raw, currency=found.currency) if raw.strip() else None
        # Written down before: whether Stripe answers is known only after.
        write(lambda: record("refund_asked", f"{number}: {raw or '–'}"))
        amounts = refunds.refund(number, amount, key)
    except ShopError as error:
        if wants_json():
            raise
        names: dict[str, Any] = {"refund_refusal": error, "amount": raw, "key": key}
        return _page(_order(number), **names), error.status, error.headers
    back = " + ".join(map(format_money, amounts))
    flash(_("%(amount)s goes back to the customer.", amount=back))
    return _back(number)


@bp.post("/orders/<row:number>/settle")
def decide(number: int) -> ResponseReturnValue:
    """Take the money of an order that needs review for its payment, or give it back."""
    outcome = request.form.get("outcome")
    try:
        if outcome == "paid":
            missing = review.take_as_paid(number)
            flash(_("Order %(number)s counts as paid.", number=number))
            if missing:
                flash(
                    _(
                        "But there are not enough left of “%(name)s”: nothing was taken off the "
                        "shelf. Write to the customer, or refund the order.",
                        name=missing,
                    )
                )
        elif outcome == "refunded":
            amounts = review.give_back(number, request.form.get("key"))
            back = " + ".join(map(format_money, amounts))
            flash(_("%(amount)s goes back to the customer.", amount=back))
        else:
            raise review.NothingToDecide
    except ShopError as error:
        if wants_json():
            raise
        return _page(_order(number), review_refusal=error), error.status, error.headers
    write(lambda: record(f"review_{outcome}", str(number)))
    return _back(number)


@bp.post("/orders/<row:number>/recheck")
def recheck(number: int) -> ResponseReturnValue:
    """Ask Stripe again what became of an order's payments, refunds and disputes."""
    found = queries.find_by_number(number)
    order_id = found.id
    payments = [entry.id for entry in found.ledger if entry.kind == "payment"]
    is_open = attempts.open_of(found) is not None
    try:
        is_known = settle.refresh(found)
        refunds.resume(order_id)
        for payment_id in payments:
            refunds.sync(payment_id)
            disputes.sync(payment_id)
    except ShopError:
        is_known = False
    if not is_known:
        flash(_("Stripe does not answer just now. Ask again in a minute; no money is asked for."))
    elif payments or is_open:
        flash(_("Stripe was asked; this is how it stands."))
    else:
        flash(_("This order has nothing at Stripe that could be asked about."))
    return _back(number)


@bp.post("/orders/<row:number>/restock")
def restock(number: int) -> ResponseReturnValue:
    """Put the goods of a refunded order back on the shelf, once."""
    recorded(lambda: shipping.restock(number), "restocked", str(number))
    flash(_("The goods are on the shelf again."))
    return _back(number)


@bp.post("/orders/<row:number>/note")
def note(number: int) -> ResponseReturnValue:
    """Write a note on an order, for the owners alone."""
    order_id, text = _order(number).id, tidy(request.form.get("text"))[:MOST_NOTE]
    if text:
        recorded(
            lambda: states.log_event(queries.lock(order_id), "note", text),
            "note_written",
            str(number),
        )
        flash(_("The note is written."))
    return _back(number)


@bp.post("/orders/<row:number>/resend")
def resend(number: int) -> ResponseReturnValue:
    """Send a mail about an order once more: the newest of that `kind`."""
    subject, kind = f"order-{_order(number).id}", request.form.get("kind", "")
    mails = [one.id for one in outbox.about(subject) if one.kind == kind and one.state != "erased"]
    if mails:
        recorded(lambda: outbox.resend(mails[-1]), "mail_resent", f"{number}, {kind}")
        flash(_("The mail is sent again."))
    else:
        flash(_("There is no such mail about this order."))
    return _back(number)


class _ByHandForm(ShippingForm):
    """An address that the owner writes, who may not know all of it."""

    validate_state = validate_postal_code = validate_phone = None  # type: ignore[assignment]


def _looked_for() -> tuple[str, str, ColumnElement[bool] | None]:
    """Return the view or state, the words, and what else the view shows: disputes need me too."""
    state = request.args.get("state", "")
    known = state in queries.VIEWS or state in states.TRANSITIONS
    beside = disputes.is_open() if state == "needs_me" else None
    return state if known else "", visible(request.args.get("q"), MOST_WORDS) or "", beside


def _order(number: int) -> Order:
    return queries.find_by_number(number, only_in_mode=False)


def _back(number: int) -> ResponseReturnValue:
    return redirect(url_for("owner.order", number=number), 303)


def _address_form(order: Order, sent: Any = None) -> ShippingForm:
    stored = order.address.to_dict() if order.address else {}
    if not stored and order.is_sent:
        stored = {"country": (order.delivery_countries or "").split()[0]}
    return shipping_form(gateway.shipping_countries(), sent, _ByHandForm, **stored)


def _page(found: Order, form: ShippingForm | None = None, **names: Any) -> str:
    """Return the page of an order, with what was typed where something was refused."""
    db.session.refresh(found)
    parts = ledger.refundable(found.ledger)
    usual = {
        "left": [Money(rest, payment.currency) for payment, rest in parts],
        "key": refunds.new_key(),
        "disputes": disputes.open_ones(found.id),
        "story": told(found),
        "mails": outbox.about(f"order-{found.id}"),
        "mail_names": MAILS,
        "carriers": TRACKING,
        "form": form or _address_form(found),
    }
    return render_template("owner/order.html", order=found, **usual | names)
