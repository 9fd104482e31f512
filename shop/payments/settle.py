"""How money becomes known: success page, webhook and order page all come here, and only here.

https://docs.stripe.com/checkout/fulfillment
"""

import json
from dataclasses import asdict
from datetime import timedelta

from flask import current_app
from flask_babel import lazy_gettext as _l
from sqlalchemy import ColumnElement, or_, update

from shop import mail
from shop.db import changed_rows, db, end_read, now, write
from shop.orders import ledger, queries, shipping, states, stock
from shop.orders.models import Order
from shop.payments import attempts, gateway, models
from shop.payments.gateway.objects import Event, Facts, Slip
from shop.payments.models import Attempt

RECHECK_AFTER = timedelta(seconds=10)
# Two clocks differ by less; a call takes less than that to arrive or not.
CLOCK_MARGIN = timedelta(minutes=5)
IN_FLIGHT = timedelta(minutes=2)
UNSETTLED = ("pending", "awaiting_payment", "cancelled")


class BeingConfirmed(gateway.StripeUnreachable):
    """The buyer is back from Stripe, which does not say whether they have paid."""

    code = "being_confirmed"
    title = _l("Your payment is being confirmed")
    message = _l(
        "Your payment is being confirmed. Nothing is lost and nothing is charged twice: please "
        "check again in a minute, or wait for our mail."
    )


def settle(session_id: str) -> Order:
    """Ask Stripe about a session of ours, do what follows from it once, and return its order.

    Raises OrderMissing for a session that is not ours (Stripe is not asked), BeingConfirmed.
    """
    attempt = attempts.find("checkout", session_id)
    if attempt is None:
        raise queries.OrderMissing
    order = db.session.get_one(Order, attempt.order_id)
    if attempt.outcome == "paid":
        return order
    token = order.token
    try:
        return settle_attempt(attempt, session_id)
    except gateway.StripeUnreachable as error:
        raise BeingConfirmed(order=token) from error


def settle_attempt(attempt: Attempt, stripe_id: str, event: Event | None = None) -> Order:
    """Ask Stripe about the session or charge of an attempt, and do what follows from it once.

    Raises StripeUnreachable.
    """
    attempt_id, kind = attempt.id, attempt.kind
    end_read()
    try:
        facts = ask(kind, stripe_id)
    except gateway.StripeRefused as error:
        raise gateway.StripeUnreachable from error
    order = write(lambda: apply(attempt_id, facts, event))
    if order.state in states.ORDERED:
        _end_other_session(order)
    return order


def refresh(order: Order) -> bool:
    """Ask Stripe about an unfinished order again, at most every ten seconds: webhooks get lost.

    Returns False where Stripe did not say what became of its payment.
    """
    attempt = attempts.open_of(order)
    if order.mode != current_app.config["SHOP_MODE"] or attempt is None:
        return True
    attempt_id = attempt.id
    unasked = or_(Attempt.checked_at.is_(None), Attempt.checked_at < now() - RECHECK_AFTER)
    unanswered: set[int] = current_app.extensions.setdefault("unanswered", set())
    if touch(attempt_id, unasked):
        unanswered.discard(attempt_id)
        try:
            look_at(attempt_id)
        except (gateway.StripeUnreachable, gateway.StripeRefused) as error:
            current_app.logger.info("attempt %s stays as it is: %r", attempt_id, error)
            unanswered.add(attempt_id)
    return attempt_id not in unanswered


def touch(attempt_id: int, *only_if: ColumnElement[bool]) -> bool:
    """Write down that Stripe is asked about an attempt now; return whether it was to be asked."""
    mine = update(Attempt).where(Attempt.id == attempt_id, *only_if)
    return write(lambda: changed_rows(mine.values(checked_at=now()))) == 1


def look_at(attempt_id: int) -> None:
    """Ask Stripe what became of an open attempt and do what follows; asks for no new money.

    Raises StripeUnreachable and StripeRefused.
    """
    attempt = attempts.get(attempt_id)
    kind, stripe_id, key, begun = attempt.kind, attempt.stripe_id, attempt.key, attempt.created_at
    end_read()
    if stripe_id is not None:
        facts = ask(kind, stripe_id)
        write(lambda: apply(attempt_id, facts))
    elif kind == "charge":
        # Looked for in Stripe's list: asking for it again could make it.
        charges = gateway.list_charges(begun - CLOCK_MARGIN)
        found = next((charge for charge in charges if charge.attempt == key), None)
        if found is not None:
            write(lambda: apply(attempt_id, found))
        elif charges.unreadable:
            raise gateway.StripeUnreachable  # one of these may be the charge
        elif begun < now() - IN_FLIGHT:
            write(lambda: attempts.close(attempt_id, "failed"))


def apply(attempt_id: int, facts: Facts, event: Event | None = None) -> Order:
    """Write down what Stripe says, inside write(): all that follows from it, or nothing."""
    order = queries.lock(attempts.get(attempt_id).order_id)
    attempt = db.session.get_one(Attempt, attempt_id, populate_existing=True)
    if event is not None and not models.take_event(event):
        return order
    if attempt.stripe_id is None and facts.reference == order.client_reference:
        attempt.stripe_id, attempt.url = facts.id, facts.url
    if facts.is_paid:
        _take_payment(order, attempt, facts)
    elif facts.is_awaited:
        _await_payment(order, attempt, facts)
    elif facts.is_over:
        _give_up(order, attempt)
    return order


def expected(order: Order, facts: Facts) -> str:
    """Return the state that these facts would bring the order to."""
    if facts.is_paid and order.state in ("pending", "awaiting_payment", "cancelled"):
        return "needs_review" if _misfits(order, facts) else "paid"
    if facts.is_awaited and order.state == "pending":
        return "awaiting_payment"
    if facts.is_over and order.state in ("pending", "awaiting_payment"):
        return "cancelled"
    return order.state


def ask(kind: str, stripe_id: str) -> Facts:
    """Return what Stripe says of a session or charge; raises StripeUnreachable, StripeRefused."""
    if kind == "charge":
        return gateway.retrieve_charge(stripe_id)
    return gateway.retrieve_session(stripe_id)


def finish(order: Order, missing: str | None = None) -> None:
    """Thank the customer and tell the owner, inside write(), once, by the call that made it paid.

    `missing`: the name of goods that are gone; then the customer is not promised them.
    """
    order.paid_at = now()
    states.log_event(order, "paid")
    mail.customer_paid(order, goods_missing=missing is not None)
    mail.staff_new_order(order, missing)


def _end_other_session(order: Order) -> None:
    """Make the session of another attempt unpayable once the order is paid; it may fail."""
    other = attempts.open_of(order)
    if order.state == "awaiting_payment" or other is None or other.stripe_id is None:
        end_read()
        return
    attempt_id, session_id, token = other.id, other.stripe_id, order.token
    end_read()
    try:
        gateway.expire_session(session_id)
    except (gateway.StripeUnreachable, gateway.StripeRefused) as error:
        current_app.logger.warning("order %s can still be paid again: %r", token, error)
        return
    write(lambda: attempts.close(attempt_id, "expired"))


def _give_up(order: Order, attempt: Attempt) -> None:
    """Close an attempt through which no money will come, and its order unless it was withdrawn."""
    withdrawn = attempt.outcome == "withdrawn" and order.state == "pending"
    closed = attempts.close(attempt.id, "expired")
    if closed and attempt.kind == "checkout" and not withdrawn:
        states.cancel(order, "expired")


def _take_payment(order: Order, attempt: Attempt, facts: Facts) -> None:
    """Write money down that Stripe has; of all calls that see it, one makes the order paid."""
    is_new = ledger.record_payment(order, facts.money_id, facts.amount, facts.currency or "")
    attempts.mark_paid(attempt.id)
    _keep_contact(order, facts)
    wrong = _misfits(order, facts)
    if not wrong and states.transition(order, "paid", only_from=("pending", "awaiting_payment")):
        finish(order)
    elif not wrong and order.state == "cancelled":
        # Late money for an order that was given up: the goods are sent if they are still there.
        if stock.reserve_stock(order) is not None:
            if states.transition(order, "needs_review"):
                _ask_owner(order, "late")
        elif states.transition(order, "paid", only_from=("cancelled",)):
            finish(order)
        else:
            stock.release_stock(order)
    elif wrong and states.transition(order, "needs_review", only_from=UNSETTLED):
        _ask_owner(order, ", ".join(wrong))
    elif is_new:
        states.log_event(order, "paid_twice", facts.money_id)
        mail.staff_paid_twice(order, facts.money_id)
        ledger.update_state(order)


def _ask_owner(order: Order, why: str) -> None:
    """Leave it to the owner what becomes of money that does not fit."""
    states.log_event(order, "needs_review", why)
    mail.staff_needs_review(order)
    mail.customer_received(order)


def _await_payment(order: Order, attempt: Attempt, facts: Facts) -> None:
    """Wait for money that is on its way; the goods stay reserved until Stripe decides."""
    if not states.transition(order, "awaiting_payment"):
        return
    states.log_event(order, "awaiting_payment", facts.awaited_from)
    _keep_contact(order, facts)
    slip = facts.slip or Slip(None, None)
    # The page of the session is closed.
    attempt.url = slip.url
    attempt.slip_codes = json.dumps(slip.codes)
    attempt.expires_at = slip.expires_at or attempt.expires_at
    mail.customer_awaiting(order, facts.awaited_from, slip.url, slip.expires_at, slip.codes)


def _keep_contact(order: Order, facts: Facts) -> None:
    """Write down, inside write(), what Stripe knows of the customer; nobody need come back."""
    order.email = order.email or facts.email
    if facts.shipping:
        shipping.keep_address(order, asdict(facts.shipping))


def _misfits(order: Order, facts: Facts) -> list[str]:
    """Return which facts of a payment are not those of the order."""
    compared = {
        "order": facts.reference == order.client_reference,
        "amount": facts.amount == order.amount,
        "currency": facts.currency == order.currency,
        "livemode": facts.livemode == (order.mode == "live"),
        "payment": not ledger.pays_another(order, facts.money_id),
    }
    return [name for name, fits in compared.items() if not fits]
