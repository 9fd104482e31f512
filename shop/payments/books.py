"""Two books side by side: what Stripe has of the last weeks, and what this shop has of it.

What Stripe alone knows (a payment after the order was given up, a refund or a dispute whose event
was lost) is written down; what this shop alone knows is only told, for no one but a person can
say what it means.
"""

from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import partial
from typing import Any

from flask import current_app
from sqlalchemy import select

from shop.extensions import db, end_read, now, write
from shop.payments import attempts, disputes, gateway, ledger, refunds, service, settle
from shop.payments.facts import Dispute, Facts, Refund
from shop.payments.models import REFUND_COUNTS, Attempt, LedgerEntry, Order
from shop.payments.models import Dispute as OurDispute
from shop.payments.report import Report

# A session is over after a day; a refund can come back after 45 days, a dispute is won or lost
# after 75 at most (https://docs.stripe.com/disputes/how-disputes-work).
PAYMENTS_OF = timedelta(days=7)
REFUNDS_OF = timedelta(days=60)
DISPUTES_OF = timedelta(days=90)


def compare_sessions(report: Report, dry_run: bool) -> None:
    """Compare the completed sessions; raises StripeUnreachable."""
    _compare_payments("checkout", gateway.list_sessions, report, dry_run)


def compare_charges(report: Report, dry_run: bool) -> None:
    """Compare the charges of card tokens; raises StripeUnreachable."""
    _compare_payments("charge", gateway.list_charges, report, dry_run)


def compare_refunds(report: Report, dry_run: bool) -> None:
    """Compare the refunds; raises StripeUnreachable."""
    since = now() - REFUNDS_OF
    found = _listed(lambda: gateway.list_refunds(gateway.made_since(since)))
    for refund in found or ():
        _compare_refund(refund, report, dry_run)
    for entry, order in _our_refunds(since) if found is not None else ():
        if entry.stripe_id not in {refund.id for refund in found or ()}:
            _doubt_refund(str(entry.stripe_id), entry.state, order, report)


def compare_disputes(report: Report, dry_run: bool) -> None:
    """Compare the disputes; raises StripeUnreachable."""
    for dispute in (
        _listed(lambda: gateway.list_disputes(gateway.made_since(now() - DISPUTES_OF))) or ()
    ):
        _compare_dispute(dispute, report, dry_run)


COMPARISONS = (compare_sessions, compare_charges, compare_refunds, compare_disputes)


def _listed(ask: Callable[[], list[Any]]) -> list[Any] | None:
    """Return a list of Stripe's, None from a server that keeps none."""
    end_read()
    try:
        return ask()
    except gateway.StripeRefused as error:
        current_app.logger.info("not compared: %s", error)
        return None


def _compare_payments(
    kind: str, ask: Callable[[Any], list[Any]], report: Report, dry_run: bool
) -> None:
    since = now() - PAYMENTS_OF
    found = _listed(lambda: ask(since))
    if found is None:
        return
    paid = [facts for facts in found if facts.is_paid]
    for facts in paid:
        _compare_payment(kind, facts, report, dry_run)
    for stripe_id, order in _our_payments(kind, since):
        if stripe_id not in {facts.id for facts in paid}:
            _doubt_payment(kind, stripe_id, order, report)


def _compare_payment(kind: str, facts: Facts, report: Report, dry_run: bool) -> None:
    attempt = attempts.find(kind, facts.id, facts.attempt or "", facts.reference or "")
    if attempt is None or attempt.outcome == "paid":
        return
    if dry_run and attempt.open_order_id is not None and attempt.stripe_id:
        return  # asked about already, and told
    order = db.session.get_one(Order, attempt.order_id)
    ours, theirs = order.state, settle.expected(order, facts)
    if not dry_run:
        theirs = settle.settle_attempt(attempt, facts.id).state
        report.settled += 1
    report.add(order, "state" if theirs != ours else "paid_twice", ours, theirs)


def _our_payments(kind: str, since: Any) -> Iterable[tuple[str, Order]]:
    mine = select(Attempt.stripe_id, Order).join(Order, Attempt.order_id == Order.id)
    mine = mine.where(Attempt.kind == kind, Attempt.outcome == "paid", Attempt.created >= since)
    mine = mine.where(Attempt.stripe_id.is_not(None))  # unset where what came was another order's
    rows = db.session.execute(mine.where(Order.mode == current_app.config["SHOP_MODE"])).all()
    return [(str(stripe_id), order) for stripe_id, order in rows]


def _doubt_payment(kind: str, stripe_id: str, order: Order, report: Report) -> None:
    """Ask about a payment that Stripe's list does not have; tell it if Stripe does not have it."""
    ours = order.state
    end_read()
    try:
        facts = settle.ask(kind, stripe_id)
    except gateway.StripeRefused as error:
        report.add(order, "unknown_at_stripe", ours, error.code)
        return
    if not facts.is_paid:
        report.add(order, "state", ours, "pending")


def _compare_refund(refund: Refund, report: Report, dry_run: bool) -> None:
    payment = ledger.payment_of(refund.payment)
    if payment is None:
        return
    mine = select(LedgerEntry.state).where(LedgerEntry.stripe_id == refund.id)
    ours = db.session.scalar(mine) or "unknown"
    if ours not in ("unknown", *refunds.BEFORE[refund.state]):
        return
    report.add(db.session.get_one(Order, payment.order_id), "refund", ours, refund.state)
    if not dry_run:
        write(partial(refunds.apply, payment.order_id, payment.id, [refund]))
        report.settled += 1


def _our_refunds(since: Any) -> Iterable[tuple[LedgerEntry, Order]]:
    mine = select(LedgerEntry, Order).join(Order, LedgerEntry.order_id == Order.id)
    mine = mine.where(LedgerEntry.kind == "refund", LedgerEntry.state.in_(REFUND_COUNTS))
    mine = mine.where(LedgerEntry.created > since, LedgerEntry.stripe_id.is_not(None))
    rows = db.session.execute(mine.where(Order.mode == current_app.config["SHOP_MODE"])).all()
    return [(entry, order) for entry, order in rows]


def _doubt_refund(refund_id: str, ours: str, order: Order, report: Report) -> None:
    end_read()
    try:
        gateway.retrieve_refund(refund_id)
    except gateway.StripeRefused as error:
        report.add(order, "refund", ours, error.code)


def _compare_dispute(dispute: Dispute, report: Report, dry_run: bool) -> None:
    payment = ledger.payment_of(dispute.payment)
    if payment is None:
        return
    mine = select(OurDispute.state, OurDispute.closed).where(OurDispute.stripe_id == dispute.id)
    ours, closed = db.session.execute(mine).one_or_none() or ("unknown", None)
    if ours == dispute.state or closed is not None:
        return
    report.add(service.find_by_number(payment.order_id), "dispute", ours, dispute.state)
    if not dry_run:
        write(partial(disputes.apply, payment.order_id, dispute))
        report.settled += 1
