"""Putting right what events should have told: what is open here is asked for at Stripe, one by one.

Then both books are laid side by side (`books`).
"""

from collections.abc import Callable, Sequence
from functools import partial

from flask import current_app
from sqlalchemy import and_, select

from shop.errors import ShopError
from shop.extensions import db, end_read, now
from shop.payments import books, gateway, giving_back, service, settle, sweep, underway
from shop.payments.models import Attempt, LedgerEntry, Order
from shop.payments.report import Report


def reconcile(
    dry_run: bool,
    progress: Callable[[int, int], None] = lambda done, total: None,
    most: int | None = None,
) -> Report:
    """Ask Stripe about the open attempts and refunds of this mode, then about all that is recent.

    Unless `dry_run`, what follows is done. With `most`, only so many attempts, those not asked
    about for longest. What Stripe does not answer is counted and left for the next time.
    """
    report = Report()
    ids = _open_attempts(most)
    for done, attempt_id in enumerate(ids):
        progress(done, len(ids))
        if not report.is_cut_short:
            _ask(report, partial(_look_at, attempt_id, dry_run, report))
    progress(len(ids), len(ids))
    if not dry_run:
        sweep.sweep()
        for order_id in _orders_with_asked_refunds():
            _ask(report, partial(_resume_refunds, order_id, report))
    for compare in books.COMPARISONS:
        if not report.is_cut_short:
            _ask(report, partial(compare, report, dry_run))
    return report


def _ask(report: Report, question: Callable[[], None]) -> None:
    try:
        question()
        report.heard()
    except gateway.StripeUnreachable as error:
        report.missed(is_silent=error.is_silent)
        current_app.logger.warning("left for the next time: %r", error.__cause__ or error)


def _open_attempts(most: int | None) -> Sequence[int]:
    mine = select(Attempt.id).join(Order, Attempt.order_id == Order.id)
    lost = and_(
        Attempt.outcome == "lost", Attempt.stripe_id.is_(None), Attempt.expires > now()
    )  # its session ends by itself
    still_open = mine.where(
        Attempt.open_order_id.is_not(None) | lost, Order.mode == current_app.config["SHOP_MODE"]
    )
    longest_ago = (Attempt.checked.is_not(None), Attempt.checked, Attempt.id)
    found = db.session.scalars(still_open.order_by(*longest_ago).limit(most)).all()
    end_read()
    return found


def _orders_with_asked_refunds() -> Sequence[int]:
    mine = select(LedgerEntry.order_id).join(Order, LedgerEntry.order_id == Order.id).distinct()
    asked = mine.where(LedgerEntry.kind == "refund", LedgerEntry.state == "asked")
    found = db.session.scalars(asked.where(Order.mode == current_app.config["SHOP_MODE"])).all()
    end_read()
    return found


def _resume_refunds(order_id: int, report: Report) -> None:
    try:
        giving_back.resume(order_id)
    except ShopError as error:
        if isinstance(error, gateway.StripeUnreachable):
            raise
        current_app.logger.warning("order %s: %s", order_id, error)
    else:
        report.settled += 1


def _look_at(attempt_id: int, dry_run: bool, report: Report) -> None:
    attempt = db.session.get_one(Attempt, attempt_id)
    order = db.session.get_one(Order, attempt.order_id)
    token, ours, stripe_id, kind = order.token, order.state, attempt.stripe_id, attempt.kind
    end_read()
    report.checked += 1
    try:
        if dry_run and stripe_id is None:
            return
        if dry_run:
            facts = settle.ask(kind, str(stripe_id))
            theirs = settle.expected(service.get_order(token), facts)
        else:
            _heal(attempt_id, is_lost=kind == "checkout" and stripe_id is None)
            theirs = service.get_order(token).state
    except gateway.StripeRefused as error:
        report.add(service.get_order(token), "unknown_at_stripe", ours, error.code)
        return
    if theirs != ours:
        report.settled += 0 if dry_run else 1
        report.add(service.get_order(token), "state", ours, theirs)


def _heal(attempt_id: int, *, is_lost: bool) -> None:
    settle.touch(attempt_id)
    if is_lost:
        underway.recover_session(attempt_id)
    else:
        settle.look_at(attempt_id)
