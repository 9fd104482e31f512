"""Putting right what events should have told: open attempts are asked for at Stripe."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from flask import current_app
from sqlalchemy import select

from shop.extensions import db, end_read, now, write
from shop.payments import attempts, gateway, service, settle, underway
from shop.payments.models import Attempt, Order

SWEPT_AT_ONCE = 20


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
        sweep()
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


def sweep() -> None:
    """Give up, without asking Stripe, what cannot be paid any more, and put its goods back.

    That is an order whose last try failed and was not followed by another, and one whose session's
    answer never came and whose session, if there is one, has ended.
    """
    too_old = now() - attempts.SESSION_LIFETIME
    busy = select(Attempt.id).where(
        Attempt.open_order_id == Order.id,
        Attempt.stripe_id.is_not(None) | (Attempt.kind == "charge") | (Attempt.expires > now()),
    )
    forgotten = (
        select(Order.token)
        .where(Order.state == "pending", Order.created < too_old, ~busy.exists())
        .where(Order.mode == current_app.config["SHOP_MODE"])
        .limit(SWEPT_AT_ONCE)
    )
    tokens = db.session.scalars(forgotten).all()
    end_read()
    for token in tokens:
        write(lambda token=token: _give_up(token, too_old))  # type: ignore[misc]


def _give_up(token: str, too_old: Any) -> None:
    order = service.claim(token)
    if order is None:
        return
    attempt = attempts.open_of(order)
    if attempt is not None and (attempt.stripe_id or attempt.kind == "charge"):
        return
    last = max((tried.created for tried in order.attempts), default=order.created)
    if last > too_old:
        return
    if attempt is not None:
        attempts.close(attempt, "expired")
    service.cancel(order, "expired")


def _look_at(attempt_id: int, dry_run: bool, report: Report) -> None:
    attempt = db.session.get_one(Attempt, attempt_id)
    order = db.session.get_one(Order, attempt.order_id)
    token, ours, stripe_id, kind = order.token, order.state, attempt.stripe_id, attempt.kind
    end_read()
    report.checked += 1
    if stripe_id is None:
        if kind == "charge" and not dry_run:
            _learn(attempt_id)
    else:
        facts = settle.ask(kind, stripe_id)
        if dry_run:
            theirs = settle.expected(service.get_order(token), facts)
            if theirs != ours:
                report.mismatches.append(Mismatch(token, "state", ours, theirs))
            return
        write(lambda: settle.apply(attempt_id, facts))
    theirs = service.get_order(token).state
    if theirs != ours:
        report.settled += 1
        report.mismatches.append(Mismatch(token, "state", ours, theirs))


def _learn(attempt_id: int) -> None:
    """Ask for a charge whose answer was lost, under its own key; a decline is an answer too."""
    try:
        underway.run_charge(attempt_id)
    except (gateway.CardDeclined, gateway.StripeRefused):
        return
