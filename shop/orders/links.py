"""Lost links: who asks for the orders of an address gets them by mail, at that address alone."""

from functools import partial

from flask_babel import lazy_gettext as _l
from sqlalchemy import select

from shop import mail
from shop.db import db, write
from shop.errors import ShopError
from shop.orders import queries, states
from shop.orders.models import Order, email_key

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
        queries.in_mode(),
        Order.state.in_(states.ORDERED),
    )
    orders: dict[str, list[Order]] = {}
    for order in db.session.scalars(found.order_by(Order.id.desc()).limit(MOST_ORDERS)):
        orders.setdefault(order.email or "", []).append(order)
    for theirs in orders.values():
        write(partial(mail.customer_links, theirs, language))
