"""From what a visitor wants to the page where they pay: order, attempt, session, in this order.

https://docs.stripe.com/payments/accept-a-payment?payment-ui=checkout
"""

import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from time import sleep
from typing import Any

from flask import current_app
from flask_babel import gettext as _
from sqlalchemy import select

from shop.catalog import shelf
from shop.catalog.shelf import Choice
from shop.errors import ShopError
from shop.extensions import db, end_read, now, write
from shop.payments import attempts, gateway, service, settle, sweep, underway
from shop.payments.facts import CheckoutSession
from shop.payments.models import Attempt, Order, OrderLine
from shop.security import external_url

MOST_ORDERS = 3
MOST_LOOKS = 5
SECONDS_BETWEEN_LOOKS = 0.5
MOST_AMOUNT = 99_999_999


class BuyingOff(ShopError):
    """The shop takes no payments."""

    status = 503
    code = "buying_off"

    def __init__(self) -> None:
        super().__init__(
            _("Paying is switched off for now. Nothing was charged; please come back later.")
        )


class NothingToBuy(ShopError):
    """The cart is empty."""

    status = 422
    code = "empty_cart"

    def __init__(self) -> None:
        super().__init__(_("Your cart is empty, so there is nothing to pay. Nothing was charged."))


class AmountTooLarge(ShopError):
    """Stripe takes no payment of more than eight digits."""

    status = 422
    code = "amount_too_large"

    def __init__(self) -> None:
        super().__init__(
            _("This is more than can be paid at once. Nothing was charged; please choose fewer.")
        )


class AmountTooSmall(ShopError):
    """Stripe takes no payment this small.

    https://docs.stripe.com/currencies#minimum-and-maximum-charge-amounts
    """

    status = 422
    code = "amount_too_small"

    def __init__(self) -> None:
        super().__init__(
            _("This is too little to pay by card. Nothing was charged; please choose more.")
        )


@dataclass(frozen=True)
class Buyer:
    """Who buys: the browser, the cart where it is the cart that is bought, and the language."""

    visitor: str
    cart_id: str | None
    language: str


@dataclass(frozen=True)
class Started:
    """A payment that can be made: the order's token, the session's id, and where to pay."""

    order: str
    session_id: str
    url: str


def buy(choices: Sequence[Choice], buyer: Buyer) -> Started:
    """Order these choices and start the payment; the same again is the same order and session.

    Raises NothingToBuy, SoldOut, BuyingOff, AlreadyOrdered; StripeUnreachable: the order is kept.
    """
    for _try in range(MOST_ORDERS):
        token = order_goods(choices, buyer)
        try:
            return _pay(token)
        except _Closed:  # the order of an earlier visit had ended; the wish has not
            continue
    raise gateway.StripeUnreachable(order=token)


def order_goods(choices: Sequence[Choice], buyer: Buyer) -> str:
    """Order these choices without starting a payment, and return the order's token.

    Raises what buy() raises, but for StripeUnreachable where Stripe need not be asked.
    """
    _refuse_where_off()
    if not choices:
        raise NothingToBuy
    wanted = [(choice.product.id, choice.quantity) for choice in choices]
    if buyer.cart_id:
        _replace_other_orders(buyer, _open_key(choices, buyer))
    sweep.sweep()
    token = write(lambda: _find_or_make_order(wanted, buyer))
    if buyer.cart_id:
        _replace_other_orders(buyer, _open_key(choices, buyer), before=token)
    return token


def pay_again(token: str, buyer: Buyer) -> Started:
    """Start or go on with the payment of an order; where it was given up, order the same anew.

    Raises what buy() raises, and OrderMissing.
    """
    _refuse_where_off()
    order = service.get_order(token)
    if order.mode != current_app.config["SHOP_MODE"]:
        raise service.OrderMissing
    if order.state in service.ORDERED:
        raise service.AlreadyOrdered(token)
    if order.state in service.PAYABLE:
        try:
            return _pay(token)
        except _Closed:
            order = service.get_order(token)
    wanted = [(line.product_id, line.quantity) for line in order.lines]
    # Somebody else's link orders the same goods, but ends nobody else's payment.
    cart_id = order.cart_id if order.visitor == buyer.visitor else None
    return buy(shelf.choose(wanted), Buyer(buyer.visitor, cart_id, buyer.language))


class _Closed(Exception):
    """The order ended while its payment was to be started."""


def _refuse_where_off() -> None:
    mode = current_app.config["SHOP_MODE"]
    if mode == "off":
        raise BuyingOff
    # A real shop that lost its key must never become a playground.
    if mode == "sandbox" and db.session.scalar(
        select(Order.id).where(Order.mode == "live").limit(1)
    ):
        raise BuyingOff


def _open_key(choices: Sequence[Choice], buyer: Buyer) -> str:
    """Return what is the same for the same wish of the same visitor: for a double click, say."""
    lines = sorted((c.product.id, c.quantity, c.product.unit_amount) for c in choices)
    config = current_app.config
    wish = [config["SHOP_MODE"], config["SHOP_CURRENCY"], buyer.visitor, buyer.cart_id, lines]
    secret = config["SECRET_KEY"].encode()
    return hmac.new(secret, json.dumps(wish).encode(), hashlib.sha256).hexdigest()


def _find_or_make_order(wanted: Sequence[tuple[int, int]], buyer: Buyer) -> str:
    choices = shelf.choose(wanted)
    key = _open_key(choices, buyer)
    order = db.session.scalar(select(Order).where(Order.open_key == key))
    if order is not None:
        return order.token
    amount = sum(choice.amount.amount for choice in choices)
    if amount > MOST_AMOUNT:
        raise AmountTooLarge
    service.release_other_modes()
    order = Order(
        mode=current_app.config["SHOP_MODE"],
        currency=current_app.config["SHOP_CURRENCY"],
        amount=amount,
        visitor=buyer.visitor,
        cart_id=buyer.cart_id,
        open_key=key,
        language=buyer.language,
        lines=[
            OrderLine(
                product_id=choice.product.id,
                name=choice.product.name,
                quantity=choice.quantity,
                unit_amount=choice.product.unit_amount,
            )
            for choice in choices
        ],
    )
    db.session.add(order)
    db.session.flush()
    missing = service.hold_stock(order)
    if missing is not None:
        raise shelf.SoldOut(missing)
    service.note(order, "ordered")
    return order.token


def _replace_other_orders(buyer: Buyer, key: str, before: str | None = None) -> None:
    """End the payments of what was in the cart before; where one was paid after all, say so.

    With `before`, only of orders older than that one: of two tabs at once the later one stays.
    """
    others = select(Order.token).where(
        Order.cart_id == buyer.cart_id,
        Order.mode == current_app.config["SHOP_MODE"],
        Order.state == "pending",
        Order.open_key != key,
    )
    if before is not None:
        others = others.where(Order.id < service.get_order(before).id)
    for token in db.session.scalars(others).all():
        _cancel_order(token)


def _cancel_order(token: str) -> None:
    """Give an order up, with whatever way to pay it is open."""
    for _again in range(MOST_ORDERS):
        underway.end_open_attempt(token)
        if write(partial(_cancel_unless_open, token)):
            return
    raise gateway.StripeUnreachable(order=token)


def _cancel_unless_open(token: str) -> bool:
    order = service.claim(token)
    if order is None:
        return True
    if attempts.open_of(order) is not None:  # another tab has begun to pay it
        return False
    return service.cancel(order, "replaced")


@dataclass(frozen=True)
class _Call:
    """What goes out for an attempt, read in the transaction that holds the order."""

    attempt_id: int
    kind: str
    key: str
    params: dict[str, Any]
    session_id: str | None
    is_new: bool


def _pay(token: str) -> Started:
    """Return where the order is paid, through its open attempt or a new one."""
    call = write(lambda: _open_attempt(token))
    end_read()
    if call.kind == "charge":
        underway.end_open_attempt(token)
        return _pay(token)
    if call.session_id:
        return _go_on(token, call.attempt_id, call.session_id)
    try:
        session = gateway.create_session(call.params, call.key)
    except gateway.StripeRefused as error:
        write(lambda: attempts.close(call.attempt_id, "failed"))
        if not call.is_new:  # what an earlier visit could not finish may just be out of date
            return _pay(token)
        raise _refusal(error, token) from error
    except gateway.StripeUnreachable as error:
        other = None if call.is_new else _answer_of_other_click(call.attempt_id)
        if other:
            return _go_on(token, call.attempt_id, other)
        raise gateway.StripeUnreachable(error.message, order=token) from error
    return _keep_session(token, call.attempt_id, session)


def _keep_session(token: str, attempt_id: int, session: CheckoutSession) -> Started:
    """Write the answer down; where the order was given up meanwhile, its session must go too."""
    if not write(lambda: attempts.keep_session(attempt_id, session.id, session.url)):
        underway.end_session(token, session.id)
        raise _Closed
    return Started(token, session.id, session.url or "")


def _answer_of_other_click(attempt_id: int) -> str | None:
    """Return the session that another click on the same order gets at this moment, if it does."""
    for _look in range(MOST_LOOKS):
        found = db.session.get_one(Attempt, attempt_id).stripe_id
        end_read()
        if found:
            return found
        sleep(SECONDS_BETWEEN_LOOKS)
    return None


def _go_on(token: str, attempt_id: int, session_id: str) -> Started:
    """Go back to a session that was begun, unless it has ended one way or the other."""
    try:
        session = gateway.retrieve_session(session_id)
    except gateway.StripeUnreachable as error:
        raise underway.being_confirmed(token) from error
    except gateway.StripeRefused as error:
        if error.code != underway.UNKNOWN:
            raise gateway.StripeUnreachable(order=token) from error
        write(lambda: attempts.close_as_known(attempt_id, "failed", session_id))
        return _pay(token)
    if session.status == "open" and session.url:
        write(lambda: underway.take_up_again(session_id))
        return Started(token, session.id, session.url)
    if settle.settle(session_id).state in service.ORDERED:
        raise service.AlreadyOrdered(token)
    raise _Closed


def _open_attempt(token: str) -> _Call:
    """Return the call of the open attempt, or of a new one; raise _Closed for a lost order."""
    order = service.claim(token)
    if order is None:
        raise _Closed
    found = attempts.open_of(order)
    if found is not None and (found.stripe_id or found.kind == "charge" or found.expires > now()):
        return _call(found, is_new=False)
    if found is not None:
        attempts.close(found.id, "failed")
    expires = now() + attempts.SESSION_LIFETIME
    new = attempts.begin(order, "checkout", partial(_session_params, order, expires), expires)
    return _call(new, is_new=True)


def _call(attempt: Attempt, is_new: bool) -> _Call:
    params = json.loads(attempt.params)
    return _Call(attempt.id, attempt.kind, attempt.key, params, attempt.stripe_id, is_new)


def _session_params(order: Order, expires: datetime, key: str) -> dict[str, Any]:
    """Return what Stripe is asked for; amounts in minor units.

    Kept with the attempt: under one idempotency key Stripe takes one set of parameters only.
    """
    reference = {"order": order.uid}
    return {
        "mode": "payment",
        "line_items": [
            {
                "price_data": {
                    "currency": order.currency,
                    "unit_amount": line.unit_amount,
                    "product_data": {"name": line.name},
                },
                "quantity": line.quantity,
            }
            for line in order.lines
        ],
        "client_reference_id": order.uid,
        "metadata": reference | {"attempt": key},
        "payment_intent_data": {"metadata": reference},
        "success_url": external_url("payments.success") + "?session_id={CHECKOUT_SESSION_ID}",
        "cancel_url": external_url("payments.cancel", order=order.token),
        "expires_at": int(expires.timestamp()),
        "locale": order.language,
    }


def _refusal(error: gateway.StripeRefused, token: str) -> ShopError:
    if error.code == "amount_too_small":
        return AmountTooSmall()
    return gateway.StripeUnreachable(order=token)
