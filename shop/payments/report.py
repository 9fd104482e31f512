"""What reconciling found, for the owner and for programs."""

from dataclasses import asdict, dataclass, field
from typing import Any

from shop.payments.models import Order

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
