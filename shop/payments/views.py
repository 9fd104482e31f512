"""The till's addresses: HTTP in, HTTP out; what is decided is decided in the services."""

from time import monotonic
from typing import Any

from flask import current_app, flash, jsonify, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from sqlalchemy.exc import OperationalError
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.wrappers import Response

from shop.catalog import cart, shelf
from shop.errors import ShopError, same_address, wants_json
from shop.extensions import csrf
from shop.i18n import current_language
from shop.payments import attempts, bp, checkout, gateway, inbox, ordering, service, settle, sweep
from shop.payments.models import Order
from shop.security import visitor
from shop.throttle import Limit, TooFast, by_known_network, count

SWEEP_SECONDS = 60
# A person who cannot decide, and a school class that orders together, stay below; each session is
# an order and a call to Stripe, and who tests stolen cards opens thousands.
SESSIONS = 60
SESSIONS_PER_NETWORK = 120
SESSIONS_SECONDS = 600


@bp.post("/payments/session")
def create_session() -> ResponseReturnValue:
    """Order what is asked for (an order again, one product, the cart) and go where it is paid."""
    values = _submitted()
    _throttle(values)
    if "order" in values:
        started = checkout.pay_again(str(values["order"]), _buyer())
    elif "product_id" in values:
        started = checkout.buy(_chosen_product(values), _buyer())
    else:
        started = checkout.buy(cart.choices(), _buyer(cart.cart_id()))
    if wants_json():
        answer = {"order": started.order, "id": started.session_id, "url": started.url}
        return jsonify(answer), 201
    return redirect(started.url, 303)


@bp.get("/payments/success")
def success() -> ResponseReturnValue:
    """Where Stripe sends the buyer after paying. The address proves nothing: Stripe is asked."""
    try:
        order = settle.settle(request.args.get("session_id", ""))
    except gateway.StripeUnreachable as error:
        raise gateway.StripeUnreachable(
            _(
                "Your payment is being confirmed. Nothing is lost and nothing is charged twice: "
                "reload this page in a minute, or wait for our mail."
            )
        ) from error
    if order.state in ("pending", "cancelled", "awaiting_payment"):
        return _no_store(render_template("payments/unfinished.html", order=order))
    return redirect(url_for("payments.order", token=order.token), 303)


@bp.get("/payments/cancel")
def cancel() -> ResponseReturnValue:
    """Where Stripe sends the buyer who turns back: the order waits, its session stays open."""
    order = service.get_order(request.args.get("order", ""))
    if order.state in service.ORDERED:
        return redirect(url_for("payments.order", token=order.token), 303)
    flash(_("You came back without paying. Nothing was charged, and nothing is lost."))
    return redirect(url_for("catalog.cart_page"), 303)


@bp.post("/payments/webhook")
@csrf.exempt  # type: ignore[untyped-decorator]
def webhook() -> ResponseReturnValue:
    """Take an event from Stripe: 2xx once its effect is committed, so that it is not sent again."""
    if not current_app.config["STRIPE_WEBHOOK_SECRET"]:
        return jsonify({"error": "no webhook secret is set"}), 503
    try:
        body = request.get_data()
        event = gateway.verify_event(body, request.headers.get("Stripe-Signature"))
    except (RequestEntityTooLarge, gateway.BadSignature):
        return jsonify({"error": "this is no fresh message signed by Stripe"}), 400
    try:
        inbox.receive(event)
    except (ShopError, OperationalError) as error:
        current_app.logger.warning("event %s is not taken yet: %r", event.id, error)
        return jsonify({"error": "not just now, please send it again"}), 503
    return jsonify({"received": True})


@bp.get("/orders/<token>")
def order(token: str) -> ResponseReturnValue:
    """Show an order to its customer: receipt and state, for people or programs."""
    found = service.get_order(token)
    attempt = None
    if found.state in ("pending", "awaiting_payment"):
        settle.refresh(found)
        found = service.get_order(token)
        attempt = attempts.open_of(found)
    if wants_json():
        return _no_store(jsonify(service.summary(found)))
    return _no_store(render_template("payments/order.html", order=found, attempt=attempt))


@bp.app_errorhandler(service.AlreadyOrdered)
def show_order(already: service.AlreadyOrdered) -> ResponseReturnValue:
    """Lead to the order where somebody tries to pay what is paid, or as good as paid."""
    return redirect(url_for("payments.order", token=already.token), 303)


@bp.before_app_request
def empty_paid_cart() -> None:
    """Empty a cart whose order is paid: its buyer may never have seen the success page."""
    has_items = session.get("cart", {}).get("items") and request.endpoint != "static"
    if has_items and service.order_of_cart(cart.cart_id()) is not None:
        cart.empty()


@bp.before_app_request
def sweep_now_and_then() -> None:
    """Give up what nobody can pay any more before somebody reads that it is sold out."""
    due = current_app.extensions.setdefault("next_sweep", monotonic() + SWEEP_SECONDS)
    if request.endpoint in ("catalog.product", "catalog.index") and monotonic() > due:
        current_app.extensions["next_sweep"] = monotonic() + SWEEP_SECONDS
        sweep.sweep()


def order_waiting() -> Order | None:
    """Return the visitor's newest order that waits for payment, for the cart page."""
    return service.waiting_order(visitor())


def _throttle(values: dict[str, Any]) -> None:
    """Stop who opens one payment after the other; the page leads back to what was asked for."""
    network = by_known_network(request.remote_addr, SESSIONS_PER_NETWORK)
    try:
        count("session", SESSIONS_SECONDS, Limit(f"visitor {visitor()}", SESSIONS), *network)
    except TooFast as fast:
        fast.message = _(
            "You have begun a great many payments in a short time. Nothing was charged, and what "
            "you chose is kept. Please go on %(when)s.",
            when=fast.when,
        )
        if "order" in values:
            fast.order = service.get_order(str(values["order"])).token
        elif "product_id" in values:
            fast.resend_to = same_address()
        raise


def _buyer(cart_id: str | None = None) -> ordering.Buyer:
    return ordering.Buyer(visitor(), cart_id, current_language())


def _submitted() -> dict[str, Any]:
    """Return the fields of the form, or of a JSON object."""
    if not request.is_json:
        return request.form.to_dict()
    try:
        values = request.get_json(silent=True)
    except RecursionError:
        return {}
    return values if isinstance(values, dict) else {}


def _chosen_product(values: dict[str, Any]) -> list[shelf.Choice]:
    return shelf.choose([(_whole(values["product_id"]), _whole(values.get("quantity", 1)))])


def _whole(value: Any) -> int:
    """Return a whole number, -1 for anything else."""
    text = str(value).strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else -1


def _no_store(answer: Any) -> Response:
    response = current_app.make_response(answer)
    response.headers["Cache-Control"] = "no-store"
    return response
