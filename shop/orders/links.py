"""Lost links: who asks for the orders of an address gets them by mail, at that address alone."""

from functools import partial
from typing import Any

from flask import current_app
from flask_babel import lazy_gettext as _l
from sqlalchemy import select

from shop import mail
from shop.db import db, write
from shop.errors import ShopError
from shop.orders import states
from shop.orders.models import Order, email_key
from shop.security import external_url

MOST_ORDERS = 20


class BadAddress(ShopError):
    """No mail can be sent to what was typed."""

    status = 422
    code = "bad_email"
    message = _l("That is not an e-mail address. Nothing was sent; please check it.")


def mail_links(typed: str, language: str) -> None:
    """Mail the newest orders of an address to it, in this language; nothing where there are none.

    The mail goes to the address that is kept with the orders: what was typed only finds them, and
    may be another mailbox that differs in upper and lower case.
    """
    found = select(Order).where(
        Order.email_key == email_key(typed),
        Order.mode == current_app.config["SHOP_MODE"],
        Order.state.in_(states.ORDERED),
    )
    orders: dict[str, list[Order]] = {}
    for order in db.session.scalars(found.order_by(Order.id.desc()).limit(MOST_ORDERS)):
        orders.setdefault(order.email or "", []).append(order)
    letters = [(theirs[0].id, to, language, _letter(theirs)) for to, theirs in orders.items()]
    for letter in letters:
        write(partial(mail.customer_links, *letter))


def _letter(orders: list[Order]) -> dict[str, Any]:
    """Return what the mail says of these orders, newest first; amounts in minor units."""
    return {
        "order": orders[0].token,
        "number": orders[0].number,
        "orders": [
            {
                "number": order.number,
                "created": order.created.isoformat(),
                "amount": order.amount,
                "currency": order.currency,
                "state": order.state,
                "link": external_url("payments.order", token=order.token),
            }
            for order in orders
        ],
    }
