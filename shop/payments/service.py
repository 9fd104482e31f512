"""What an order's state means and how it changes: the only place that writes it.

https://docs.stripe.com/checkout/fulfillment is the document behind settle().
"""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from flask import current_app
from flask_babel import gettext as _
from sqlalchemy import or_, select, update

from shop import mail
from shop.catalog import shelf
from shop.errors import ShopError
from shop.extensions import changed_rows, db, end_read, insert_once, is_key, now, write
from shop.payments import gateway
from shop.payments.models import Attempt, LedgerEntry, Order, StripeEvent, TimelineEntry
from shop.security import external_url

TRANSITIONS: dict[str, tuple[str, ...]] = {
    "pending": ("awaiting_payment", "paid", "cancelled", "needs_review"),
    "awaiting_payment": ("paid", "cancelled", "needs_review"),
    "cancelled": ("paid", "needs_review"),
    "needs_review": ("paid", "refunded"),
    "paid": ("partially_refunded", "refunded"),
    "partially_refunded": ("paid", "refunded"),
    "refunded": ("paid", "partially_refunded"),
}
# The buyer can still pay.
PAYABLE = ("pending",)
# The order is done as far as the cart is concerned.
ORDERED = ("awaiting_payment", "paid", "partially_refunded", "refunded", "needs_review")
RECHECK_AFTER = timedelta(seconds=10)


class OrderMissing(ShopError):
    """No order (of this mode) answers to what was asked for."""

    status = 404
    code = "no_order"


def sources(target: str) -> tuple[str, ...]:
    """Return the states from which an order may become `target`."""
    return tuple(state for state, targets in TRANSITIONS.items() if target in targets)


def move(order: Order, target: str, only_from: Iterable[str] | None = None) -> bool:
    """Change the state if the table allows it; inside write(). Return whether this call did it.

    One conditional UPDATE: of many calls at the same time one wins, and it alone goes on to
    ledger, stock and mail.
    """
    allowed = [s for s in sources(target) if only_from is None or s in only_from]
    change = update(Order).where(Order.id == order.id, Order.state.in_(allowed))
    values: dict[str, Any] = {"state": target}
    if target not in PAYABLE:
        values["open_key"] = None
    won = changed_rows(change.values(**values)) == 1
    db.session.refresh(order)
    return won


def note(order: Order, kind: str, detail: str = "") -> None:
    """Write a line of the order's story, inside write()."""
    db.session.add(TimelineEntry(order_id=order.id, kind=kind, detail=detail))


def get_order(token: str) -> Order:
    """Return the order with this token; raise OrderMissing."""
    order = db.session.scalar(select(Order).where(Order.token == token)) if is_key(token) else None
    if order is None:
        raise OrderMissing(_no_order())
    return order


def waiting_order(visitor: str) -> Order | None:
    """Return the newest order of a visitor that can still be paid, None where there is none."""
    mine = select(Order).where(Order.visitor == visitor, Order.state.in_(PAYABLE))
    return db.session.scalar(
        mine.where(Order.mode == current_app.config["SHOP_MODE"]).order_by(Order.id.desc()).limit(1)
    )


def is_cart_ordered(cart_id: str) -> bool:
    """Tell whether a cart has become an order that is paid or whose payment is on its way."""
    ordered = select(Order.id).where(Order.cart_id == cart_id, Order.state.in_(ORDERED))
    return db.session.scalar(ordered.limit(1)) is not None


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


def find_attempt(session_id: str, reference: str | None = None) -> Attempt | None:
    """Return the attempt, of the current mode, that a session belongs to.

    `reference` finds the one whose session was made although the answer never reached us.
    """
    if not is_key(session_id):
        return None
    ours = select(Attempt).join(Order).where(Order.mode == current_app.config["SHOP_MODE"])
    found = db.session.scalar(ours.where(Attempt.session_id == session_id))
    if found is None and reference:
        lost = ours.where(Order.uid == reference, Attempt.session_id.is_(None))
        found = db.session.scalar(lost.order_by(Attempt.id.desc()).limit(1))
    return found


def receive(event: gateway.Event) -> None:
    """Act upon a verified event. An event is a hint: what it is about is asked for again.

    Raises StripeUnreachable or DatabaseBusy, so that Stripe sends it once more.
    """
    if not event.type.startswith("checkout.session.") or not is_key(event.id):
        return
    if db.session.get(StripeEvent, event.id) is not None:
        return
    attempt = find_attempt(event.object_id, event.reference)
    if attempt is not None:
        _settle(attempt, event.object_id, event)


def settle(session_id: str) -> Order:
    """Ask Stripe about a session of ours, do what follows from it once, and return its order.

    Raises OrderMissing for a session that is not ours (Stripe is not asked), StripeUnreachable.
    """
    attempt = find_attempt(session_id)
    if attempt is None:
        raise OrderMissing(_no_order())
    if attempt.outcome == "paid":
        return db.session.get_one(Order, attempt.order_id)
    return _settle(attempt, session_id, None)


def refresh(order: Order) -> None:
    """Ask Stripe about an unfinished order again, at most every ten seconds: webhooks get lost."""
    stale = update(Attempt).where(
        Attempt.open_order_id == order.id,
        Attempt.session_id.is_not(None),
        or_(Attempt.checked.is_(None), Attempt.checked < now() - RECHECK_AFTER),
    )
    attempt = db.session.scalar(select(Attempt).where(Attempt.open_order_id == order.id))
    if order.mode != current_app.config["SHOP_MODE"] or attempt is None or not attempt.session_id:
        return
    session_id = attempt.session_id
    if not write(lambda: changed_rows(stale.values(checked=now()))):
        return
    try:
        settle(session_id)
    except gateway.StripeUnreachable as error:
        current_app.logger.info("order %s stays as it is: %r", order.number, error.__cause__)


def cancel(order: Order, why: str) -> bool:
    """Close an order that nobody can pay any more, inside write(); return whether it was open."""
    if not move(order, "cancelled"):
        return False
    release_stock(order)
    note(order, "cancelled", why)
    return True


def close_attempt(attempt: Attempt, outcome: str) -> None:
    """Mark an attempt as over, inside write()."""
    attempt.open_order_id = None
    attempt.outcome = outcome


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
    """Put back what orders of another mode hold, inside write(): play money buys no real goods."""
    others = select(Order).where(Order.holds_stock, Order.mode != current_app.config["SHOP_MODE"])
    for order in db.session.scalars(others):
        release_stock(order)


def _settle(attempt: Attempt, session_id: str, event: gateway.Event | None) -> Order:
    attempt_id = attempt.id
    end_read()
    try:
        facts = gateway.retrieve_session(session_id)
    except gateway.StripeRefused as error:
        raise gateway.StripeUnreachable from error
    return write(lambda: _apply(attempt_id, facts, event))


def _apply(attempt_id: int, facts: gateway.CheckoutSession, event: gateway.Event | None) -> Order:
    """Write down what Stripe says. Everything here happens together or not at all."""
    attempt = db.session.get_one(Attempt, attempt_id)
    order = db.session.get_one(Order, attempt.order_id)
    if event is not None and not insert_once(
        StripeEvent, id=event.id, type=event.type, object_id=event.object_id, received=now()
    ):
        return order
    if attempt.session_id is None and facts.reference == order.uid:
        attempt.session_id, attempt.url = facts.id, facts.url
    if facts.is_paid:
        _take_payment(order, attempt, facts)
    elif facts.is_awaited and move(order, "awaiting_payment"):
        note(order, "awaiting_payment")
    elif facts.has_failed or facts.status == "expired":
        _give_up(order, attempt)
    return order


def _give_up(order: Order, attempt: Attempt) -> None:
    """Nobody can pay through this attempt any more; an older one says nothing about the order."""
    if attempt.open_order_id is not None:
        close_attempt(attempt, "expired")
        cancel(order, "expired")


def _take_payment(order: Order, attempt: Attempt, facts: gateway.CheckoutSession) -> None:
    is_new = insert_once(
        LedgerEntry,
        order_id=order.id,
        kind="payment",
        stripe_id=facts.payment_intent or facts.id,
        amount=facts.amount or 0,
        currency=facts.currency or "",
        created=now(),
    )
    close_attempt(attempt, "paid")
    order.email = order.email or facts.email
    wrong = _misfits(order, facts)
    if not wrong and move(order, "paid", only_from=("pending", "awaiting_payment")):
        _finish(order)
    elif not wrong and order.state == "cancelled":
        _take_late_payment(order)
    elif wrong and move(order, "needs_review"):
        note(order, "needs_review", ", ".join(wrong))
        mail.staff_needs_review(order.id, _letter(order))
    elif is_new:
        note(order, "paid_twice", facts.payment_intent or facts.id)
        mail.staff_paid_twice(order.id, _letter(order))


def _take_late_payment(order: Order) -> None:
    """Money for an order that was given up: the goods are sent if they are still there."""
    if hold_stock(order) is not None:
        if move(order, "needs_review"):
            note(order, "needs_review", "late")
            mail.staff_needs_review(order.id, _letter(order))
    elif move(order, "paid", only_from=("cancelled",)):
        _finish(order)
    else:
        release_stock(order)


def _finish(order: Order) -> None:
    """What a paid order sets off, for the one call that made it paid."""
    order.paid = now()
    note(order, "paid")
    if order.email:
        mail.customer_paid(order.id, order.email, order.language, _letter(order))
    mail.staff_new_order(order.id, _letter(order))


def _letter(order: Order) -> dict[str, Any]:
    """Return what a mail says about an order, with the link to it."""
    return summary(order) | {"link": external_url("payments.order", token=order.token)}


def _misfits(order: Order, facts: gateway.CheckoutSession) -> list[str]:
    """Return which facts of a payment are not those of the order."""
    compared = {
        "order": facts.reference == order.uid,
        "amount": facts.amount == order.amount,
        "currency": facts.currency == order.currency,
        "livemode": facts.livemode == (order.mode == "live"),
    }
    return [name for name, fits in compared.items() if not fits]


def _no_order() -> str:
    return str(
        _("We cannot find this order. Nothing was charged by this page; please check your link.")
    )
