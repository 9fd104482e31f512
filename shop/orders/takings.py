"""What came in and what went back: by day for the owner's eyes, by month and tax for the books.

A payment counts when it was written down here, a refund when it was asked for, a lost dispute when
it was closed; all in the shop's time zone, and of the shop's mode alone.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from flask import current_app
from sqlalchemy import case, func, select
from sqlalchemy.orm import selectinload

from shop.db import db, end_read, now
from shop.money import Money
from shop.orders import queries, receipt
from shop.orders.models import REFUND_COUNTS, LedgerEntry, Order

# Refunds that failed gave nothing back.
MOVED = (LedgerEntry.kind == "payment") | LedgerEntry.state.in_(REFUND_COUNTS)
ORDERS_AT_ONCE = 500


@dataclass(frozen=True)
class Loss:
    """Money (minor units) that a cardholder's bank took back for good."""

    order_id: int
    amount: int
    currency: str
    at: datetime


@dataclass
class Sums:
    """What came in, went back and was lost, in minor units."""

    payments: int = 0
    refunds: int = 0
    losses: int = 0

    @property
    def kept(self) -> int:
        """What is left; below nothing where more went back than came in."""
        return self.payments - self.refunds - self.losses


def by_day(days: int, losses: Sequence[Loss]) -> dict[date, Sums]:
    """Return the takings of the last days in the shop's own currency, today last."""
    zone, currency = current_app.config["SHOP_TIMEZONE"], current_app.config["SHOP_CURRENCY"]
    today = now().astimezone(zone).date()
    found = {today - timedelta(days=ago): Sums() for ago in range(days - 1, -1, -1)}
    starts = {day: datetime.combine(day, time.min, zone).astimezone(UTC) for day in found}
    bucket = case(
        *((LedgerEntry.created_at >= start, str(day)) for day, start in reversed(starts.items()))
    ).label("day")
    moved = (
        select(bucket, LedgerEntry.kind, func.sum(LedgerEntry.amount))
        .join(Order, LedgerEntry.order_id == Order.id)
        .where(LedgerEntry.created_at >= min(starts.values()), LedgerEntry.currency == currency)
        .where(MOVED, queries.in_mode())
        .group_by("day", LedgerEntry.kind)
    )
    for day, kind, amount in db.session.execute(moved):
        setattr(found[date.fromisoformat(day)], f"{kind}s", int(amount))
    for loss in losses:
        day = loss.at.astimezone(zone).date()
        if day in found and loss.currency == currency:
            found[day].losses += loss.amount
    return found


def by_month(
    losses_of: Callable[[Sequence[int]], Sequence[Loss]],
) -> Iterator[tuple[str, str, int, Sums]]:
    """Yield month (`2026-11`), currency, tax rate (hundredths of a percent) and their sums.

    Over all rates they add up to the ledger's. `losses_of` tells what orders have lost.
    """
    found: dict[tuple[str, str, int], Sums] = defaultdict(Sums)
    last = 0
    while True:
        page = select(Order).where(Order.id > last, Order.ledger.any(), queries.in_mode())
        parts = selectinload(Order.ledger)
        orders = db.session.scalars(page.options(parts).order_by(Order.id).limit(ORDERS_AT_ONCE))
        batch = orders.all()
        if not batch:
            break
        last = batch[-1].id
        losses = losses_of([order.id for order in batch])
        for order in batch:
            _add_order(found, order, [loss for loss in losses if loss.order_id == order.id])
        end_read()
    yield from ((*key, found[key]) for key in sorted(found))


def _add_order(
    found: Mapping[tuple[str, str, int], Sums], order: Order, losses: Sequence[Loss]
) -> None:
    """Add an order's money, each part shared over its rates of tax as its receipt does."""
    zone = current_app.config["SHOP_TIMEZONE"]
    moves = [
        (entry.created_at, f"{entry.kind}s", entry.amount, entry.currency)
        for entry in order.ledger
        if entry.kind == "payment" or entry.is_refund
    ]
    moves += [(loss.at, "losses", loss.amount, loss.currency) for loss in losses]
    left: dict[str, dict[int, int]] = {}
    moves.sort(key=lambda move: (move[0], move[1] != "payments"))
    for at, column, amount, currency in moves:
        parts = left.setdefault(currency, {})
        of_goods = receipt.amounts_by_rate(order)
        is_in = column == "payments"
        shares = receipt.shared(amount, of_goods if is_in or not any(parts.values()) else parts)
        for rate, share in shares.items():
            parts[rate] = parts.get(rate, 0) + (share if is_in else -share)
            sums = found[f"{at.astimezone(zone):%Y-%m}", currency, rate]
            setattr(sums, column, getattr(sums, column) + share)


def tax_in(sums: Sums, currency: str, rate: int) -> Money:
    """Return the tax that is in what is kept at a rate."""
    sign = -1 if sums.kept < 0 else 1
    return Money(sign * receipt.tax_in(abs(sums.kept), rate), currency)
