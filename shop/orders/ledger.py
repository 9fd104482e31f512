"""The ledger: every payment and every refund, once, by Stripe's id; and what they add up to."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import select

from shop.db import db, insert_once, is_key, now
from shop.orders import queries, states
from shop.orders.models import LedgerEntry, Order


@dataclass(frozen=True)
class Sums:
    """What was paid for an order and went back, in minor units; `asked`: perhaps on its way."""

    paid_amount: int
    refunded_amount: int
    asked_amount: int

    @property
    def left_amount(self) -> int:
        """What can still be given back."""
        return self.paid_amount - self.refunded_amount - self.asked_amount


def record_payment(order: Order, stripe_id: str, amount: int, currency: str) -> bool:
    """Write a payment (minor units) down, inside write(); return whether it was not known yet."""
    return insert_once(
        LedgerEntry,
        order_id=order.id,
        kind="payment",
        stripe_id=stripe_id,
        amount=amount,
        currency=currency,
        state="succeeded",
        created_at=now(),
    )


def entries(order_id: int) -> Sequence[LedgerEntry]:
    """Return an order's entries as they are now, oldest first."""
    mine = select(LedgerEntry).where(LedgerEntry.order_id == order_id).order_by(LedgerEntry.id)
    return db.session.scalars(mine.execution_options(populate_existing=True)).all()


def payment_of(ids: Iterable[str]) -> LedgerEntry | None:
    """Return the payment, of the current mode, that goes by one of these ids at Stripe."""
    known = [found for found in ids if is_key(found)]
    mine = (
        select(LedgerEntry)
        .join(Order, LedgerEntry.order_id == Order.id)
        .where(LedgerEntry.kind == "payment", LedgerEntry.stripe_id.in_(known))
        .where(queries.in_mode())
    )
    return db.session.scalar(mine.limit(1)) if known else None


def pays_another(order: Order, stripe_id: str) -> bool:
    """Tell whether this money is written down as another order's."""
    mine = select(LedgerEntry.order_id).where(LedgerEntry.stripe_id == stripe_id)
    return db.session.scalar(mine) not in (None, order.id)


def sums(found: Iterable[LedgerEntry]) -> Sums:
    """Add entries up."""
    paid = refunded = asked = 0
    for entry in found:
        paid += entry.amount if entry.kind == "payment" else 0
        refunded += entry.amount if entry.is_refund else 0
        asked += entry.amount if entry.is_asked else 0
    return Sums(paid, refunded, asked)


def update_state(order: Order) -> None:
    """Move a settled order, inside write(), to the state that its sums belong to.

    Money that nobody took for the order's stays the owner's question until all of it went back,
    and is one again if a refund of it fails.
    """
    total = sums(entries(order.id))
    target = states.state_by_sums(order.amount, total.paid_amount, total.refunded_amount)
    if order.paid_at is None and target != "refunded":
        target = "needs_review"
    states.transition(order, target, only_from=(*states.SETTLED, "needs_review"))


def refundable(found: Sequence[LedgerEntry]) -> list[tuple[LedgerEntry, int]]:
    """Return the payments with what is left of each (minor units), newest first."""
    parts = []
    for payment in reversed([entry for entry in found if entry.kind == "payment"]):
        own = [payment, *(entry for entry in found if entry.payment_id == payment.id)]
        if sums(own).left_amount > 0:
            parts.append((payment, sums(own).left_amount))
    return parts
