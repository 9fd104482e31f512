"""A shop with many orders shows them at the price of one with few, told without a clock."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from flask import Flask
from sqlalchemy import event, insert

from shop.db import Base, db, now
from shop.orders.models import LedgerEntry, Order, OrderLine, TimelineEntry
from shop.payments.models import Dispute
from tests.actors import Browser

PAGES = (
    "/owner/", "/owner/orders", "/owner/orders?state=to_pack", "/owner/orders?state=needs_me",
    "/owner/orders?state=refunded", "/owner/orders?before=60", "/owner/orders/51", "/owner/books",
    "/owner/mail",
)  # fmt: skip


def fill(app: Flask, first: int, last: int) -> None:
    """Sell shirts for two years; thirty are still to be packed, every tenth came back."""
    numbers, end = range(first, last + 1), now()
    at = {i: end - timedelta(days=730) * (last - i) / (last - first) for i in numbers}
    orders = [
        {
            "token": f"t{i}", "client_reference": f"r{i}", "mode": "sandbox", "currency": "jpy",
            "state": "refunded" if i % 10 == 0 else "paid", "amount": 2000, "visitor": f"v{i}",
            "language": "ja", "email": f"a{i}@example.com", "email_key": f"a{i}@example.com",
            "created_at": moment, "paid_at": moment,
            "shipped_at": moment if i <= last - 30 else None, "holds_stock": True,
        }
        for i, moment in at.items()
    ]  # fmt: skip
    moved = {"amount": 2000, "currency": "jpy", "state": "succeeded"}
    rows: dict[type[Base], list[dict[str, Any]]] = {
        Order: orders,
        OrderLine: [
            {"order_id": i, "product_id": 1, "name": "T-shirt", "quantity": 1, "unit_amount": 2000}
            for i in numbers
        ],
        LedgerEntry: [
            {"order_id": i, "kind": "payment", "stripe_id": f"pi_{i}", "created_at": moment} | moved
            for i, moment in at.items()
        ],
        TimelineEntry: [{"order_id": i, "kind": "paid"} for i in numbers],
        Dispute: [
            {"order_id": i, "stripe_id": f"du_{i}", "amount": 2000, "currency": "jpy",
             "reason": "fraudulent", "state": "lost", "closed_at": end - timedelta(days=400)}
            for i in numbers[::20]
        ],
    }  # fmt: skip
    with app.app_context(), db.engine.begin() as connection:
        for model, values in rows.items():
            connection.execute(insert(model), values)


@contextmanager
def steps(app: Flask) -> Iterator[list[int]]:
    """Count what SQLite does, in hundreds of its own instructions."""
    counted = [0]

    def count() -> None:
        counted[0] += 1

    def watch(connection: Any, *_: Any) -> None:
        connection.set_progress_handler(count, 100)

    with app.app_context():
        engine = db.engine
    engine.dispose()
    event.listen(engine, "connect", watch)
    yield counted
    event.remove(engine, "connect", watch)
    engine.dispose()


def test_fifty_times_the_orders_cost_no_more(app: Flask, owner: Browser) -> None:
    costs: list[dict[str, int]] = []
    for first, last in ((1, 100), (101, 5000)):
        fill(app, first, last)
        costs.append({})
        for path in PAGES:
            assert owner.get(path).status == 200
            with steps(app) as counted:
                owner.get(path)
            costs[-1][path] = counted[0]
    few, many = costs
    # The takings of 30 days read what was paid in them: that is what the allowance is for.
    more = {path: (few[path], many[path]) for path in PAGES if many[path] > 2 * few[path] + 200}
    assert more == {}
