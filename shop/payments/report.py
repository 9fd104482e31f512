"""What reconciling found, for the owner and for programs."""

from dataclasses import asdict, dataclass, field
from typing import Any

from shop.payments.models import Order

# Stripe is down, rather than unwilling to answer about one payment: the rest can wait as well.
MOST_UNANSWERED = 3


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

    @property
    def is_cut_short(self) -> bool:
        """Whether so much was not answered that it is of no use to go on."""
        return self.unanswered >= MOST_UNANSWERED

    def to_dict(self) -> dict[str, Any]:
        """Return the report as outside programs read it."""
        report = asdict(self)
        del report["unanswered"]
        return report

    def add(self, order: Order, kind: str, ours: str, stripe: str) -> None:
        """Write down a difference."""
        self.mismatches.append(Mismatch(order.token, kind, ours, stripe))
