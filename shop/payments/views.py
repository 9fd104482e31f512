"""The till's addresses: HTTP in, HTTP out; what is decided is decided in the services."""

import hmac
from contextlib import suppress
from time import monotonic
from typing import Any

from flask import (
    Response,
    abort,
    copy_current_request_context,
    current_app,
    flash,
    jsonify,
    redirect,
    render_template,
    request,
    session,
    url_for,
)
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from sqlalchemy.exc import OperationalError
from werkzeug.exceptions import RequestEntityTooLarge

from shop import details
from shop.catalog import cart, deliveries, products
from shop.db import now
from shop.errors import ShopError, same_address, wants_json
from shop.extensions import csrf
from shop.i18n import current_language
from shop.mail import outbox
from shop.orders import links, place, queries, states
from shop.orders import receipt as receipts
from shop.orders.models import Order, email_key
from shop.parsers import visible, whole_number
from shop.payments import attempts, bp, checkout, connect, gateway, release, settle
from shop.payments.forms import EmailForm
from shop.payments.models import remember
from shop.payments.reconcile import reconcile
from shop.payments.webhook import receive
from shop.security import no_store, visitor
from shop.throttle import TooFast, count, refusal

SWEEP_SECONDS = 60
MOST_NAME = 120
# A host ends a request that takes long; what is left is done by the next call of /tasks.
MAILS_AT_ONCE = 5
TASK_SECONDS = 10


@bp.before_request
def note_visit() -> None:
    """Have the story say that what becomes known now is known because the customer came."""
    states.act_as(None, "visit")


@bp.post("/payments/session")
def create_session() -> ResponseReturnValue:
    """Order what is asked for (an order again, one product, the cart) and go where it is paid."""
    values = _submitted()
    wished = whole_number(str(values["delivery"]), -1) if values.get("delivery") else None
    try:
        count("session", f"visitor {visitor()}")
    except TooFast as fast:
        # The page leads back to what was asked for.
        if "order" in values:
            fast.order = queries.get_order(str(values["order"])).token
        elif "product_id" in values:
            fast.resend_to = same_address()
        raise
    try:
        if "order" in values:
            started = checkout.pay_again(str(values["order"]), wished, _buyer())
        elif "product_id" in values:
            started = checkout.buy(_chosen_product(values), wished, _buyer())
        else:
            choices = cart.choices()
            if wished is None:
                kept = cart.delivery(deliveries.offers(choices))
                wished = kept.delivery.id if kept else None
            started = checkout.buy(choices, wished, _buyer(cart.cart_id()))
    except checkout.BeingStarted as busy:
        if wants_json():
            return jsonify({"order": busy.order}), busy.status
        names = {"order": busy.order, "message": busy.message}
        return no_store(render_template("payments/being_started.html", **names)), busy.status
    if wants_json():
        answer = {"order": started.order, "id": started.session_id, "url": started.url}
        return jsonify(answer), 201
    return redirect(started.url, 303)


@bp.get("/payments/success")
def success() -> ResponseReturnValue:
    """Show what became of a payment. The address proves nothing, so Stripe is asked."""
    found = settle.settle(request.args.get("session_id", ""))
    if found.state in ("pending", "cancelled", "awaiting_payment"):
        return _order_page(found, is_known=True)
    return redirect(url_for("payments.order", token=found.token), 303)


@bp.get("/payments/cancel")
def cancel() -> ResponseReturnValue:
    """Lead a buyer who turned back at Stripe to the cart; the order and its session stay open."""
    order = queries.get_order(request.args.get("order", ""))
    if order.state in states.ORDERED:
        return redirect(url_for("payments.order", token=order.token), 303)
    flash(_("You came back without paying. Nothing is lost: your order is kept for you."))
    return redirect(url_for("catalog.cart_page"), 303)


@bp.post("/payments/webhook")
@csrf.exempt  # type: ignore[untyped-decorator]
def webhook() -> ResponseReturnValue:
    """Take an event from Stripe: 2xx once its effect is committed, so that it is not sent again."""
    try:
        secrets = connect.secrets()
        if not secrets:
            return jsonify({"error": "no webhook secret is set"}), 503
        signature = request.headers.get("Stripe-Signature")
        event, secret = gateway.verify_event(request.get_data(), signature, secrets)
    except (RequestEntityTooLarge, gateway.BadSignature):
        return jsonify({"error": "this is no fresh message signed by Stripe"}), 400
    except OperationalError:
        return jsonify({"error": "not just now, please send it again"}), 503
    states.act_as(None, "webhook")
    try:
        receive(event)
    except (ShopError, OperationalError) as error:
        current_app.logger.warning("event %s is not taken yet: %r", event.id, error)
        return jsonify({"error": "not just now, please send it again"}), 503
    connect.note_delivery(secret)
    return jsonify({"received": True})


@bp.get("/orders/<token>")
def order(token: str) -> ResponseReturnValue:
    """Show an order to its customer: receipt and state, for people or programs."""
    found = queries.get_order(token)
    is_known = True
    if found.state in ("pending", "awaiting_payment"):
        is_known = settle.refresh(found)
        found = queries.get_order(token)
    if wants_json():
        return no_store(jsonify(found.to_dict()))
    return _order_page(found, is_known)


def _order_page(order: Order, is_known: bool) -> Response:
    """Return the page of an order; `is_known`: Stripe has just said what became of its payment."""
    attempt = attempts.open_of(order) if order.state in ("pending", "awaiting_payment") else None
    names = {"order": order, "attempt": attempt, "is_known": is_known}
    return no_store(render_template("payments/order.html", **names))


@bp.get("/orders/<token>/receipt")
def receipt(token: str) -> ResponseReturnValue:
    """Show the receipt of an order, to be printed, with the name that its customer wants on it."""
    found = queries.get_order(token)
    if found.paid_at is None:
        return redirect(url_for("payments.order", token=token), 303)
    name = visible(request.args.get("name"), MOST_NAME) or ""
    names = {"order": found, "receipt": receipts.make(found), "name": name}
    names["reduced_rate"] = receipts.REDUCED_RATE if details.current().is_japanese else None
    return no_store(render_template("payments/receipt.html", **names))


@bp.app_errorhandler(states.AlreadyOrdered)
def show_order(already: states.AlreadyOrdered) -> ResponseReturnValue:
    """Lead to the order where somebody tries to pay what is paid, or as good as paid."""
    return redirect(url_for("payments.order", token=already.token), 303)


@bp.before_app_request
def empty_paid_cart() -> None:
    """Empty a cart whose order is paid: its buyer may never have seen the success page."""
    if request.endpoint in ("static", "catalog.picture"):
        return
    if session.get("cart", {}).get("items") and queries.order_of_cart(cart.cart_id()) is not None:
        cart.empty()


@bp.before_app_request
def sweep_now_and_then() -> None:
    """Give up what nobody can pay any more before somebody reads that it is sold out."""
    due = current_app.extensions.setdefault("next_sweep", monotonic() + SWEEP_SECONDS)
    if request.endpoint in ("catalog.product", "catalog.index") and monotonic() > due:
        current_app.extensions["next_sweep"] = monotonic() + SWEEP_SECONDS
        release.sweep()


def order_waiting() -> Order | None:
    """Return the visitor's newest order that waits for payment, for the cart page."""
    return queries.waiting_order(visitor())


def _buyer(cart_id: str | None = None) -> place.Buyer:
    return place.Buyer(visitor(), cart_id, current_language())


def _submitted() -> dict[str, Any]:
    """Return the fields of the form, or of a JSON object."""
    if not request.is_json:
        return request.form.to_dict()
    try:
        values = request.get_json(silent=True)
    except RecursionError:
        return {}
    return values if isinstance(values, dict) else {}


def _chosen_product(values: dict[str, Any]) -> list[products.Choice]:
    wanted = values["product_id"], values.get("quantity", 1)
    product_id, quantity = (whole_number(str(value), -1) for value in wanted)
    return products.choose([(product_id, quantity)])


@bp.get("/orders")
def find_orders() -> ResponseReturnValue:
    """Ask for the address of lost orders, or say what follows from having asked."""
    return _page(EmailForm(), asked="asked" in request.args)


@bp.post("/orders")
def mail_orders() -> ResponseReturnValue:
    """Mail the links to the orders of an address, or show the form again with what was typed."""
    form = EmailForm(request.form)
    if not form.validate():
        if wants_json():
            raise links.BadAddress
        return _page(form), 422
    email, language = form.email.data or "", current_language()
    fast = refusal("receipts", f"address {email_key(email)}")
    if fast is not None:
        return _page(form, fast), fast.status, fast.headers
    answer = redirect(url_for("payments.find_orders", asked="yes"), 303)

    @copy_current_request_context
    def mail_links() -> None:
        try:
            links.mail_links(email, language)
        except Exception:  # the answer has left: there is nobody to tell but the log
            current_app.logger.exception("the links to somebody's orders were not mailed")

    # Once the answer has left: how long it took would tell whether the address is known.
    answer.call_on_close(mail_links)
    return answer


def _page(form: EmailForm, fast: TooFast | None = None, asked: bool = False) -> str:
    return render_template("payments/find_orders.html", form=form, refusal=fast, asked=asked)


@bp.post("/tasks")
@csrf.exempt  # type: ignore[untyped-decorator]
def tasks() -> ResponseReturnValue:
    """Send due mail and put orders right; answer how many `mails` left and `orders` changed."""
    token = current_app.config["SHOP_TASK_TOKEN"]
    if not token:
        abort(404)
    given = request.headers.get("X-Task-Token", "")
    if not hmac.compare_digest(given.encode("utf-8", "replace"), token.encode()):
        abort(403)
    settled = 0
    with suppress(place.BuyingOff):
        settled = reconcile(dry_run=False, seconds=TASK_SECONDS).settled
    sent = outbox.send_due(MAILS_AT_ONCE)
    remember("mail_run", now())
    return jsonify({"mails": sent, "orders": settled})
