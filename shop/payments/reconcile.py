"""Putting right what events should have told: open attempts are asked for at Stripe."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from flask import current_app
from sqlalchemy import select

from shop.extensions import db, end_read
from shop.payments import gateway, service, settle, sweep
from shop.payments.models import Attempt, Order


@dataclass(frozen=True)
class Mismatch:
    """An order (its token) whose state here is not what Stripe's answer makes of it."""

    order: str
    kind: str
    ours: str
    stripe: str


@dataclass
class Report:
    """How many attempts were asked about, how many changed their order, and what differed."""

    checked: int = 0
    settled: int = 0
    mismatches: list[Mismatch] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as outside programs read it."""
        return asdict(self)


def reconcile(dry_run: bool, progress: Callable[[int, int], None]) -> Report:
    """Ask Stripe about every open attempt of this mode; unless `dry_run`, do what follows.

    Raises StripeUnreachable; what was done until then is done.
    """
    report = Report()
    if not dry_run:
        sweep.sweep()
    mine = select(Attempt.id).join(Order, Attempt.order_id == Order.id)
    still_open = mine.where(
        Attempt.open_order_id.is_not(None), Order.mode == current_app.config["SHOP_MODE"]
    )
    ids: Sequence[int] = db.session.scalars(still_open.order_by(Attempt.id)).all()
    for done, attempt_id in enumerate(ids):
        progress(done, len(ids))
        _look_at(attempt_id, dry_run, report)
    progress(len(ids), len(ids))
    return report


def _look_at(attempt_id: int, dry_run: bool, report: Report) -> None:
    attempt = db.session.get_one(Attempt, attempt_id)
    order = db.session.get_one(Order, attempt.order_id)
    token, ours, stripe_id, kind = order.token, order.state, attempt.stripe_id, attempt.kind
    end_read()
    report.checked += 1
    try:
        if not dry_run:
            settle.look_at(attempt_id)
            theirs = service.get_order(token).state
        elif stripe_id is not None:
            facts = settle.ask(kind, stripe_id)
            theirs = settle.expected(service.get_order(token), facts)
        else:
            return
    except gateway.StripeRefused as error:
        report.mismatches.append(Mismatch(token, "unknown_at_stripe", ours, error.code))
        return
    if theirs != ours:
        report.settled += 0 if dry_run else 1
        report.mismatches.append(Mismatch(token, "state", ours, theirs))
