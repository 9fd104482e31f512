"""Putting right what events should have told, then comparing this shop's books with Stripe's.

Each step fails alone: what Stripe does not answer is named, and left for the next time.
"""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from math import inf
from time import monotonic

from flask import current_app
from sqlalchemy import select

from shop.db import db, end_read, now
from shop.errors import ShopError
from shop.orders import ledger, place, queries, states
from shop.orders.models import LedgerEntry, Order
from shop.payments import attempts, disputes, gateway, refunds, settle, webhook
from shop.payments.gateway.objects import Charge, Event
from shop.payments.models import Attempt, Dispute, KeyValue, StripeEvent, recall, remember
from shop.payments.report import Mismatch, Report, Run

# Stripe keeps events for 30 days; https://docs.stripe.com/api/events
EVENTS_KEPT = timedelta(days=30)
# Events are asked for in spans, so that a long pause is caught up with piece by piece.
SPAN = timedelta(days=7)
# An event may be listed after one that is younger, and Stripe's clock be ahead of ours.
OVERLAP = timedelta(days=1)
# A dispute is won or lost after 75 days (https://docs.stripe.com/disputes/how-disputes-work).
COMPARED = timedelta(days=90)
# A payment may be written down here up to 30 days after it was made.
EXPECTED = COMPARED - EVENTS_KEPT
COMPARED_EVERY = timedelta(hours=20)


def reconcile(
    dry_run: bool,
    progress: Callable[[int, int], None] = lambda done, total: None,
    seconds: float = inf,
    *,
    compares: bool = False,
) -> Report:
    """Ask Stripe about what is open, take the events that never arrived, and compare the books.

    With `dry_run` nothing is written. With `seconds` it stops when they are over, goes on the next
    time where it stopped, and compares once a day, or at once with
    `compares`. Raises BuyingOff if paying is off.
    """
    place.refuse_where_off()
    states.act_as(None, "reconcile")
    run = Run(dry_run, progress, monotonic() + seconds)
    steps: list[tuple[str, Callable[[Run], None]]] = [("open payments", _ask_open_attempts)]
    if not dry_run:
        steps += [("unanswered refunds", _resume_refunds), ("missed events", _take_missed_events)]
    if compares or seconds == inf or recall("compared") < now() - COMPARED_EVERY:
        steps.append(("the books", _compare))
    for name, step in steps:
        end_read()
        if run.is_over():
            break
        try:
            step(run)
        except (ShopError, gateway.StripeRefused) as error:
            run.report.fail(name, error)
    end_read()
    if run.report.is_compared and not dry_run:
        run.report.keep_as_last()
        remember("compared", now())
    return run.report


def _ask_open_attempts(run: Run) -> None:
    """Ask about every attempt that has an id or is a charge, those not asked about for longest."""
    mine = select(Attempt.id, Order.id).join(Order, Attempt.order_id == Order.id)
    known = Attempt.stripe_id.is_not(None) | (Attempt.kind == "charge")
    still_open = mine.where(Attempt.open_order_id.is_not(None), known, queries.in_mode())
    longest_ago = (Attempt.checked_at.is_not(None), Attempt.checked_at, Attempt.id)
    rows = [(row[0], row[1]) for row in db.session.execute(still_open.order_by(*longest_ago))]
    end_read()

    def ask(row: tuple[int, int]) -> None:
        run.progress(run.report.checked, len(rows))
        run.report.checked += 1
        attempt_id, order_id = row
        attempt, order = attempts.get(attempt_id), db.session.get_one(Order, order_id)
        token, ours, stripe_id, kind = order.token, order.state, attempt.stripe_id, attempt.kind
        end_read()

        def look() -> int:
            settle.touch(attempt_id)
            settle.look_at(attempt_id)
            return order_id

        try:
            if not run.dry_run:
                run.count_change(look)
            elif stripe_id is not None:
                facts = settle.ask(kind, stripe_id)
                theirs = settle.expected(queries.get_order(token), facts)
                if theirs != ours:
                    run.report.mismatches.append(Mismatch(token, "state", ours, theirs))
        except gateway.StripeRefused as error:
            if stripe_id is None or not error.is_about_request:
                raise
            mismatch = Mismatch(token, "unknown_at_stripe", ours, error.code)
            run.report.mismatches.append(mismatch)

    run.each(rows, ask, lambda row: f"order {row[1]}")
    run.progress(len(rows), len(rows))


def _resume_refunds(run: Run) -> None:
    """Carry out the refunds that Stripe has not answered, under their own keys."""
    mine = select(LedgerEntry.order_id).join(Order, LedgerEntry.order_id == Order.id).distinct()
    asked = mine.where(LedgerEntry.kind == "refund", LedgerEntry.state == "asked")
    order_ids = db.session.scalars(asked.where(queries.in_mode())).all()
    end_read()

    def resume(order_id: int) -> int:
        try:
            refunds.resume(order_id)
        except refunds.NotRefundable as error:  # that is an answer, too
            current_app.logger.warning("order %s: %s", order_id, error)
        return order_id

    run.each(
        order_ids,
        lambda order_id: run.count_change(partial(resume, order_id)),
        lambda order_id: f"the refund of order {order_id}",
    )


def _take_missed_events(run: Run) -> None:
    """Give the events since the cursor to the webhook, oldest first.

    The cursor stays before an event that fails; those after that one are taken all the same.
    """
    until = now()
    since = max(until - EVENTS_KEPT, min(recall("events"), until) - OVERLAP)

    def take(event: Event) -> None:
        run.count_change(partial(webhook.receive, event))

    are_taken = True
    while since < until:
        if run.is_over():
            return
        before = min(since + SPAN, until + OVERLAP)
        listed = gateway.list_events(since, before, webhook.TYPES)
        run.report.skipped += listed.unreadable
        recent = select(StripeEvent.id).where(StripeEvent.received_at > since - OVERLAP)
        known = set(db.session.scalars(recent))
        end_read()
        missed = [event for event in listed if event.id not in known]
        are_taken = run.each(missed, take, lambda _event: "missed events") and are_taken
        if are_taken:
            remember("events", min(before, until))
        since = before


def _compare(run: Run) -> None:
    """Compare Stripe's charges of 90 days with the ledger's payments, both ways."""
    kept = db.session.get(KeyValue, "shop")
    shop_id = kept.value if kept else None
    end_read()
    since = now() - COMPARED
    listed: set[int] = set()

    def compare(charge: Charge) -> None:
        payment_id = _learn_payment(run, charge, shop_id)
        if payment_id is not None:
            listed.add(payment_id)
            _compare_charge(run, charge, payment_id)

    mine = select(LedgerEntry.id, Order.token, Order.state).join(
        Order, LedgerEntry.order_id == Order.id
    )
    payments = mine.where(LedgerEntry.kind == "payment", queries.in_mode())
    # Read before Stripe's list, which so has all of them.
    expected = db.session.execute(payments.where(LedgerEntry.created_at > now() - EXPECTED)).all()
    end_read()
    charges = gateway.list_charges(since)
    run.report.skipped += charges.unreadable
    paid = [charge for charge in charges if charge.is_paid]
    run.each(paid, compare, lambda charge: f"payment {charge.id}")
    if run.is_over():
        return
    for payment_id, token, state in expected:
        # What cannot be read may be that payment.
        if payment_id not in listed and not charges.unreadable:
            mismatch = Mismatch(token, "unknown_at_stripe", state, "no such payment")
            run.report.mismatches.append(mismatch)
    run.report.is_compared = True


def _learn_payment(run: Run, charge: Charge, shop_id: str | None) -> int | None:
    """Return the ledger's payment of a charge, written down here if Stripe alone knew it.

    None for somebody else's charge, which names neither an order of ours nor this shop.
    """
    ids = (charge.payment_intent or "", charge.id)
    found = ledger.payment_of(ids)
    if found is not None:
        return found.id
    order = queries.find_by_reference(charge.reference or "")
    if order is None:
        if shop_id is not None and charge.shop == shop_id:
            # Paid before a backup that was restored since.
            number = f"order {charge.number or '?'}"
            run.report.mismatches.append(Mismatch("", "missing_here", number, charge.id))
        return None
    order_id, token, ours = order.id, order.token, order.state
    end_read()

    def learn() -> int:
        webhook.learn_payments(order_id)
        return order_id

    if not run.dry_run:
        run.count_change(learn)
        found = ledger.payment_of(ids)
    if found is not None:
        return found.id
    is_open = ours in settle.UNSETTLED
    theirs = "paid" if is_open else charge.id
    mismatch = Mismatch(token, "state" if is_open else "missing_here", ours, theirs)
    if mismatch not in run.report.mismatches:  # a dry run has asked about open payments before
        run.report.mismatches.append(mismatch)
    return None


def _compare_charge(run: Run, charge: Charge, payment_id: int) -> None:
    """Compare amount, refunds and dispute of a charge; what differs is listed at Stripe first."""
    payment = db.session.get_one(LedgerEntry, payment_id)
    order_id, token = payment.order_id, db.session.get_one(Order, payment.order_id).token
    mine = select(Dispute.id).where(Dispute.order_id == order_id)
    open_dispute = db.session.scalar(mine.where(Dispute.closed_at.is_(None)).limit(1))
    end_read()

    def sync() -> int:
        run.report.skipped += refunds.sync(payment_id)
        run.report.skipped += disputes.sync(payment_id)
        return order_id

    differences = _differences(charge, payment_id)
    if not run.dry_run and (differences or open_dispute is not None):
        run.count_change(sync)
        # It may have changed since it was listed.
        differences = _differences(gateway.retrieve_charge(charge.id), payment_id)
    run.report.agreed += not differences
    run.report.mismatches += [Mismatch(token, *difference) for difference in differences]


def _differences(charge: Charge, payment_id: int) -> list[tuple[str, str, str]]:
    """Return what is not the same of a payment: (kind, here, at Stripe)."""
    payment = db.session.get_one(LedgerEntry, payment_id)
    entries = ledger.entries(payment.order_id)
    mine = [entry for entry in entries if entry.payment_id == payment_id and entry.is_refund]
    refunded = sum(entry.amount for entry in mine)
    disputed = select(Dispute.id).where(Dispute.order_id == payment.order_id).limit(1)
    found = []
    if payment.currency == charge.currency and payment.amount != charge.amount:
        found.append(("amount", str(payment.amount), str(charge.amount)))
    if refunded != charge.refunded_amount:
        found.append(("refund", str(refunded), str(charge.refunded_amount)))
    if charge.is_disputed and db.session.scalar(disputed) is None:
        found.append(("dispute", "none", "disputed"))
    end_read()
    return found
