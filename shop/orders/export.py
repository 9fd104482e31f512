"""Orders for other programs: as JSON, and as CSV, a row for each line and each delivery."""

from collections.abc import Iterator
from typing import Any

from flask import current_app
from sqlalchemy import ColumnElement

from shop.db import end_read
from shop.money import Money
from shop.orders import queries, takings
from shop.orders.models import ADDRESS_FIELDS, Order
from shop.orders.takings import Sums
from shop.spreadsheet import BOM, line

COLUMNS = (
    "number", "ordered", "paid", "shipped", "state", "mode", "email", "item", "quantity",
    "unit_price", "amount", "tax_rate", "currency", *ADDRESS_FIELDS,
)  # fmt: skip
MONTHS = (
    "month", "currency", "tax_rate", "payments", "refunds", "lost_disputes", "kept", "tax_in_it",
)  # fmt: skip


def to_dict(order: Order) -> dict[str, Any]:
    """Return an order as the command line's JSON has it; amounts in minor units."""
    payments = [entry.stripe_id for entry in order.ledger if entry.kind == "payment"]
    return order.to_dict() | {
        "payment_intent": (payments or [None])[0],
        "created": order.created_at.isoformat(),
        "email": order.email,
        "shipping": order.address.to_dict() if order.address else None,
        "shipped": order.shipped_at.isoformat() if order.shipped_at else None,
    }


def lines(
    state: str = "", words: str = "", beside: ColumnElement[bool] | None = None
) -> Iterator[str]:
    """Yield the CSV of the orders that newest_page() finds, the newest first, page by page."""
    yield BOM + line(COLUMNS)
    before: int | None = None
    while True:
        page = queries.newest_page(before, state, words, beside)
        for order in page.orders:
            yield from _rows(order)
        before = page.next_before
        end_read()  # who takes long to fetch it keeps nobody from writing
        if before is None:
            return


def months(found: Iterator[tuple[str, str, int, Sums]]) -> Iterator[str]:
    """Yield the CSV of what takings.by_month() found, a row for each month, currency and rate."""
    yield BOM + line(MONTHS)
    for month, currency, rate, sums in found:
        amounts = (sums.payments, sums.refunds, sums.losses, sums.kept)
        written = [Money(amount, currency).written for amount in amounts]
        tax = takings.tax_in(sums, currency, rate).written
        yield line((month, currency, f"{rate / 100:g}", *written, tax))


def _rows(order: Order) -> Iterator[str]:
    zone = current_app.config["SHOP_TIMEZONE"]
    times = [
        f"{at.astimezone(zone):%Y-%m-%d %H:%M}" if at else ""
        for at in (order.created_at, order.paid_at, order.shipped_at)
    ]
    head = [str(order.number), *times, order.state, order.mode, order.email or ""]
    address = order.address.to_dict() if order.address else {}
    tail = [order.currency, *(address.get(name, "") for name in ADDRESS_FIELDS)]
    sold = [(one.name, one.quantity, one.unit_amount, one.tax_rate) for one in order.lines]
    if order.delivery_name is not None:
        sold.append((order.delivery_name, 1, order.delivery_amount, order.delivery_tax_rate))
    for name, quantity, unit, rate in sold:
        prices = [Money(amount, order.currency).written for amount in (unit, unit * quantity)]
        yield line((*head, name, str(quantity), *prices, f"{rate / 100:g}", *tail))
