"""The legacy card page: a card field of Stripe's script, and the charge of what it makes."""

from datetime import timedelta
from urllib.parse import urlsplit

from flask import abort, current_app, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from werkzeug.wrappers import Response

from shop.catalog import cart, shelf
from shop.errors import ShopError, wants_json
from shop.extensions import now
from shop.i18n import current_language
from shop.money import Money
from shop.payments import bp, charge, checkout, ordering, receipts, service
from shop.security import STRIPE_JS, content_security_policy, visitor
from shop.throttle import Limit, TooFast, by_network, count

# Nobody has more cards to try. In a network a few people pay in the same ten minutes; who tests
# stolen cards sends thousands, each as a new visitor.
TRIES = 5
TRIES_PER_NETWORK = 20
TRIES_SECONDS = 600
# A second click on the button comes when the first has paid and emptied the cart.
SECOND_CLICK = timedelta(minutes=10)


class TooManyCards(TooFast):
    """More cards were tried than a person tries."""

    code = "too_many_cards"

    def __init__(self, seconds: int, order: str | None) -> None:
        super().__init__(seconds)
        self.message = _(
            "Those were too many tries. Nothing was charged. Please try again %(when)s, or pay on "
            "Stripe's page now.",
            when=self.when,
        )
        self.order = order


class BadMail(ShopError):
    """The receipt could not be sent there."""

    status = 422
    code = "bad_email"

    def __init__(self) -> None:
        message = _(
            "That is not an e-mail address. Nothing was charged; leave it empty for no receipt."
        )
        super().__init__(message)


@bp.get("/payments/card")
def card() -> ResponseReturnValue:
    """Show the card page of an order or, without one, of the cart."""
    _refuse_where_off()
    return _card_page(request.args.get("order", ""))


@bp.post("/payments/charge")
def charge_card() -> ResponseReturnValue:
    """Charge the card token; the amount is the order's, whatever the form says."""
    _refuse_where_off()
    email = request.form.get("email", "").strip()
    token = request.form.get("order", "")
    if email and not receipts.is_address(email):
        return _card_page(token, BadMail(), email), BadMail.status
    try:
        _throttle(token)
        if not token:
            token = ordering.order_goods(cart.choices(), _buyer())
            _count(token, Limit(f"order {token}", TRIES))
        charge.charge(token, request.form.get("stripeToken", ""), email or None)
    except charge.AuthenticationWanted:
        return redirect(checkout.pay_again(token, _buyer()).url, 303)
    except ordering.NothingToBuy:
        just_ordered = service.newest_ordered(visitor(), now() - SECOND_CLICK)
        if just_ordered is None:
            raise
        token = just_ordered
    except (charge.Declined, charge.UnusableCard, TooManyCards) as error:
        if wants_json():
            raise
        return _card_page(token, error, email), error.status, error.headers
    return redirect(url_for("payments.order", token=token), 303)


def _refuse_where_off() -> None:
    if not current_app.config["SHOP_LEGACY_CHARGE"] or current_app.config["SHOP_MODE"] == "off":
        abort(404)


def _throttle(order: str) -> None:
    """Stop who tries one card after the other, before goods are held for them."""
    limits = [Limit(f"visitor {visitor()}", TRIES)]
    if order:
        limits.append(Limit(f"order {order}", TRIES))
    _count(order, *limits, by_network(request.remote_addr, TRIES_PER_NETWORK))


def _count(order: str, *limits: Limit) -> None:
    try:
        count("charge", TRIES_SECONDS, *limits)
    except TooFast as fast:
        raise TooManyCards(fast.seconds, order or None) from fast


def _card_page(token: str, error: ShopError | None = None, email: str = "") -> Response:
    html = render_template(
        "payments/card.html",
        total=_total(token),
        order=token,
        error=error,
        email=email,
        script=_script(),
        key=current_app.config["STRIPE_PUBLISHABLE_KEY"] or "pk_test_sandbox",
    )
    response = current_app.make_response(html)
    response.headers["Cache-Control"] = "no-store"
    response.headers["Content-Security-Policy"] = content_security_policy(
        current_app.config, script=_origin(_script())
    )
    return response


def _total(token: str) -> Money:
    if token:
        order = service.get_order(token)
        if order.mode != current_app.config["SHOP_MODE"]:
            raise service.OrderMissing
        if order.state not in service.PAYABLE:
            raise service.AlreadyOrdered(token)
        return order.total
    choices = cart.choices()
    if not choices:
        raise ordering.NothingToBuy
    return shelf.total(choices)


def _script() -> str:
    """Return the address of Stripe's script, or of the sandbox's in its place."""
    config = current_app.config
    if config["SHOP_MODE"] == "sandbox":
        return f"{request.script_root}/sandbox/stripe.js"
    if config["STRIPE_API_BASE"]:
        return f"{config['STRIPE_API_BASE']}/stripe.js"
    return f"{STRIPE_JS}/v3/"


def _origin(address: str) -> str | None:
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else None


def _buyer() -> ordering.Buyer:
    return ordering.Buyer(visitor(), cart.cart_id(), current_language())
