"""Putting right what events should have told: what is open here is asked for at Stripe, one by one.

Then both books are laid side by side: what Stripe alone knows (a payment after the order was given
up, a refund or a dispute whose event was lost) is written down; what this shop alone knows is only
told, for no one but a person can say what it means.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any

from flask import current_app
from sqlalchemy import and_, select

from shop.db import db, end_read, now, write
from shop.errors import ShopError
from shop.orders import ledger, queries
from shop.orders.models import REFUND_COUNTS, LedgerEntry, Order
from shop.payments import attempts, disputes, gateway, refunds, release, settle
from shop.payments.gateway.objects import Dispute, Facts, Refund
from shop.payments.models import Attempt
from shop.payments.models import Dispute as OurDispute

# Stripe is down, rather than unwilling to answer about one payment: the rest can wait as well.
MOST_SILENCES = 3


@dataclass(frozen=True)
class Mismatch:
    """An order (its token) of which this shop and Stripe say different things.

    `kind`: `state` (of the order), `paid_twice`, `refund`, `dispute`, or `unknown_at_stripe`.
    """

    order: str
    kind: str
    ours: str
    stripe: str


@dataclass
class Report:
    """How many payments were asked about, how many things were put right, and what differed.

    `unanswered` counts those of which Stripe said nothing; they stay as they are.
    """

    checked: int = 0
    settled: int = 0
    mismatches: list[Mismatch] = field(default_factory=list)
    unanswered: int = 0
    silences: int = 0

    @property
    def is_cut_short(self) -> bool:
        """Whether Stripe was silent so often, one time after the other, that it is down."""
        return self.silences >= MOST_SILENCES

    def heard(self) -> None:
        """Note that Stripe answered."""
        self.silences = 0

    def missed(self, *, is_silent: bool) -> None:
        """Note that something was not answered, or, unless `is_silent`, not sensibly."""
        self.unanswered += 1
        self.silences = self.silences + 1 if is_silent else 0

    def to_dict(self) -> dict[str, Any]:
        """Return the report as outside programs read it."""
        report = asdict(self)
        del report["unanswered"], report["silences"]
        return report

    def add(self, order: Order, kind: str, ours: str, stripe: str) -> None:
        """Write down a difference."""
        self.mismatches.append(Mismatch(order.token, kind, ours, stripe))


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
        release.sweep()
        for order_id in _orders_with_asked_refunds():
            _ask(report, partial(_resume_refunds, order_id, report))
    for compare in COMPARISONS:
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
        Attempt.outcome == "lost", Attempt.stripe_id.is_(None), Attempt.expires_at > now()
    )  # its session ends by itself
    still_open = mine.where(
        Attempt.open_order_id.is_not(None) | lost, Order.mode == current_app.config["SHOP_MODE"]
    )
    longest_ago = (Attempt.checked_at.is_not(None), Attempt.checked_at, Attempt.id)
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
        refunds.resume(order_id)
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
            theirs = settle.expected(queries.get_order(token), facts)
        else:
            _heal(attempt_id, is_lost=kind == "checkout" and stripe_id is None)
            theirs = queries.get_order(token).state
    except gateway.StripeRefused as error:
        report.add(queries.get_order(token), "unknown_at_stripe", ours, error.code)
        return
    if theirs != ours:
        report.settled += 0 if dry_run else 1
        report.add(queries.get_order(token), "state", ours, theirs)


def _heal(attempt_id: int, *, is_lost: bool) -> None:
    settle.touch(attempt_id)
    if is_lost:
        release.recover_session(attempt_id)
    else:
        settle.look_at(attempt_id)


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
    mine = mine.where(Attempt.kind == kind, Attempt.outcome == "paid", Attempt.created_at >= since)
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
    mine = mine.where(LedgerEntry.created_at > since, LedgerEntry.stripe_id.is_not(None))
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
    mine = select(OurDispute.state, OurDispute.closed_at).where(OurDispute.stripe_id == dispute.id)
    ours, closed = db.session.execute(mine).one_or_none() or ("unknown", None)
    if ours == dispute.state or closed is not None:
        return
    report.add(queries.find_by_number(payment.order_id), "dispute", ours, dispute.state)
    if not dry_run:
        write(partial(disputes.apply, payment.order_id, dispute))
        report.settled += 1
