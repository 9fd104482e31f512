"""From what a visitor wants to the page where they pay: order, attempt, session, in this order.

https://docs.stripe.com/payments/accept-a-payment?payment-ui=checkout
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from flask_babel import lazy_gettext as _l
from sqlalchemy import select

from shop.catalog import deliveries, products
from shop.catalog.deliveries import DeliveryGone
from shop.catalog.products import Choice
from shop.db import db, end_read, now, write
from shop.errors import ShopError
from shop.orders import place, queries, states
from shop.orders.models import Order
from shop.orders.place import Buyer
from shop.payments import attempts, gateway, release, settle
from shop.payments.session import session_params

MOST_ORDERS = 3


class AmountTooSmall(ShopError):
    """Stripe takes no payment this small.

    https://docs.stripe.com/currencies#minimum-and-maximum-charge-amounts
    """

    status = 422
    code = "amount_too_small"
    message = _l("This is too little to pay by card. Nothing was charged; please choose more.")


class BeingStarted(ShopError):
    """Another click on the same order still asks Stripe for the page to pay on."""

    status = 202
    code = "being_started"
    message = _l(
        "Your payment is just being started by another click. Nothing is charged twice; please go "
        "on in a moment."
    )


@dataclass(frozen=True)
class Started:
    """A payment that can be made: the order's token, the session's id, and where to pay."""

    order: str
    session_id: str
    url: str


class _OrderClosed(Exception):
    """The order ended while its payment was to be started."""


def buy(choices: Sequence[Choice], delivery_id: int | None, buyer: Buyer) -> Started:
    """Order these choices and start the payment; the same again is the same order and session.

    Without a delivery it is the first that fits. Raises NothingToBuy, SoldOut, DeliveryGone,
    BuyingOff, ShopClosed, AlreadyOrdered; BeingStarted and StripeUnreachable: the order is kept.
    """
    for _try in range(MOST_ORDERS):
        token = order_goods(choices, delivery_id, buyer)
        try:
            return _pay(token)
        except _OrderClosed:  # the order of an earlier visit had ended; the wish has not
            continue
    raise gateway.StripeUnreachable(order=token)


def pay_again(token: str, delivery_id: int | None, buyer: Buyer) -> Started:
    """Start or go on with the payment of an order; where it was given up, order the same anew.

    The delivery is the order's, unless that is no longer offered: then DeliveryGone asks for
    another. Raises what buy() raises, and OrderMissing.
    """
    place.refuse_where_off()
    order = queries.get_order(token, only_in_mode=True)
    if order.state in states.ORDERED:
        raise states.AlreadyOrdered(token)
    if order.state in states.PAYABLE:
        try:
            return _pay(token)
        except _OrderClosed:
            order = queries.get_order(token)
    wanted = [(line.product_id, line.quantity) for line in order.lines]
    # Somebody else's link orders the same goods, but ends nobody else's payment. Who has paid that
    # cart in another way wants more than was in it.
    is_mine = order.visitor == buyer.visitor
    cart_id = order.cart_id if is_mine and not queries.order_of_cart(order.cart_id) else None
    choices = products.choose(wanted)
    offered = [offer.delivery.id for offer in deliveries.offers(choices)]
    if order.delivery_id in offered:
        delivery_id = order.delivery_id
    elif offered and delivery_id is None:
        raise DeliveryGone(choices, token)
    return buy(choices, delivery_id, Buyer(buyer.visitor, cart_id, buyer.language))


def order_goods(choices: Sequence[Choice], delivery_id: int | None, buyer: Buyer) -> str:
    """Order these choices without starting a payment, and return the order's token.

    Raises what buy() raises, but for StripeUnreachable where Stripe need not be asked; and
    AlreadyOrdered for a cart whose order is paid.
    """
    place.refuse_where_off()
    if not choices:
        raise place.NothingToBuy
    wanted = [(choice.product.id, choice.quantity) for choice in choices]
    key = place.dedup_key(choices, deliveries.choose(choices, delivery_id), buyer)
    place.refuse_where_closed(key)
    if buyer.cart_id:
        _replace_other_orders(buyer, key)
    release.sweep()
    try:
        token = write(lambda: place.find_or_make(wanted, delivery_id, buyer))
    except products.SoldOut:
        if not release.free_for(wanted, buyer.visitor):
            raise
        token = write(lambda: place.find_or_make(wanted, delivery_id, buyer))
    if buyer.cart_id:
        _replace_other_orders(buyer, key, before=token)
    return token


def _replace_other_orders(buyer: Buyer, key: str, before: str | None = None) -> None:
    """End the payments of what was in the cart before; if one was paid after all, say so.

    With `before`, only of orders older than that one: of two tabs at once the later one stays.
    """
    others = select(Order.token).where(
        Order.cart_id == buyer.cart_id,
        queries.in_mode(),
        Order.state == "pending",
        Order.dedup_key != key,
    )
    if before is not None:
        others = others.where(Order.id < queries.get_order(before).id)
    for token in db.session.scalars(others).all():
        release.replace(token)


def _pay(token: str) -> Started:
    """Return where the order is paid, through its open attempt or a new one."""
    attempt_id, is_new = write(partial(_open_attempt, token))
    attempt = attempts.get(attempt_id)
    kind, session_id, key, params = attempt.kind, attempt.stripe_id, attempt.key, attempt.params
    end_read()
    if kind == "charge":
        release.end_open_attempt(token)
        return _pay(token)
    if session_id:
        return _go_on(token, attempt_id, session_id)
    try:
        session = gateway.create_session(json.loads(params), key)
    except gateway.StripeRefused as error:
        write(lambda: attempts.close(attempt_id, "failed"))
        if not is_new:  # the parameters of an earlier visit are out of date, or its error is stored
            return _pay(token)
        if error.code == "amount_too_small":
            raise AmountTooSmall from error
        raise gateway.StripeUnreachable(order=token) from error
    except gateway.KeyInUse as error:
        raise BeingStarted(order=token) from error
    except gateway.StripeUnreachable as error:
        raise gateway.StripeUnreachable(error.message, order=token) from error
    if not write(lambda: attempts.keep_session(attempt_id, session.id, session.url)):
        # The order was given up meanwhile, so its session must not be paid.
        release.end_session(token, session.id)
        raise _OrderClosed
    if session.url is None:  # asked for under the same key before, and over by now
        return _go_on(token, attempt_id, session.id)
    return Started(token, session.id, session.url)


def _open_attempt(token: str) -> tuple[int, bool]:
    """Return the id of the order's open attempt and False, or of a new one and True."""
    order = queries.lock_payable(token)
    if order is None:
        raise _OrderClosed
    found = attempts.open_of(order)
    if found is not None:
        if found.stripe_id or found.kind == "charge" or found.expires_at > now():
            return found.id, False
        attempts.close(found.id, "failed")
    expires_at = now() + attempts.SESSION_LIFETIME
    params = partial(session_params, order, int(expires_at.timestamp()))
    return attempts.begin(order, "checkout", params, expires_at).id, True


def _go_on(token: str, attempt_id: int, session_id: str) -> Started:
    """Go back to a session that was begun, unless it has ended one way or the other."""
    try:
        session = gateway.retrieve_session(session_id)
    except gateway.StripeUnreachable as error:
        raise gateway.OutcomeUnknown(order=token) from error
    except gateway.StripeRefused as error:
        if error.code != gateway.UNKNOWN:
            raise gateway.StripeUnreachable(order=token) from error
        write(lambda: attempts.close_as_known(attempt_id, "failed", session_id))
        return _pay(token)
    if session.url and not (session.is_paid or session.is_awaited or session.is_over):
        write(lambda: attempts.set_outcome(session_id, "withdrawn", "open"))
        return Started(token, session.id, session.url)
    if settle.settle(session_id).state in states.ORDERED:
        raise states.AlreadyOrdered(token)
    raise _OrderClosed
