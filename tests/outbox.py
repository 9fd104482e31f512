"""The outbox of a shop, and what a test does with it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
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


@dataclass
class Outbox:
    """The outbox of a shop with one order that nobody paid."""

    app: Flask
    order_id: int

    @property
    def letter(self) -> dict[str, Any]:
        line = {"name": "T-shirt <日本>", "quantity": 2, "unit_amount": 2000, "amount": 4000}
        return {
            "order": "token", "number": self.order_id, "currency": "jpy", "amount": 4000,
            "lines": [line], "link": "https://shop.example/orders/token",
        }  # fmt: skip

    def queue(self, to: str = AYA, language: str = "en") -> None:
        """Put the customer's message in."""
        with self.app.app_context():
            write(lambda: mail.customer_paid(self.order_id, to, language, self.letter))

    def queue_for_staff(self) -> None:
        with self.app.app_context():
            write(lambda: mail.staff_new_order(self.order_id, self.letter))

    def send(self, most: int = 10) -> int:
        with self.app.app_context():
            return shop_outbox.send_due(most)

    def command(self, *arguments: str) -> str:
        """Run `flask shop mail …` and return what it says."""
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
    """Be so much later than now."""
    with time_machine.travel(datetime.now().astimezone() + timedelta(**delta), tick=True):
        yield
