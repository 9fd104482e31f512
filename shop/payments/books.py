"""The two books: this shop's ledger beside Stripe's charges of 90 days, compared both ways."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from functools import partial
from itertools import pairwise
from math import ceil, inf
from time import monotonic
from typing import Any, TypeVar

from flask import current_app
from sqlalchemy import func, select

from shop.db import db, end_read, now
from shop.errors import ShopError
from shop.orders import ledger, queries
from shop.orders.models import LedgerEntry, Order, TimelineEntry
from shop.payments import disputes, gateway, refunds, settle, webhook
from shop.payments.gateway.objects import DISPUTE_CLOSED, Charge
from shop.payments.models import Dispute, KeyValue, recall, remember

T = TypeVar("T")
# Stripe is down, rather than unwilling to answer about one payment: the rest can wait as well.
MOST_SILENCES = 3
# A dispute is won or lost after 75 days (https://docs.stripe.com/disputes/how-disputes-work).
COMPARED = timedelta(days=90)
COMPARED_EVERY = timedelta(hours=20)
# Lists are asked for in spans of time, so that a long one is caught up with piece by piece.
SPAN = timedelta(days=7)
# Stripe's clock may be ahead of ours.
MARGIN = timedelta(days=1)


@dataclass(frozen=True)
class Mismatch:
    """A payment of which this shop and Stripe say different things, after all was done.

    `order` is the order's token, empty if the order itself is missing here; `kind` is `state`,
    `amount`, `refund`, `dispute`, `unknown_at_stripe` or `missing_here`.
    """

    order: str
    kind: str
    ours: str
    stripe: str


@dataclass
class Report:
    """What was asked about and put right, and what agrees and differs at the end."""

    checked: int = 0
    # Orders that were put right, and payments that agree, by their ids.
    changed: set[int] = field(default_factory=set)
    agreed: set[int] = field(default_factory=set)
    mismatches: list[Mismatch] = field(default_factory=list)
    # The steps and orders that were not done, with the reason.
    failures: list[str] = field(default_factory=list)
    # Whether the books were compared to the end.
    is_compared: bool = False

    @property
    def settled(self) -> int:
        """How many orders were put right."""
        return len(self.changed)

    def add(self, order: str, kind: str, ours: str, stripe: str) -> None:
        """Add a mismatch; an order's state is told once."""
        told = {one.order for one in self.mismatches if one.kind == "state"}
        if kind != "state" or order not in told:
            self.mismatches.append(Mismatch(order, kind, ours, stripe))

    def fail(self, name: str, error: Exception) -> None:
        """Add a step or an order that was not done."""
        current_app.logger.warning("%s: %r", name, error.__cause__ or error)
        reason = str(error)
        if isinstance(error, gateway.StripeUnreachable):
            reason = "Stripe did not answer"
        for refused in (error, error.__cause__):
            if isinstance(refused, gateway.StripeRefused):
                reason = f"Stripe refused: {refused.code}"
        if f"{name} ({reason})" not in self.failures:
            self.failures.append(f"{name} ({reason})")

    def to_dict(self) -> dict[str, Any]:
        """Return the report as outside programs read it."""
        rows = [asdict(row) for row in self.mismatches]
        return {"checked": self.checked, "settled": self.settled, "mismatches": rows}


@dataclass
class Run:
    """A reconciliation under way: what it may do, for how many seconds, and what it found."""

    dry_run: bool
    progress: Callable[[int, int], None]
    seconds: float
    begun: float
    report: Report = field(default_factory=Report)

    def is_over(self, share: float = 1) -> bool:
        """Whether this share of the time is used up."""
        return monotonic() - self.begun > self.seconds * share

    def each(
        self,
        things: Sequence[T],
        act: Callable[[T], None],
        name: Callable[[T], str],
        share: float = 1,
    ) -> bool:
        """Do the same with each thing until the time is over; one that fails is named, alone.

        Return whether all were done. Raises the last failure if Stripe seems to be down.
        """
        silences = 0
        are_done = True
        for thing in things:
            if self.is_over(share):
                return False
            try:
                act(thing)
                silences = 0
            except (ShopError, gateway.StripeRefused) as error:
                self.report.fail(name(thing), error)
                are_done = False
                silences = silences + 1 if _is_about_all(error) else 0
                if silences >= MOST_SILENCES:
                    raise
            finally:
                end_read()
        return are_done

    def count_change(self, act: Callable[[], int | None]) -> None:
        """Count the order that `act` returns as put right if its timeline grew meanwhile."""
        last = db.session.scalar(select(func.max(TimelineEntry.id))) or 0
        end_read()
        order_id = act()
        newer = select(TimelineEntry.order_id).where(TimelineEntry.id > last)
        own = newer.where(TimelineEntry.order_id == order_id)
        self.report.changed.update(db.session.scalars(own))
        end_read()


def _is_about_all(error: Exception) -> bool:
    """Tell whether other questions will fare no better: Stripe is silent, or the key wrong."""
    if isinstance(error, gateway.StripeRefused):
        return not error.is_about_request
    return isinstance(error, gateway.StripeUnreachable) and error.is_silent


def cut_into_spans(since: datetime, until: datetime) -> list[tuple[datetime, datetime]]:
    """Cut a time into spans, oldest first; the last one reaches beyond its end."""
    begins = [since + number * SPAN for number in range(ceil((until - since) / SPAN))]
    return list(pairwise([*begins, until + MARGIN]))


def is_compare_due() -> bool:
    """Tell whether the books were not compared to the end for a day."""
    return recall("compared") < now() - COMPARED_EVERY


def compare(run: Run) -> None:
    """Compare Stripe's charges of 90 days with the ledger's payments, both ways.

    Where time is short it goes on the next time with the span of time that was not finished.
    """
    own_shop = db.session.get(KeyValue, "shop")
    shop_id = own_shop.value if own_shop else None
    end_read()
    until = now()
    since = until - COMPARED
    if run.seconds < inf:
        since = max(since, recall("comparing"))
    # Payments of the ledger that Stripe listed.
    listed: set[int] = set()
    spans = cut_into_spans(since, until)
    for done, (begin, before) in enumerate(spans):
        run.progress(done, len(spans))
        charges = [charge for charge in gateway.list_charges(begin, before) if charge.is_paid]
        run.each(
            charges, partial(_compare_charge, run, shop_id, listed), lambda one: f"payment {one.id}"
        )
        unlisted = [one for one in _payments(begin, before) if one[0] not in listed]
        run.each(unlisted, partial(_ask_about_payment, run), lambda one: f"order {one[1]}")
        if run.is_over():
            return
        if run.seconds < inf:
            remember("comparing", before)
    run.progress(len(spans), len(spans))
    run.report.is_compared = True
    if not run.dry_run:
        remember("compared", until)
        remember("comparing", until - COMPARED)


def _payments(begin: datetime, before: datetime) -> list[tuple[int, int]]:
    """Return the ledger's payments of this time, each with its order."""
    mine = select(LedgerEntry.id, Order.id).join(Order, LedgerEntry.order_id == Order.id)
    then = mine.where(LedgerEntry.created_at >= begin, LedgerEntry.created_at < before)
    rows = db.session.execute(then.where(LedgerEntry.kind == "payment", queries.in_mode())).all()
    end_read()
    return [(row[0], row[1]) for row in rows]


def _compare_charge(run: Run, shop_id: str | None, listed: set[int], charge: Charge) -> None:
    """Compare a paid charge with what is written down here, after learning what is missing."""
    payment_id = _payment_of(charge) or _learn_payment(run, shop_id, charge)
    if payment_id is None:
        return
    listed.add(payment_id)
    payment = db.session.get_one(LedgerEntry, payment_id)
    order_id, token = payment.order_id, db.session.get_one(Order, payment.order_id).token
    mine = select(Dispute.id).where(Dispute.order_id == order_id)
    open_dispute = db.session.scalar(mine.where(Dispute.state.not_in(DISPUTE_CLOSED)).limit(1))
    end_read()

    def sync() -> int:
        refunds.sync(payment_id)
        disputes.sync(payment_id)
        return order_id

    differences = _differences(charge, payment_id)
    if not run.dry_run and (differences or open_dispute is not None):
        run.count_change(sync)
        # It may have changed since it was listed.
        differences = _differences(gateway.retrieve_charge(charge.id), payment_id)
    for kind, ours, theirs in differences:
        run.report.add(token, kind, ours, theirs)
    if not differences:
        run.report.agreed.add(payment_id)


def _payment_of(charge: Charge) -> int | None:
    found = ledger.payment_of((charge.payment_intent or "", charge.id))
    payment_id = found.id if found else None
    end_read()
    return payment_id


def _learn_payment(run: Run, shop_id: str | None, charge: Charge) -> int | None:
    """Write the payment down that is at Stripe alone, and return it; None if that is not possible.

    A charge that names neither an order of ours nor this shop is somebody else's.
    """
    order = queries.find_by_reference(charge.reference or "")
    if order is None:
        end_read()
        if shop_id is not None and charge.shop == shop_id:
            # Paid before a backup that was restored since.
            run.report.add("", "missing_here", f"order {charge.number or '?'}", charge.id)
        return None
    order_id, token, ours = order.id, order.token, order.state
    end_read()

    def learn() -> int:
        webhook.learn_payments(order_id)
        return order_id

    if not run.dry_run:
        run.count_change(learn)
    payment_id = _payment_of(charge)
    if payment_id is None and ours in settle.UNSETTLED:
        run.report.add(token, "state", ours, "paid")
    elif payment_id is None:
        run.report.add(token, "missing_here", ours, charge.id)
    return payment_id


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


def _ask_about_payment(run: Run, payment: tuple[int, int]) -> None:
    """Ask about a payment that Stripe did not list: its charge may be older, or was just made."""
    payment_id, order_id = payment
    order = db.session.get_one(Order, order_id)
    token, state = order.token, order.state
    money_id = str(db.session.get_one(LedgerEntry, payment_id).stripe_id)
    end_read()
    if settle.was_paid(order_id, money_id):
        run.report.agreed.add(payment_id)
    else:
        run.report.add(token, "unknown_at_stripe", state, "no such payment")
