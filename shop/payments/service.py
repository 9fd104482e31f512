"""Orders: what their states mean, how they change (only here), what they hold."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from flask import current_app
from flask_babel import gettext as _
from sqlalchemy import select, update

from shop.catalog import shelf
from shop.errors import ShopError
from shop.extensions import changed_rows, db, insert_once, is_key, now
from shop.payments.facts import Event
from shop.payments.models import Order, StripeEvent, TimelineEntry
from shop.security import external_url

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
# The state follows what the ledger adds up to.
SETTLED = ("paid", "partially_refunded", "refunded")


class OrderMissing(ShopError):
    """No order (of this mode) answers to what was asked for."""

    status = 404
    code = "no_order"

    def __init__(self) -> None:
        super().__init__(
            _("We cannot find this order. Nothing was charged; please check the address.")
        )


class AlreadyOrdered(Exception):
    """The order is paid, or its money is on the way: there is nothing more to pay."""

    def __init__(self, token: str) -> None:
        super().__init__(token)
        self.token = token


def sources(target: str) -> tuple[str, ...]:
    """Return the states from which an order may become `target`."""
    return tuple(state for state, targets in TRANSITIONS.items() if target in targets)


def move(order: Order, target: str, only_from: Iterable[str] | None = None) -> bool:
    """Change the state if the table allows it; inside write(). Return whether this call did it.

    One conditional UPDATE: of many calls at the same time one wins, and it alone goes on to
    timeline, stock and mail.
    """
    allowed = [s for s in sources(target) if only_from is None or s in only_from]
    change = update(Order).where(Order.id == order.id, Order.state.in_(allowed))
    values: dict[str, Any] = {"state": target}
    if target not in PAYABLE:
        values["open_key"] = None
    won = changed_rows(change.values(**values)) == 1
    db.session.refresh(order)
    return won


def claim(token: str) -> Order | None:
    """Return the order if it can still be paid, and keep it so until this write() ends.

    None where it was given up. Raises AlreadyOrdered, and OrderMissing for another mode's order.
    The UPDATE changes nothing but holds the row: who settles or closes the order waits, so that
    what is read after it is not out of date before it is acted upon.
    """
    mine = update(Order).where(Order.token == token, Order.mode == current_app.config["SHOP_MODE"])
    if not changed_rows(mine.values(mode=Order.mode)):
        raise OrderMissing
    order = get_order(token)
    db.session.refresh(order)
    if order.state in ORDERED:
        raise AlreadyOrdered(token)
    return order if order.state in PAYABLE else None


def hold(order_id: int) -> Order:
    """Return the order as it is now, and keep it so until this write() ends."""
    changed_rows(update(Order).where(Order.id == order_id).values(mode=Order.mode))
    return db.session.get_one(Order, order_id, populate_existing=True)


def follow_ledger(order: Order, paid: int, refunded: int) -> None:
    """Move a settled order, inside write(), to where its sums (minor units) belong.

    Money that nobody took for the order's stays the owner's question until all of it went back,
    and is one again where a refund of it fails.
    """
    target = state_by_sums(order.amount, paid, refunded)
    if order.paid is None and target != "refunded":
        target = "needs_review"
    move(order, target, only_from=(*SETTLED, "needs_review"))


def state_by_sums(amount: int, paid: int, refunded: int) -> str:
    """Return the state of a settled order; an owner may have taken less than it costs."""
    kept = paid - refunded
    if kept <= 0 < refunded:
        return "refunded"
    return "paid" if kept >= min(amount, paid) else "partially_refunded"


def mark_shipped(order: Order) -> bool:
    """Write the day of shipping down, inside write(); return whether it was not yet."""
    ready = update(Order).where(
        Order.id == order.id,
        Order.shipped.is_(None),
        Order.state.in_(("paid", "partially_refunded")),
    )
    return changed_rows(ready.values(shipped=now())) == 1


def take_event(event: Event) -> bool:
    """Put an event into the inbox, inside write(); return whether it was not there yet."""
    return insert_once(
        StripeEvent, id=event.id, type=event.type, object_id=event.object_id, received=now()
    )


def note(order: Order, kind: str, detail: str = "") -> None:
    """Write a line of the order's story, inside write()."""
    db.session.add(TimelineEntry(order_id=order.id, kind=kind, detail=detail))


def get_order(token: str) -> Order:
    """Return the order with this token; raise OrderMissing."""
    order = db.session.scalar(select(Order).where(Order.token == token)) if is_key(token) else None
    if order is None:
        raise OrderMissing
    return order


def find_by_number(number: int) -> Order:
    """Return the order of this mode with this number; raise OrderMissing."""
    order = db.session.get(Order, number) if 0 < number < 2**63 else None
    if order is None or order.mode != current_app.config["SHOP_MODE"]:
        raise OrderMissing
    return order


def find_by_uid(uid: str) -> Order | None:
    """Return the order of this mode that Stripe knows by this reference, None for no such."""
    mine = select(Order).where(Order.uid == uid, Order.mode == current_app.config["SHOP_MODE"])
    return db.session.scalar(mine) if is_key(uid) else None


def waiting_order(visitor: str) -> Order | None:
    """Return the newest order of a visitor that can still be paid, None where there is none."""
    mine = select(Order).where(Order.visitor == visitor, Order.state.in_(PAYABLE))
    return db.session.scalar(
        mine.where(Order.mode == current_app.config["SHOP_MODE"]).order_by(Order.id.desc()).limit(1)
    )


def newest_ordered(visitor: str, since: datetime) -> str | None:
    """Return the token of what a visitor has ordered and paid since then, None for nothing."""
    mine = select(Order.token).where(Order.visitor == visitor, Order.state.in_(ORDERED))
    return db.session.scalar(mine.where(Order.created > since).order_by(Order.id.desc()).limit(1))


def order_of_cart(cart_id: str | None) -> str | None:
    """Return the token of what a cart became that is paid, or whose payment is on its way."""
    ordered = select(Order.token).where(Order.cart_id == cart_id, Order.state.in_(ORDERED))
    return db.session.scalar(ordered.limit(1)) if cart_id else None


def summary(order: Order) -> dict[str, Any]:
    """Return the order as outside programs and mails read it; amounts in minor units."""
    return {
        "order": order.token,
        "number": order.number,
        "state": order.state,
        "amount": order.amount,
        "refunded": order.refunded.amount,
        "currency": order.currency,
        "mode": order.mode,
        "lines": [
            {
                "name": line.name,
                "quantity": line.quantity,
                "unit_amount": line.unit_amount,
                "amount": line.unit_amount * line.quantity,
            }
            for line in order.lines
        ],
    }


def letter(order: Order, **more: Any) -> dict[str, Any]:
    """Return what a mail says about an order, with the link to it, and `more`."""
    link = external_url("payments.order", token=order.token)
    return summary(order) | {"link": link} | more


def cancel(order: Order, why: str) -> bool:
    """Close an order that nobody can pay any more, inside write(); return whether it was open."""
    if not move(order, "cancelled"):
        return False
    release_stock(order)
    note(order, "cancelled", why)
    return True


def hold_stock(order: Order) -> str | None:
    """Take the goods off the shelf, inside write(); return the name of what is missing, if any."""
    # In one order for everybody, so that two buyers never wait for each other in a circle.
    lines = sorted(order.lines, key=lambda line: line.product_id)
    for position, line in enumerate(lines):
        if not shelf.take(line.product_id, line.quantity):
            for taken in lines[:position]:
                shelf.put_back(taken.product_id, taken.quantity)
            return line.name
    order.holds_stock = True
    return None


def release_stock(order: Order) -> None:
    """Put the goods back on the shelf, once, inside write()."""
    held = update(Order).where(Order.id == order.id, Order.holds_stock)
    if not changed_rows(held.values(holds_stock=False)):
        return
    for line in sorted(order.lines, key=lambda line: line.product_id):
        shelf.put_back(line.product_id, line.quantity)


def release_other_modes() -> None:
    """Put back what trial orders of another mode hold, inside write(); live ones keep theirs."""
    others = {"sandbox", "test"} - {current_app.config["SHOP_MODE"]}
    holding = select(Order).where(Order.mode.in_(sorted(others)), Order.holds_stock)
    for order in db.session.scalars(holding):
        release_stock(order)
