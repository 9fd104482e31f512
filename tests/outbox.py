"""A shop's outbox for the tests: put messages in, send them, read what became of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import time_machine
from flask import Flask
from sqlalchemy import func, select

from shop import mail
from shop.db import db, write
from shop.mail import outbox as shop_outbox
from shop.orders.models import Order
from tests.actors import Buyer

AYA = "aya@example.com"
OWNER = "owner@shop.example"


@dataclass(frozen=True)
class Sold:
    """An order as messages read it: two shirts whose name HTML must escape."""

    id: int
    email: str = AYA
    language: str = "en"
    token: str = "token"
    name: str = "T-shirt <日本>"
    created_at: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    carrier: str | None = None
    tracking: str | None = None
    tracking_url: str | None = None
    is_sent: bool = False
    lacks_address: bool = False
    address: Any = None
    erased_at: datetime | None = None

    def to_dict(self) -> dict[str, Any]:
        line = {"name": self.name, "quantity": 2, "unit_amount": 2000, "amount": 4000}
        return {
            "order": self.token, "number": self.id, "currency": "jpy", "amount": 4000,
            "lines": [line],
        }  # fmt: skip


@dataclass
class Outbox:
    """The outbox of a shop that has one unpaid order."""

    app: Flask
    order_id: int

    @property
    def order(self) -> Sold:
        return Sold(self.order_id)

    def queue(self, to: str = AYA, language: str = "en") -> None:
        """Put the customer's receipt into the outbox."""
        with self.app.app_context():
            write(lambda: mail.customer_paid(Sold(self.order_id, to, language)))

    def queue_for_staff(self) -> None:
        with self.app.app_context():
            write(lambda: mail.staff_new_order(self.order))

    def send(self, most: int = 10) -> int:
        with self.app.app_context():
            return shop_outbox.send_due(most)

    def command(self, *arguments: str) -> str:
        """Run `flask shop mail …` and return what it prints."""
        result = self.app.test_cli_runner().invoke(args=["shop", "mail", *arguments])
        assert result.exit_code == 0, result.output
        return result.stdout

    @property
    def rows(self) -> list[dict[str, Any]]:
        with self.app.app_context():
            return shop_outbox.list_mails()

    @property
    def states(self) -> list[str]:
        return [row["state"] for row in self.rows]


def outbox_of(app: Flask) -> Outbox:
    Buyer(app).order()
    with app.app_context():
        order_id = db.session.scalar(select(func.max(Order.id)))
        assert order_id is not None
        return Outbox(app, order_id)


@contextmanager
def later(**delta: float) -> Iterator[None]:
    """Set the clock forward by that much."""
    with time_machine.travel(datetime.now().astimezone() + timedelta(**delta), tick=True):
        yield
