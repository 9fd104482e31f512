"""What the states of an order mean, and how an order comes from one to the next: only here."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import update

from shop.db import changed_rows, db
from shop.orders import stock
from shop.orders.models import Order, TimelineEntry

TRANSITIONS: dict[str, tuple[str, ...]] = {
    "pending": ("awaiting_payment", "paid", "cancelled", "needs_review"),
    "awaiting_payment": ("paid", "cancelled", "needs_review"),
    "cancelled": ("paid", "needs_review"),
    "needs_review": ("paid", "refunded"),
    "paid": ("partially_refunded", "refunded"),
    "partially_refunded": ("paid", "refunded"),
    "refunded": ("paid", "partially_refunded", "needs_review"),
}
# The buyer can still pay.
PAYABLE = ("pending",)
# The order is done as far as the cart is concerned.
ORDERED = ("awaiting_payment", "paid", "partially_refunded", "refunded", "needs_review")
# The money is kept, so the goods are the customer's.
KEPT = ("paid", "partially_refunded")
# What a person does to an order, and not Stripe or the shop.
BY_PEOPLE = ("packed", "shipped", "restocked", "note", "taken_as_paid")
# The state follows what the ledger adds up to.
SETTLED = ("paid", "partially_refunded", "refunded")


class AlreadyOrdered(Exception):
    """The order is paid, or its money is on the way: there is nothing more to pay."""

    def __init__(self, token: str) -> None:
        super().__init__(token)
        self.token = token


def sources(target: str) -> tuple[str, ...]:
    """Return the states from which an order may become `target`."""
    return tuple(state for state, targets in TRANSITIONS.items() if target in targets)


def transition(order: Order, target: str, only_from: Iterable[str] | None = None) -> bool:
    """Change the state if the table allows it; inside write(). Return whether this call did it.

    One conditional UPDATE: of many calls at the same time one wins, and it alone goes on to
    timeline, stock and mail.
    """
    allowed = [s for s in sources(target) if only_from is None or s in only_from]
    change = update(Order).where(Order.id == order.id, Order.state.in_(allowed))
    values: dict[str, Any] = {"state": target}
    if target not in PAYABLE:
        values["dedup_key"] = None
    won = changed_rows(change.values(**values)) == 1
    db.session.refresh(order)
    return won


def state_by_sums(amount: int, paid: int, refunded: int) -> str:
    """Return the state of a settled order; an owner may have taken less than it costs."""
    kept = paid - refunded
    if kept <= 0 < refunded:
        return "refunded"
    return "paid" if kept >= min(amount, paid) else "partially_refunded"


def act_as(who: str | None, way: str) -> None:
    """Have the story say which person acts on orders from here on, and by which way it is told.

    `way` is webhook, visit, reconcile, office or command.
    """
    db.session.info.update(who=who, way=way)


def log_event(order: Order, kind: str, detail: str = "", *, by_hand: bool = False) -> None:
    """Write a line of the order's story, inside write(); `by_hand`: a person had it done here."""
    info = db.session.info
    who = info.get("who") if by_hand or kind in BY_PEOPLE else None
    values = {"kind": kind, "detail": detail, "who": who, "way": info.get("way")}
    db.session.add(TimelineEntry(order_id=order.id, **values))


def cancel(order: Order, why: str) -> bool:
    """Close an order that nobody can pay any more, inside write(); return whether it was open."""
    if not transition(order, "cancelled"):
        return False
    stock.release_stock(order)
    log_event(order, "cancelled", why)
    return True
