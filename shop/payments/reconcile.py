"""Putting right what events should have told, then laying both books side by side.

Each step fails alone: what Stripe does not answer is named, and left for the next time.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from time import monotonic
from typing import Any

from flask import current_app
from sqlalchemy import select, update

from shop.db import changed_rows, db, end_read, insert_once, now, write
from shop.errors import ShopError
from shop.orders import ledger, place, queries
from shop.orders.models import LedgerEntry, Order
from shop.payments import attempts, disputes, gateway, refunds, settle, webhook
from shop.payments.gateway.objects import Charge
from shop.payments.models import Attempt, Dispute, KeyValue, shop_id

# Stripe is down, rather than unwilling to answer about one payment: the rest can wait as well.
MOST_SILENCES = 3
# Stripe keeps events for 30 days; https://docs.stripe.com/api/events
EVENTS_KEPT = timedelta(days=30)
# Events are asked for in spans, so that a long pause is caught up with piece by piece.
SPAN = timedelta(days=7)
# An event may be listed after one that is younger.
OVERLAP = timedelta(days=1)
# A dispute is won or lost after 75 days (https://docs.stripe.com/disputes/how-disputes-work).
COMPARED = timedelta(days=90)
# Between the two clocks, and between a charge and the event that wrote it down here.
MARGIN = timedelta(days=1)
COMPARED_EVERY = timedelta(hours=20)


@dataclass(frozen=True)
class Mismatch:
    """A payment of which this shop and Stripe say different things, after all was done.

    `order` is the order's token, empty for `missing_here`; `kind` is `state` (of the order),
    `refund`, `dispute`, `unknown_at_stripe` or `missing_here`.
    """

    order: str
    kind: str
    ours: str
    stripe: str


@dataclass
class Report:
    """What was asked about and put right, and what agrees and differs at the end."""

    checked: int = 0
    settled: int = 0
    agreed: int = 0
    mismatches: list[Mismatch] = field(default_factory=list)
    # The steps that Stripe did not answer.
    failures: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as outside programs read it."""
        rows = [asdict(row) for row in self.mismatches]
        return {"checked": self.checked, "settled": self.settled, "mismatches": rows}


def reconcile(
    dry_run: bool,
    progress: Callable[[int, int], None] = lambda done, total: None,
    seconds: float | None = None,
) -> Report:
    """Ask Stripe about what is open, take the events that never arrived, and compare the books.

    With `dry_run` nothing is written. With `seconds` it stops when they are over, goes on the next
    time where it stopped, and compares once a day. Raises BuyingOff if paying is off.
    """
    place.refuse_where_off()
    report = Report()
    deadline = None if seconds is None else monotonic() + seconds
    steps: list[tuple[str, Callable[[], None]]] = [
        ("open payments", partial(_ask_open_attempts, report, dry_run, progress, deadline)),
    ]
    if not dry_run:
        steps += [
            ("unanswered refunds", partial(_resume_refunds, report)),
            ("missed events", partial(_take_missed_events, report, deadline)),
        ]
    if seconds is None or _is_compare_due():
        steps.append(("the books", partial(_compare, report, dry_run)))
    for name, step in steps:
        if deadline is not None and monotonic() > deadline:
            break
        try:
            step()
        except (gateway.StripeUnreachable, gateway.StripeRefused) as error:
            current_app.logger.warning("%s: %r", name, error.__cause__ or error)
            report.failures.append(name)
        end_read()
    return report


def _ask_open_attempts(
    report: Report,
    dry_run: bool,
    progress: Callable[[int, int], None],
    deadline: float | None,
) -> None:
    """Ask about every attempt that has an id or is a charge, those not asked about for longest."""
    mine = select(Attempt.id).join(Order, Attempt.order_id == Order.id)
    known = Attempt.stripe_id.is_not(None) | (Attempt.kind == "charge")
    still_open = mine.where(Attempt.open_order_id.is_not(None), known, queries.in_mode())
    longest_ago = (Attempt.checked_at.is_not(None), Attempt.checked_at, Attempt.id)
    attempt_ids = db.session.scalars(still_open.order_by(*longest_ago)).all()
    end_read()
    silences = 0
    for done, attempt_id in enumerate(attempt_ids):
        progress(done, len(attempt_ids))
        if deadline is not None and monotonic() > deadline:
            return
        try:
            _ask_attempt(report, attempt_id, dry_run)
            silences = 0
        except gateway.StripeUnreachable as error:
            silences = silences + 1 if error.is_silent else 0
            if silences >= MOST_SILENCES:
                raise
            current_app.logger.warning("left for the next time: %r", error.__cause__ or error)
            report.failures.append(f"payment {attempt_id}")
    progress(len(attempt_ids), len(attempt_ids))


def _ask_attempt(report: Report, attempt_id: int, dry_run: bool) -> None:
    attempt = attempts.get(attempt_id)
    order = db.session.get_one(Order, attempt.order_id)
    token, ours, stripe_id, kind = order.token, order.state, attempt.stripe_id, attempt.kind
    end_read()
    report.checked += 1
    try:
        if not dry_run:
            settle.touch(attempt_id)
            settle.look_at(attempt_id)
            report.settled += queries.get_order(token).state != ours
        elif stripe_id is not None:
            theirs = settle.expected(queries.get_order(token), settle.ask(kind, stripe_id))
            if theirs != ours:
                report.mismatches.append(Mismatch(token, "state", ours, theirs))
    except gateway.StripeRefused as error:
        report.mismatches.append(Mismatch(token, "unknown_at_stripe", ours, error.code))
    end_read()


def _resume_refunds(report: Report) -> None:
    mine = select(LedgerEntry.order_id).join(Order, LedgerEntry.order_id == Order.id).distinct()
    asked = mine.where(LedgerEntry.kind == "refund", LedgerEntry.state == "asked")
    order_ids = db.session.scalars(asked.where(queries.in_mode())).all()
    end_read()
    for order_id in order_ids:
        try:
            refunds.resume(order_id)
            report.settled += 1
        except refunds.NotRefundable as error:
            current_app.logger.warning("order %s: %s", order_id, error)


def _take_missed_events(report: Report, deadline: float | None) -> None:
    """Give the events since the cursor to the webhook's own door, oldest first."""
    mode = current_app.config["SHOP_MODE"]
    name = f"events {mode}"
    kept = db.session.get(KeyValue, name)
    oldest = now() - EVENTS_KEPT
    cursor = max(oldest, datetime.fromtimestamp(int(kept.value), UTC)) if kept else oldest
    end_read()
    since, until = cursor - OVERLAP, now()
    failed: ShopError | None = None
    while since < until:
        before = min(since + SPAN, until + MARGIN)
        for event in gateway.list_events(since, before, webhook.TYPES):
            if deadline is not None and monotonic() > deadline:
                return
            try:
                report.settled += webhook.receive(event)
            except ShopError as error:
                current_app.logger.warning("event %s is not taken yet: %r", event.id, error)
                failed = failed or error
            end_read()
        since = before
        if failed is None:
            _remember(name, str(int(min(since, until).timestamp())))
    if failed is not None:
        raise gateway.StripeUnreachable from failed


def _remember(name: str, value: str) -> None:
    def unit() -> None:
        if not insert_once(KeyValue, name=name, value=value):
            changed_rows(update(KeyValue).where(KeyValue.name == name).values(value=value))

    write(unit)


def _is_compare_due() -> bool:
    kept = db.session.get(KeyValue, f"compared {current_app.config['SHOP_MODE']}")
    end_read()
    last = datetime.fromtimestamp(int(kept.value), UTC) if kept else None
    return last is None or last < now() - COMPARED_EVERY


def _compare(report: Report, dry_run: bool) -> None:
    """Compare Stripe's charges of 90 days with the ledger's payments, both ways."""
    since = now() - COMPARED
    own_shop = write(shop_id)
    end_read()
    known: set[int] = set()
    for charge in gateway.list_charges(since - MARGIN):
        if not charge.is_paid:
            continue
        payment_id = _payment_of(charge, report, dry_run)
        if payment_id is not None:
            known.add(payment_id)
            _compare_charge(charge, payment_id, report, dry_run)
        elif charge.shop == own_shop and queries.find_by_reference(charge.reference or "") is None:
            # Paid before a backup that was restored since.
            number = charge.number or "?"
            report.mismatches.append(Mismatch("", "missing_here", f"order {number}", charge.id))
        end_read()
    mine = select(LedgerEntry.id, Order.token, Order.state).join(
        Order, LedgerEntry.order_id == Order.id
    )
    ours = mine.where(
        LedgerEntry.kind == "payment", LedgerEntry.created_at > since, queries.in_mode()
    )
    for payment_id, token, state in db.session.execute(ours).all():
        if payment_id not in known:
            report.mismatches.append(Mismatch(token, "unknown_at_stripe", state, "no such charge"))
    end_read()
    if not dry_run:
        _remember(f"compared {current_app.config['SHOP_MODE']}", str(int(now().timestamp())))


def _payment_of(charge: Charge, report: Report, dry_run: bool) -> int | None:
    """Return the ledger's payment of a charge; one that only Stripe knows of is written down."""
    ids = (charge.payment_intent or "", charge.id)
    found = ledger.payment_of(ids)
    order = None if found else queries.find_by_reference(charge.reference or "")
    if order is None:
        return found.id if found else None
    order_id, token, ours = order.id, order.token, order.state
    end_read()
    if not dry_run:
        webhook.learn_payments(order_id)
        found = ledger.payment_of(ids)
        if found is not None:
            report.settled += 1
            return found.id
    report.mismatches.append(Mismatch(token, "state", ours, "paid"))
    return None


def _compare_charge(charge: Charge, payment_id: int, report: Report, dry_run: bool) -> None:
    """Compare what went back of a charge and whether it is disputed, after asking about both."""
    token, differences = _differences(charge, payment_id)
    if differences and not dry_run:
        refunds.sync(payment_id)
        disputes.sync(payment_id)
        token, left = _differences(charge, payment_id)
        report.settled += len(differences) - len(left)
        differences = left
    report.agreed += not differences
    report.mismatches += [Mismatch(token, *difference) for difference in differences]


def _differences(charge: Charge, payment_id: int) -> tuple[str, list[tuple[str, str, str]]]:
    """Return the order's token, and what is (kind, here, at Stripe) not the same."""
    payment = db.session.get_one(LedgerEntry, payment_id)
    order = db.session.get_one(Order, payment.order_id)
    entries: Sequence[LedgerEntry] = ledger.entries(order.id)
    mine = [entry for entry in entries if entry.payment_id == payment_id and entry.is_refund]
    refunded = sum(entry.amount for entry in mine)
    told = select(Dispute.id).where(Dispute.order_id == order.id).limit(1)
    is_disputed = db.session.scalar(told) is not None
    found = []
    if refunded != charge.refunded_amount:
        found.append(("refund", str(refunded), str(charge.refunded_amount)))
    if charge.is_disputed and not is_disputed:
        found.append(("dispute", "none", "disputed"))
    token = order.token
    end_read()
    return token, found
