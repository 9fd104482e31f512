"""The receipt of an order: what was paid and went back, and the tax in it by rate.

Prices include their tax. It is rounded once for each rate, half up, as Japan's qualified invoices
ask: https://www.nta.go.jp/taxes/shiraberu/zeimokubetsu/shohi/keigenzeiritsu/invoice_about.htm
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

from shop.money import Money
from shop.orders.models import LedgerEntry, Order

# Food and newspapers in Japan; a receipt marks them.
REDUCED_RATE = 800


@dataclass(frozen=True)
class TaxSum:
    """What was kept at a rate (hundredths of a percent), and the tax that is in it."""

    rate: int
    total: Money
    tax: Money


@dataclass(frozen=True)
class Receipt:
    """Payments and refunds in the order's currency, and what is left by rate."""

    payments: Sequence[LedgerEntry]
    refunds: Sequence[LedgerEntry]
    total: Money
    by_rate: Sequence[TaxSum]


def make(order: Order) -> Receipt:
    """Return the receipt of a paid order; its sums by rate add up to what the ledger says."""
    mine = [entry for entry in order.ledger if entry.currency == order.currency]
    payments = [entry for entry in mine if entry.kind == "payment"]
    refunds = [entry for entry in mine if entry.is_refund]
    left = shared(sum(entry.amount for entry in payments), amounts_by_rate(order))
    for refund in refunds:
        back = shared(refund.amount, left)
        left = {rate: amount - back[rate] for rate, amount in left.items()}
    sums = [
        TaxSum(rate, Money(amount, order.currency), Money(tax_in(amount, rate), order.currency))
        for rate, amount in sorted(left.items(), reverse=True)
    ]
    return Receipt(payments, refunds, Money(sum(left.values()), order.currency), sums)


def amounts_by_rate(order: Order) -> dict[int, int]:
    """Return the price of goods and delivery (minor units) by their rates of tax."""
    amounts: dict[int, int] = {}
    for line in order.lines:
        amount = line.unit_amount * line.quantity
        amounts[line.tax_rate] = amounts.get(line.tax_rate, 0) + amount
    if order.delivery_amount:
        rate = order.delivery_tax_rate
        amounts[rate] = amounts.get(rate, 0) + order.delivery_amount
    return amounts


def shared(amount: int, parts: Mapping[int, int]) -> dict[int, int]:
    """Return an amount (minor units) shared in proportion to the parts, the sum unchanged.

    What does not divide goes to the parts with the largest remainder.
    """
    whole = sum(parts.values())
    if whole == 0:
        return dict.fromkeys(parts, 0) | {next(iter(parts)): amount}
    shares = {name: amount * part // whole for name, part in parts.items()}
    by_remainder = sorted(parts, key=lambda name: (-(amount * parts[name] % whole), -parts[name]))
    for name in by_remainder[: amount - sum(shares.values())]:
        shares[name] += 1
    return shares


def tax_in(amount: int, rate: int) -> int:
    """Return the tax (minor units) that is in an amount at a rate in hundredths of a percent."""
    exact = Decimal(amount) * rate / (10000 + rate)
    return int(exact.quantize(Decimal(1), ROUND_HALF_UP))
