"""What the owner decides about an order: what becomes of odd money, and when it is shipped."""

from functools import partial

from flask_babel import gettext as _

from shop import mail
from shop.errors import ShopError
from shop.extensions import write
from shop.money import Money
from shop.payments import giving_back, ledger, service, settle


class NotYours(ShopError):
    """There is nothing to decide about the order."""

    status = 409
    code = "nothing_to_decide"


class NotReady(ShopError):
    """The order cannot be shipped."""

    status = 409
    code = "not_ready"


def take_as_paid(number: int) -> None:
    """Take the money of an order that needs review for its payment; the goods are to be sent.

    Raises OrderMissing and NotYours.
    """
    order_id = service.find_by_number(number).id
    write(partial(_take_as_paid, order_id))


def give_back(number: int) -> list[Money]:
    """Refund all the money of an order that needs review and return what goes back.

    Raises OrderMissing, NotYours, and what giving_back.refund() raises.
    """
    if service.find_by_number(number).state != "needs_review":
        raise NotYours(_not_in_review())
    return giving_back.refund(number)


def ship(number: int) -> None:
    """Write down that the goods are on their way, and tell the customer.

    Raises OrderMissing, and NotReady for an order that is not paid or was shipped before.
    """
    order_id = service.find_by_number(number).id
    write(partial(_ship, order_id))


def _take_as_paid(order_id: int) -> None:
    order = service.hold(order_id)
    if not service.move(order, "paid", only_from=("needs_review",)):
        raise NotYours(_not_in_review())
    if not order.holds_stock:
        service.hold_stock(order)  # where they are gone the owner knows: it is why they were asked
    service.note(order, "taken_as_paid")
    settle.finish(order)
    total = ledger.sums(ledger.entries(order_id))  # a part may have gone back already
    service.follow_ledger(order, total.paid, total.refunded)


def _not_in_review() -> str:
    return str(_("There is nothing to decide about this order. Nothing has changed."))


def _ship(order_id: int) -> None:
    order = service.hold(order_id)
    if not service.mark_shipped(order):
        raise NotReady(
            _("Only an order that is paid and was not shipped yet can be shipped. Nothing changed.")
        )
    service.note(order, "shipped")
    if order.email:
        mail.customer_shipped(order.id, order.email, order.language, service.letter(order))
