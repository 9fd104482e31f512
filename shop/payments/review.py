"""What the owner decides about an order: what becomes of odd money, and when it is shipped."""

from functools import partial

from flask_babel import gettext as _

from shop.db import write
from shop.errors import ShopError
from shop.money import Money
from shop.orders import ledger, queries, states, stock
from shop.payments import refunds, settle


class NotYours(ShopError):
    """There is nothing to decide about the order."""

    status = 409
    code = "nothing_to_decide"


def take_as_paid(number: int) -> None:
    """Take the money of an order that needs review for its payment; the goods are to be sent.

    Raises OrderMissing and NotYours.
    """
    order_id = queries.find_by_number(number).id
    write(partial(_take_as_paid, order_id))


def give_back(number: int) -> list[Money]:
    """Refund all the money of an order that needs review and return what goes back.

    Raises OrderMissing, NotYours, and what giving_back.refund() raises.
    """
    if queries.find_by_number(number).state != "needs_review":
        raise NotYours(_not_in_review())
    return refunds.refund(number)


def _take_as_paid(order_id: int) -> None:
    order = queries.lock(order_id)
    if not states.transition(order, "paid", only_from=("needs_review",)):
        raise NotYours(_not_in_review())
    if not order.holds_stock:
        stock.reserve_stock(order)  # where they are gone the owner knows: it is why they were asked
    states.log_event(order, "taken_as_paid")
    settle.finish(order)
    total = ledger.sums(ledger.entries(order_id))  # a part may have gone back already
    states.follow_ledger(order, total.paid_amount, total.refunded_amount)


def _not_in_review() -> str:
    return str(_("There is nothing to decide about this order. Nothing has changed."))
