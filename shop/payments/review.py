"""What the owner decides about money that does not fit its order."""

from flask_babel import lazy_gettext as _l

from shop.db import write
from shop.errors import ShopError
from shop.money import Money
from shop.orders import ledger, queries, states, stock
from shop.payments import refunds, settle


class NothingToDecide(ShopError):
    """The order needs no decision."""

    status = 409
    code = "nothing_to_decide"
    message = _l("There is nothing to decide about this order. Nothing has changed.")


def take_as_paid(number: int) -> str | None:
    """Take the money of an order that needs review for its payment; the goods are to be sent.

    Returns the name of goods that are gone, None if they are all there. Raises OrderMissing and
    NothingToDecide.
    """
    order_id = queries.find_by_number(number).id

    def unit() -> str | None:
        order = queries.lock(order_id)
        if not states.transition(order, "paid", only_from=("needs_review",)):
            raise NothingToDecide
        missing = None if order.holds_stock else stock.reserve_stock(order)
        states.log_event(order, "taken_as_paid", missing or "")
        settle.finish(order, missing)
        ledger.update_state(order)  # a part may have gone back already
        return missing

    return write(unit)


def give_back(number: int, key: str | None = None) -> list[Money]:
    """Refund all the money of an order that needs review and return what goes back.

    Raises OrderMissing, NothingToDecide, and what refunds.refund() raises.
    """
    if queries.find_by_number(number).state != "needs_review":
        raise NothingToDecide
    return refunds.refund(number, key=key or refunds.new_key())
