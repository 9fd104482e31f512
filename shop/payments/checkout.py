"""From a wish to an order: prices and goods from the shelf, nothing from the browser."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from time import sleep
from typing import Any

from flask import current_app
from flask_babel import lazy_gettext as _l
from sqlalchemy import select

from shop.catalog import products
from shop.catalog.products import Choice
from shop.db import db, end_read, now, write
from shop.errors import ShopError
from shop.orders import place, queries, states
from shop.orders.models import Order
from shop.orders.place import Buyer, NothingToBuy
from shop.payments import attempts, gateway, release, settle
from shop.payments.gateway.objects import CheckoutSession
from shop.payments.models import Attempt
from shop.security import external_url


def order_goods(choices: Sequence[Choice], buyer: Buyer) -> str:
    """Order these choices without starting a payment, and return the order's token.

    Raises what buy() raises, but for StripeUnreachable where Stripe need not be asked; and
    AlreadyOrdered for a cart whose order is paid.
    """
    place.refuse_where_off()
    if not choices:
        raise NothingToBuy
    wanted = [(choice.product.id, choice.quantity) for choice in choices]
    if buyer.cart_id:
        _replace_other_orders(buyer, place.open_key(choices, buyer))
    release.sweep()
    try:
        token = write(lambda: place.find_or_make(wanted, buyer))
    except products.SoldOut:
        if not release.free_for(wanted, buyer.visitor):
            raise
        token = write(lambda: place.find_or_make(wanted, buyer))
    if buyer.cart_id:
        _replace_other_orders(buyer, place.open_key(choices, buyer), before=token)
    return token


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
        others = others.where(Order.id < queries.get_order(before).id)
    for token in db.session.scalars(others).all():
        release.replace(token)


MOST_ORDERS = 3
MOST_LOOKS = 5
SECONDS_BETWEEN_LOOKS = 0.5


class AmountTooSmall(ShopError):
    """Stripe takes no payment this small.

    https://docs.stripe.com/currencies#minimum-and-maximum-charge-amounts
    """

    status = 422
    code = "amount_too_small"
    message = _l("This is too little to pay by card. Nothing was charged; please choose more.")


@dataclass(frozen=True)
class Started:
    """A payment that can be made: the order's token, the session's id, and where to pay."""

    order: str
    session_id: str
    url: str


def buy(choices: Sequence[Choice], buyer: place.Buyer) -> Started:
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


def pay_again(token: str, buyer: place.Buyer) -> Started:
    """Start or go on with the payment of an order; where it was given up, order the same anew.

    Raises what buy() raises, and OrderMissing.
    """
    place.refuse_where_off()
    order = queries.get_order(token)
    if order.mode != current_app.config["SHOP_MODE"]:
        raise queries.OrderMissing
    if order.state in states.ORDERED:
        raise states.AlreadyOrdered(token)
    if order.state in states.PAYABLE:
        try:
            return _pay(token)
        except _Closed:
            order = queries.get_order(token)
    wanted = [(line.product_id, line.quantity) for line in order.lines]
    # Somebody else's link orders the same goods, but ends nobody else's payment. Who has paid that
    # cart in another way wants more than was in it.
    is_mine = order.visitor == buyer.visitor
    cart_id = order.cart_id if is_mine and not queries.order_of_cart(order.cart_id) else None
    return buy(products.choose(wanted), place.Buyer(buyer.visitor, cart_id, buyer.language))


class _Closed(Exception):
    """The order ended while its payment was to be started."""


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
        release.end_open_attempt(token)
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
        release.end_session(token, session.id)
        raise _Closed
    if session.url is None:  # found again, and over by now
        return _go_on(token, attempt_id, session.id)
    return Started(token, session.id, session.url)


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
        raise release.being_confirmed(token) from error
    except gateway.StripeRefused as error:
        if error.code != release.UNKNOWN:
            raise gateway.StripeUnreachable(order=token) from error
        write(lambda: attempts.close_as_known(attempt_id, "failed", session_id))
        return _pay(token)
    if session.status == "open" and session.url:
        write(lambda: release.take_up_again(session_id))
        return Started(token, session.id, session.url)
    if settle.settle(session_id).state in states.ORDERED:
        raise states.AlreadyOrdered(token)
    raise _Closed


def _open_attempt(token: str) -> _Call:
    """Return the call of the open attempt, or of a new one; raise _Closed for a lost order."""
    order = queries.claim(token)
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
