"""What a reconciliation may do, and what it found."""

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from time import monotonic
from typing import Any, TypeVar

from flask import current_app
from sqlalchemy import func, select

from shop.db import db, end_read, write
from shop.errors import ShopError
from shop.orders.models import TimelineEntry
from shop.payments import gateway
from shop.payments.models import keep, kept

T = TypeVar("T")
# After so many, Stripe is down rather than unwilling to answer about one payment.
MOST_SILENCES = 3


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
    agreed: int = 0
    mismatches: list[Mismatch] = field(default_factory=list)
    # The orders that were put right, by their numbers.
    changed: set[int] = field(default_factory=set)
    # The steps and payments that were not done, with the reason.
    failures: list[str] = field(default_factory=list)
    # The names of what Stripe listed and nobody can read.
    skipped: list[str] = field(default_factory=list)
    is_compared: bool = False

    @property
    def settled(self) -> int:
        """How many orders were put right."""
        return len(self.changed)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as outside programs read it."""
        rows = [asdict(row) for row in self.mismatches]
        return {"checked": self.checked, "settled": self.settled, "mismatches": rows}

    @classmethod
    def last(cls) -> "Report | None":
        """Return what the last whole comparison of this mode found, None before the first."""
        found = json.loads(kept("books") or "null")
        end_read()
        if found is None:
            return None
        mismatches = [Mismatch(*row) for row in found["mismatches"]]
        return cls(agreed=found["agreed"], mismatches=mismatches, failures=found["failures"])

    def keep_as_last(self) -> None:
        """Keep what was found for the owner's pages, when the books were compared."""
        rows = [tuple(asdict(row).values()) for row in self.mismatches]
        said = {"agreed": self.agreed, "mismatches": rows, "failures": self.failures}
        write(lambda: keep("books", json.dumps(said)))

    def fail(self, name: str, error: Exception) -> None:
        """Add what was not done."""
        current_app.logger.warning("%s: %r", name, error.__cause__ or error)
        reason = str(error)
        if isinstance(error, gateway.StripeUnreachable):
            reason = "Stripe did not answer"
        for refused in (error, error.__cause__):
            if isinstance(refused, gateway.StripeRefused):
                reason = f"Stripe refused: {refused.code}"
        if f"{name} ({reason})" not in self.failures:
            self.failures.append(f"{name} ({reason})")


@dataclass
class Run:
    """A reconciliation under way: what it may do, until when, and what it found."""

    dry_run: bool
    progress: Callable[[int, int], None]
    deadline: float
    report: Report = field(default_factory=Report)

    def is_over(self) -> bool:
        """Whether the time is used up."""
        return monotonic() >= self.deadline

    def each(self, things: Iterable[T], act: Callable[[T], None], name: Callable[[T], str]) -> bool:
        """Do the same with each thing until the time is over; return whether all were done.

        One that fails is named, and the others go on. Raises the last failure if Stripe is down.
        """
        silences = 0
        are_done = True
        for thing in things:
            if self.is_over():
                return False
            try:
                act(thing)
                silences = 0
            except (ShopError, gateway.StripeRefused) as error:
                self.report.fail(name(thing), error)
                are_done = False
                refused = isinstance(error, gateway.StripeRefused) and not error.is_about_request
                silent = isinstance(error, gateway.StripeUnreachable) and error.is_silent
                silences = silences + 1 if refused or silent else 0
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
