"""The legacy way: a card token, made by Stripe's script in the browser, is charged at once.

Charges cannot ask the customer's bank; where it wants to be asked, Checkout takes over.
https://docs.stripe.com/payments/accept-a-payment-charges
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from flask import abort, current_app, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.wrappers import Response

from shop.catalog import cart, deliveries
from shop.db import end_read, now, write
from shop.errors import DatabaseBusy, ShopError, wants_json
from shop.i18n import current_language
from shop.money import Money
from shop.orders import links, place, queries, shipping, states
from shop.parsers import is_mail_address, whole_number
from shop.payments import attempts, bp, checkout, gateway, release, settle
from shop.payments.forms import ShippingForm, shipping_form
from shop.security import STRIPE_JS, content_security_policy, no_store, visitor
from shop.throttle import TooFast, count

TOKEN = re.compile(r"tok_[A-Za-z0-9_]{1,200}")


class UnusableCard(ShopError):
    """The card token is none, or was used before."""

    status = 422
    code = "bad_token"
    message = _l("We could not read the card. Nothing was charged; please type it in once more.")


class Declined(ShopError):
    """The card was declined; the order waits for another try."""

    status = 402
    code = "card_declined"


class BadShipping(ShopError):
    """The address is not complete."""

    status = 422
    code = "bad_address"
    message = _l(
        "Something is missing in the address. Nothing was charged; please look at what is marked."
    )


class AuthenticationWanted(Exception):
    """The bank wants to ask the customer, which a charge cannot."""


def charge(
    token: str, card_token: str, email: str | None, address: Mapping[str, str] | None
) -> None:
    """Charge the order's amount to a card token; return when it is settled.

    `address`: where the goods go (ADDRESS_FIELDS), None where they are not sent.
    Raises UnusableCard, Declined, AuthenticationWanted, AlreadyOrdered, OrderMissing, and
    StripeUnreachable, after which the same charge is asked for again before any other.
    """
    _resume(token)
    if not TOKEN.fullmatch(card_token):
        raise UnusableCard
    release.end_open_attempt(token)

    def begin() -> int:
        order = queries.lock_payable(token)
        if order is None:  # given up meanwhile; its page offers to order the same again
            raise states.AlreadyOrdered(token)
        if attempts.open_of(order) is not None:  # the other one of two clicks
            raise gateway.OutcomeUnknown(order=token)
        order.email = email or order.email
        more: dict[str, Any] = {"receipt_email": email} if email else {}
        if address:
            shipping.replace_address(order, address)
            more["shipping"] = _shipping_params(address)
        what = {
            "amount": order.amount,
            "currency": order.currency,
            "source": card_token,
            "description": f"Order {order.number}",
        }
        return attempts.begin(
            order, "charge", lambda labels: what | more | {"metadata": labels}, now()
        ).id

    attempt_id = write(begin)
    try:
        _carry_out(token, attempt_id)
    except gateway.CardDeclined as error:
        if error.reason == "authentication_required":
            raise AuthenticationWanted from error
        raise Declined(_decline_in_words(error.reason)) from error
    except gateway.StripeRefused as error:
        write(lambda: attempts.close(attempt_id, "failed"))
        if not error.is_about_request:  # a key that is not valid, say: no card would do
            raise gateway.StripeUnreachable(order=token) from error
        raise UnusableCard from error


def _shipping_params(address: Mapping[str, str]) -> dict[str, Any]:
    """Return where the goods go as Stripe takes it: what is empty is left out."""
    given = {name: value for name, value in address.items() if value}
    contact: dict[str, Any] = {name: given.pop(name) for name in ("name", "phone") if name in given}
    return contact | {"address": given}


def _resume(token: str) -> None:
    """Ask for the order's open charge once more, under its own key.

    One whose key Stripe may have forgotten is not asked for: it would be charged a second time.
    Raises AlreadyOrdered if the order is paid by it, StripeUnreachable if nobody knows.
    """
    attempt = attempts.open_of(queries.get_order(token, only_in_mode=True))
    if attempt is None or attempt.kind != "charge":
        return
    if now() - attempt.created_at > attempts.KEY_LIFETIME:
        return
    attempt_id = attempt.id
    end_read()
    try:
        _carry_out(token, attempt_id)
    except gateway.CardDeclined:
        return
    except gateway.StripeRefused as error:
        # Another key of the shop's says nothing of what became of the charge under the old one.
        if not error.is_about_request:
            raise gateway.OutcomeUnknown(order=token) from error
        write(lambda: attempts.close(attempt_id, "failed"))
        return
    if queries.get_order(token).state in states.ORDERED:
        raise states.AlreadyOrdered(token)


def _carry_out(token: str, attempt_id: int) -> None:
    """Ask Stripe for a charge: under one key it charges once, however often it is asked.

    Raises CardDeclined, StripeRefused and StripeUnreachable.
    """
    attempt = attempts.get(attempt_id)
    key, params, is_open = attempt.key, attempt.params, attempt.open_order_id is not None
    end_read()
    if not is_open:
        return
    try:
        facts = gateway.create_charge(json.loads(params), key)
    except gateway.CardDeclined as error:
        reason = error.reason

        def note_decline() -> None:
            if attempts.close(attempt_id, "declined"):
                states.log_event(queries.get_order(token), "declined", reason)

        write(note_decline)
        raise
    except gateway.StripeUnreachable as error:
        raise gateway.OutcomeUnknown(order=token) from error
    try:
        order = write(lambda: settle.apply(attempt_id, facts))
    except (DatabaseBusy, SQLAlchemyError) as error:  # the money is looked for later
        raise gateway.OutcomeUnknown(order=token) from error
    if order.state not in states.ORDERED:
        raise gateway.OutcomeUnknown(order=token)


def _decline_in_words(reason: str) -> str:
    """Return what a decline means to the customer; what would help a thief is said to nobody.

    https://docs.stripe.com/declines/codes
    """
    words = {
        "insufficient_funds": _("There is not enough money on the card."),
        "expired_card": _("The card has expired."),
        "incorrect_cvc": _("The security code is not right."),
        "incorrect_number": _("The card number is not right."),
        "processing_error": _("The bank could not be reached."),
        "card_velocity_exceeded": _("The card has reached its limit."),
    }
    what = words.get(reason, _("The bank has declined the card."))
    return str(_("%(what)s Nothing was charged. Please try another card.", what=what))


# A second click on the button comes when the first has paid and emptied the cart.
SECOND_CLICK = timedelta(minutes=10)


@dataclass(frozen=True)
class _Bill:
    """What is paid on the card page: an order that waits, or the cart."""

    order: str
    total: Money
    delivery_id: int | None
    delivery_name: str | None
    countries: list[str]


@bp.get("/payments/card")
def card() -> ResponseReturnValue:
    """Show the card page of an order or, without one, of the cart."""
    _refuse_where_off()
    bill = _bill(request.args.get("order", ""), None)
    return _card_page(bill, shipping_form(bill.countries))


@bp.post("/payments/charge")
def charge_card() -> ResponseReturnValue:
    """Charge the card token; the amount is the order's, whatever the form says."""
    _refuse_where_off()
    email = request.form.get("email", "").strip()
    wished = request.form.get("delivery")
    try:
        bill = _bill(request.form.get("order", ""), whole_number(wished, -1) if wished else None)
    except place.NothingToBuy:
        just_ordered = queries.newest_ordered(visitor(), now() - SECOND_CLICK)
        if just_ordered is None:
            raise
        return redirect(url_for("payments.order", token=just_ordered), 303)
    except deliveries.DeliveryGone as gone:
        if wants_json():
            raise
        bill = _bill("", None)
        return _card_page(bill, shipping_form(bill.countries, request.form), gone), gone.status
    form = shipping_form(bill.countries, request.form)
    bad: ShopError | None = None
    if email and not is_mail_address(email):
        bad = links.BadAddress(
            _("That is not an e-mail address. Nothing was charged; leave it empty for no receipt.")
        )
    elif bill.countries and not form.validate():
        bad = BadShipping()
    if bad:
        if wants_json():
            raise bad
        return _card_page(bill, form, bad), bad.status
    token = bill.order
    try:
        # Before the cart becomes an order, which holds goods; its tries are then counted too.
        count("charge", f"visitor {visitor()}", *([f"order {token}"] if token else []))
        if not token:
            token = checkout.order_goods(cart.choices(), bill.delivery_id, _buyer())
            count("charge", f"order {token}", with_network=False)
        address = form.values() if bill.countries else None
        charge(token, request.form.get("stripeToken", ""), email or None, address)
    except AuthenticationWanted:
        return redirect(checkout.pay_again(token, None, _buyer()).url, 303)
    except (Declined, UnusableCard, TooFast) as error:
        if wants_json():
            raise
        return _card_page(_bill(token, None), form, error), error.status, error.headers
    return redirect(url_for("payments.order", token=token), 303)


def _refuse_where_off() -> None:
    if not current_app.config["SHOP_LEGACY_CHARGE"] or current_app.config["SHOP_MODE"] == "off":
        abort(404)


def _card_page(bill: _Bill, form: ShippingForm, error: ShopError | None = None) -> Response:
    html = render_template(
        "payments/card.html",
        bill=bill,
        form=form,
        error=error,
        email=request.form.get("email", ""),
        script=_script(),
        key=current_app.config["STRIPE_PUBLISHABLE_KEY"] or "pk_test_sandbox",
    )
    response = no_store(html)
    parts = urlsplit(_script())
    origin = f"{parts.scheme}://{parts.netloc}" if parts.netloc else None
    response.headers["Content-Security-Policy"] = content_security_policy(
        current_app.config, script=origin
    )
    return response


def _bill(token: str, delivery_id: int | None) -> _Bill:
    """Return what an order costs and where it goes; without a token, the cart's goods.

    Raises NothingToBuy, AlreadyOrdered, OrderMissing and DeliveryGone.
    """
    if token:
        order = queries.get_order(token, only_in_mode=True)
        if order.state not in states.PAYABLE:
            raise states.AlreadyOrdered(token)
        countries = (order.delivery_countries or "").split()
        return _Bill(token, order.total, order.delivery_id, order.delivery_name, countries)
    choices = cart.choices()
    if not choices:
        raise place.NothingToBuy
    if delivery_id is None:
        chosen = cart.delivery(deliveries.offers(choices))
    else:
        chosen = deliveries.choose(choices, delivery_id)
    total = deliveries.total(choices, chosen)
    if chosen is None:
        return _Bill("", total, None, None, [])
    delivery = chosen.delivery
    return _Bill("", total, delivery.id, delivery.name, delivery.countries.split())


def _script() -> str:
    """Return the address of Stripe's script, or of the sandbox's in its place."""
    config = current_app.config
    if config["SHOP_MODE"] == "sandbox":
        return f"{request.script_root}/sandbox/stripe.js"
    if config["STRIPE_API_BASE"]:
        return f"{config['STRIPE_API_BASE']}/stripe.js"
    return f"{STRIPE_JS}/v3/"


def _buyer() -> place.Buyer:
    return place.Buyer(visitor(), cart.cart_id(), current_language())
