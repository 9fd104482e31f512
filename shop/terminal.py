"""Orders, mails and reports as a person at a terminal reads them."""

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from unicodedata import category, east_asian_width

from flask import current_app

from shop.db import end_read
from shop.doctor import TITLES, VERDICTS
from shop.doctor.host import Finding
from shop.mail.outbox import Mail
from shop.money import Money
from shop.orders import queries, states
from shop.orders.models import LedgerEntry, Order
from shop.payments.models import Dispute
from shop.payments.report import Mismatch, Report
from shop.security import external_url

MOST_GOODS = 40
STATES = {
    "pending": "not paid yet",
    "awaiting_payment": "waiting for money",
    "paid": "paid",
    "cancelled": "cancelled",
    "needs_review": "needs your decision",
    "partially_refunded": "partly refunded",
    "refunded": "refunded",
}
REFUNDS = {
    "asked": "Stripe has not answered yet",
    "pending": "on its way",
    "succeeded": "done",
    "failed": "came back: the customer does not have it",
    "canceled": "cancelled at Stripe",
    "refused": "refused by Stripe",
}
# Their detail is an amount in minor units; the list of money above says it as people write it.
WITH_AMOUNT = ("refunded", "refund_failed")


def in_words(money: Money) -> str:
    """Return an amount as the owner writes it."""
    return money.format(current_app.config["SHOP_LOCALE"])


def goods(order: Order) -> str:
    """Return what was ordered, such as `2 x T-shirt, 1 x Mug`."""
    return _plain(", ".join(f"{line.quantity} x {line.name}" for line in order.lines))


def order_table(orders: Iterable[Order], disputes: Iterable[Dispute]) -> Iterator[str]:
    """Yield a table of the orders: first what needs the owner, then what is to be sent."""
    disputed: dict[int, list[Dispute]] = {}
    for dispute in disputes:
        disputed.setdefault(dispute.order_id, []).append(dispute)
    rows = []
    for order in orders:
        marks, urgency = _marks(order, disputed.get(order.id, []))
        refunded = [entry for entry in order.ledger if entry.is_refund]
        row = (
            str(order.number), _moment(order.created_at)[:10], STATES[order.state],
            order.email or "", _cut(goods(order), MOST_GOODS), in_words(order.total),
            _sums(refunded), ", ".join(marks),
        )  # fmt: skip
        rows.append((urgency, row))
    header = ("Number", "Date", "State", "Customer", "Goods", "Amount", "Refunded", "Marks")
    rows.sort(key=lambda row: row[0])
    return table(header, [row for _, row in rows], right=(0, 5, 6))


def _marks(order: Order, disputes: Sequence[Dispute]) -> tuple[list[str], int]:
    """Return what is special about an order, and 0 where it needs the owner, 1 where packing."""
    is_disputed = any(dispute.closed_at is None for dispute in disputes)
    is_kept = order.state in states.KEPT
    marks = ["disputed: answer the bank"] if is_disputed else []
    marks += [f"dispute {one.state}".replace("_", " ") for one in disputes if one.closed_at]
    if order.shipped_at is not None:
        marks.append("shipped")
    elif is_kept:
        marks.append("to be shipped" if order.holds_stock else "goods are missing")
    if order.mode != current_app.config["SHOP_MODE"]:
        return [*marks, order.mode], 2
    if is_disputed or order.state == "needs_review":
        return marks, 0
    return marks, 1 if is_kept and order.shipped_at is None else 2


def order_story(order: Order, disputes: Iterable[Dispute], mails: Iterable[Mail]) -> Iterator[str]:
    """Yield one order's story: lines, payments and refunds, disputes, timeline, mails."""
    shipped = f", shipped on {_moment(order.shipped_at)}" if order.shipped_at else ""
    yield f"Order {order.number} ({order.mode}): {STATES[order.state]}{shipped}."
    customer = _plain(order.email or "somebody whose address is not known")
    yield f"Ordered on {_moment(order.created_at)} by {customer}."
    yield external_url("payments.order", token=order.token)
    yield from ("", "Goods")
    lines = [
        (f"  {line.quantity} x", line.name, Money(line.unit_amount * line.quantity, order.currency))
        for line in order.lines
    ]
    if order.delivery:
        lines.append(("", f"Delivery: {order.delivery_name}", order.delivery))
    lines.append(("", "Total", order.total))
    yield from table((), [(*names, in_words(money)) for *names, money in lines], right=(2,))
    if order.address:
        yield from ("", "Goes to", *(f"  {_plain(line)}" for line in order.address.lines))
    elif order.is_sent:
        yield from ("", "The goods are to be sent, but no address is known.")
    moves = [
        (entry.created_at, entry.kind, entry.money,
         REFUNDS.get(entry.state, entry.state) if entry.kind == "refund" else "", entry.stripe_id)
        for entry in order.ledger
    ]  # fmt: skip
    moves += [
        (one.opened_at, "dispute", Money(one.amount, one.currency),
         f"{one.state}, {one.reason}".replace("_", " "), one.stripe_id)
        for one in disputes
    ]  # fmt: skip
    rows = [
        (f"  {_moment(at)}", kind, in_words(money), state, stripe_id or "")
        for at, kind, money, state, stripe_id in moves
    ]
    yield from ("", "Money", *table((), rows, right=(2,))) if rows else ("", "No money has moved.")
    yield from ("", "What happened")
    for event in order.timeline:
        detail = f": {event.detail}" if event.detail and event.kind not in WITH_AMOUNT else ""
        said = f"{event.kind.replace('_', ' ')}{_plain(detail)}"
        by = event.who or event.way
        yield f"  {_moment(event.created_at)}  {said}{f' ({_plain(by)})' if by else ''}"
    sent = [("  " + mail.state, mail.kind, mail.recipient, mail.error) for mail in mails]
    yield from ("", "Mails", *table((), sent)) if sent else ("", "No mails.")


def mail_table(mails: Iterable[Mail]) -> Iterator[str]:
    """Yield a table of the outbox: each message, and why it has not left."""
    rows = [
        (mail.state, f"{mail.attempts}x", _moment(mail.due_at) if mail.state == "waiting" else "",
         mail.kind, str(json.loads(mail.context).get("number", "")), mail.recipient, mail.error)
        for mail in mails
    ]  # fmt: skip
    header = ("State", "Tried", "Next try", "Mail", "Order", "To", "Why it did not leave")
    return table(header, rows, right=(1, 4))


def report_lines(report: Report, dry_run: bool) -> list[str]:
    """Return what a reconciliation found and did."""
    lines = [_mismatch_line(row) for row in report.mismatches]
    end_read()
    asked = f"{_count(report.checked, 'open payment')} asked about"
    put_right = "nothing written" if dry_run else f"{_count(report.settled, 'order')} put right"
    lines.append(f"{asked}, {put_right}.")
    if report.is_compared:
        agree = "agrees" if report.agreed == 1 else "agree"
        lines.append(f"{_count(report.agreed, 'payment')} {agree} with Stripe.")
    return lines


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _mismatch_line(row: Mismatch) -> str:
    if not row.order:
        return f"Stripe has the payment {row.stripe} of {row.ours}, which is not here."
    order = queries.get_order(row.order)
    ours, stripe = row.ours, row.stripe
    if row.kind in ("amount", "refund"):
        paid = [entry for entry in order.ledger if entry.kind == "payment"]
        # Of several payments it is the one that amount is of.
        paid.sort(key=lambda entry: str(entry.amount) != ours)
        ours, stripe = (in_words(Money(int(n), paid[0].currency)) for n in (ours, stripe))
    said = {
        "state": f"{ours} here, {stripe} at Stripe",
        "amount": f"paid {ours} here, {stripe} at Stripe",
        "refund": f"refunded {ours} here, {stripe} at Stripe",
        "dispute": "disputed at Stripe, not here",
        "unknown_at_stripe": f"{ours} here, but Stripe does not know its payment",
        "missing_here": f"{ours} here; Stripe has its payment {stripe}, which is not here",
    }
    return f"Order {order.number}: {said[row.kind]}."


def finding_lines(found: Iterable[Finding]) -> Iterator[str]:
    """Yield what the self-check found, and under it what to do."""
    for one in found:
        what = f"[{VERDICTS[one.verdict]}] {TITLES[one.name]}: {one.what}"
        yield from (_plain(what), *([f"    {_plain(one.todo)}"] if one.todo else []))


def table(
    header: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[int] = ()
) -> Iterator[str]:
    """Yield the rows with their columns below each other; those in `right` end together."""
    cells = [[_plain(cell) for cell in row] for row in ([header] if header else []) + list(rows)]
    widths = [max(map(_width, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        line = []
        for position, cell in enumerate(row):
            space = " " * (widths[position] - _width(cell))
            line.append(space + cell if position in right else cell + space)
        yield "  ".join(line).rstrip()
    if not rows:
        yield "Nothing here yet."


def _sums(entries: Iterable[LedgerEntry]) -> str:
    sums: dict[str, int] = {}
    for entry in entries:
        sums[entry.currency] = sums.get(entry.currency, 0) + entry.amount
    return " + ".join(in_words(Money(amount, currency)) for currency, amount in sums.items())


def _moment(moment: datetime) -> str:
    return f"{moment.astimezone(current_app.config['SHOP_TIMEZONE']):%Y-%m-%d %H:%M}"


def _plain(text: str) -> str:
    """Return a text on one line, without what a terminal would take for a command."""
    return "".join(char if char.isprintable() else " " for char in text)


def _width(text: str) -> int:
    """Return how many places a text takes: Japanese letters take two, accents none."""
    shown = [char for char in text if category(char) not in ("Mn", "Me")]
    return sum(2 if east_asian_width(char) in "WF" else 1 for char in shown)


def _cut(text: str, most: int) -> str:
    if _width(text) <= most:
        return text
    while _width(text) > most - 3:
        text = text[:-1]
    return f"{text}..."
