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
from shop.orders import place, queries
from shop.orders.models import LedgerEntry, Order
from shop.payments import attempts, books, gateway, refunds, settle, webhook
from shop.payments.books import Report, Run
from shop.payments.gateway.objects import Event
from shop.payments.models import Attempt, StripeEvent, recall, remember

# Stripe keeps events for 30 days; https://docs.stripe.com/api/events
EVENTS_KEPT = timedelta(days=30)
# An event may be listed after one that is younger.
OVERLAP = timedelta(days=1)


def reconcile(
    dry_run: bool,
    progress: Callable[[int, int], None] = lambda done, total: None,
    seconds: float = inf,
) -> Report:
    """Ask Stripe about what is open, take the events that never arrived, and compare the books.

    With `dry_run` nothing is written. With `seconds` it stops when they are over, goes on the next
    time where it stopped, and compares once a day. Raises BuyingOff if paying is off.
    """
    place.refuse_where_off()
    end_read()
    run = Run(dry_run, progress, seconds, begun=monotonic())
    steps = [("open payments", _ask_open_attempts)]
    if not dry_run:
        steps += [("unanswered refunds", _resume_refunds), ("missed events", _take_missed_events)]
    if seconds == inf or books.is_compare_due():
        steps.append(("the books", books.compare))
    for name, step in steps:
        if run.is_over():
            break
        try:
            step(run)
        except (ShopError, gateway.StripeRefused) as error:
            run.report.fail(name, error)
        end_read()
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
        _ask_attempt(run, row[0])

    # Events tell more with fewer questions, so half of a short time is left to them.
    if run.each(rows, ask, lambda row: f"order {row[1]}", share=0.5):
        run.progress(len(rows), len(rows))


def _ask_attempt(run: Run, attempt_id: int) -> None:
    attempt = attempts.get(attempt_id)
    order = db.session.get_one(Order, attempt.order_id)
    order_id, token, ours = order.id, order.token, order.state
    stripe_id, kind = attempt.stripe_id, attempt.kind
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
                run.report.add(token, "state", ours, theirs)
    except gateway.StripeRefused as error:
        if stripe_id is None or not error.is_about_request:
            raise
        run.report.add(token, "unknown_at_stripe", ours, error.code)


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
    for begin, before in books.cut_into_spans(since, until):
        if run.is_over():
            return
        listed = gateway.list_events(begin, before, webhook.TYPES)
        recent = select(StripeEvent.id).where(StripeEvent.received_at > begin - books.MARGIN)
        known = set(db.session.scalars(recent))
        end_read()
        missed = [event for event in listed if event.id not in known]
        are_taken = run.each(missed, take, lambda _event: "missed events") and are_taken
        if are_taken:
            remember("events", min(before, until))
