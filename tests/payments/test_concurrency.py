"""Sixty-four messengers of one payment at the same moment: it is fulfilled once."""

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from flask import Flask
from sqlalchemy import select, text, update
from stripe import WebhookSignature

from shop import create_app
from shop.catalog.models import Product
from shop.db import changed_rows, db, end_read, write
from shop.orders import states
from shop.orders.models import Order
from shop.payments import settle
from shop.payments.models import Attempt
from tests.actors import Browser, Buyer
from tests.databases import SECRET, on_all

pytestmark = [on_all, pytest.mark.long]

ORDERS = 10
UNSAFE_ORDERS = 6
# Of each order, in each of the processes: deliveries of one event, events of their own, visits to
# the success page. Together they are 64.
PROCESSES = 2
SAME, OTHERS, VISITS = 12, 10, 10
MUGS, STOCK = 3, 1000
# Each order of so many is given up before its money comes: that takes the goods a second time.
LATE = 5
ONCE = {"payment": 1, "paid": 1, "customer_paid": 1, "staff_new_order": 1}


class PaidStripe:
    """In Stripe's place: sessions kept in memory, that are paid or expired as the test says."""

    def __init__(self) -> None:
        self.sessions: dict[str, dict[str, Any]] = {}

    def __call__(self, method: str, url: str, headers: Any, data: Any) -> Any:
        found = self.sessions.get(url.partition("?")[0].rpartition("/")[2])
        session = self._new(parse_qs(data)) if found is None else found
        return json.dumps(session).encode(), 200, {}

    def end(self, session_id: str, status: str, payment_status: str) -> None:
        self.sessions[session_id] |= {"status": status, "payment_status": payment_status}

    def _new(self, given: dict[str, list[str]]) -> dict[str, Any]:
        number = len(self.sessions) + 1
        session = {
            "id": f"cs_test_{number}",
            "object": "checkout.session",
            "url": f"https://checkout.stripe.com/{number}",
            "status": "open",
            "payment_status": "unpaid",
            "amount_total": int(given["line_items[0][price_data][unit_amount]"][0]),
            "currency": given["line_items[0][price_data][currency]"][0],
            "client_reference_id": given["client_reference_id"][0],
            "livemode": False,
            "payment_intent": {"id": f"pi_{number}", "object": "payment_intent"},
            "customer_details": {"email": "aya@example.com"},
        }
        self.sessions[session["id"]] = session
        return session


class UnsafeGate:
    """The mistake that the gate is there against: look first, and act later upon what was seen."""

    def __init__(self) -> None:
        self._seen = threading.local()
        self._ask = settle.ask
        settle.ask, states.transition = self.ask, self.move  # for this process's whole life

    def ask(self, kind: str, stripe_id: str) -> Any:
        tried = select(Order.state).join(Attempt).where(Attempt.stripe_id == stripe_id)
        self._seen.state = db.session.scalar(tried)
        end_read()
        return self._ask(kind, stripe_id)

    def move(self, order: Order, target: str, only_from: Iterable[str] | None = None) -> bool:
        if self._seen.state not in (only_from or states.sources(target)):
            return False
        changed_rows(update(Order).where(Order.id == order.id).values(state=target))
        db.session.refresh(order)
        return True


class Post:
    """One of the processes that tell the shop of payments: a shop of its own, over one database."""

    app: Flask
    stripe: PaidStripe

    @classmethod
    def open(cls, settings: dict[str, Any], *, is_safe: bool) -> None:
        """Make the shop of this process."""
        cls.app, cls.stripe = _shop(settings)
        if not is_safe:
            UnsafeGate()

    @classmethod
    def tell(cls, session: dict[str, Any]) -> set[int]:
        """Tell of a payment many times at once; return the statuses of the answers."""
        cls.stripe.sessions[session["id"]] = session
        calls = _messengers(cls.app, session)
        with ThreadPoolExecutor(len(calls)) as pool:
            return set(pool.map(lambda call: call(), calls))


def test_64_at_once_fulfil_each_order_once(database: str | None, tmp_path: Path) -> None:
    assert_each_is_fulfilled_once(fire(database, tmp_path, ORDERS), ORDERS)


def test_the_same_fire_shows_what_an_unsafe_gate_does(database: str | None, tmp_path: Path) -> None:
    def is_shown() -> bool:
        return any(fulfilments["paid"] > 1 for fulfilments in _fulfilments().values())

    fire(database, tmp_path, UNSAFE_ORDERS, is_safe=False, until=is_shown)


@dataclass
class Result:
    """The statuses of all answers, what was done for each order, and what it came to."""

    statuses: set[int]
    done: dict[int, Counter[str]]
    states: set[str]
    stock: int | None


def assert_each_is_fulfilled_once(result: Result, orders: int) -> None:
    """Fail unless each of so many orders was paid, told and taken from the stock once."""
    assert result.statuses <= {200, 303}
    assert [fulfilments for fulfilments in result.done.values() if fulfilments != ONCE] == []
    assert len(result.done) == orders
    assert result.states == {"paid"}
    assert result.stock == STOCK - orders


def fire(
    database: str | None,
    folder: Path,
    orders: int,
    *,
    is_safe: bool = True,
    until: Callable[[], bool] | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> Result:
    """Let the payment of each order be told 64 times at once.

    `until` is asked after each order, and must become true.
    """
    settings = {"SECRET_KEY": SECRET, "SHOP_DATA_DIR": folder, "DATABASE_URL": database}
    app, stripe = _shop(settings)
    statuses: set[int] = set()
    with app.app_context():
        write(lambda: changed_rows(update(Product).where(Product.id == MUGS).values(stock=STOCK)))
    opened = partial(Post.open, settings, is_safe=is_safe)
    with ProcessPoolExecutor(PROCESSES, get_context("spawn"), opened) as posts:
        for number in range(orders):
            progress(f"{number} of {orders} orders")
            session = _session_to_be_paid(app, stripe, late=number % LATE == 0)
            statuses.update(*posts.map(Post.tell, [session] * PROCESSES))
            if until is not None:
                with app.app_context():
                    is_shown = until()
                if is_shown:
                    break
        else:
            assert until is None, "it never came true"
    with app.app_context():
        states = set(db.session.scalars(select(Order.state)))
        result = Result(statuses, _fulfilments(), states, db.session.get_one(Product, MUGS).stock)
        db.session.remove()
        db.engine.dispose()
    return result


def _shop(settings: dict[str, Any]) -> tuple[Flask, PaidStripe]:
    app = create_app(settings | {"TESTING": True})
    app.config["PROPAGATE_EXCEPTIONS"] = False
    stripe = app.extensions["stripe_wsgi"] = PaidStripe()
    return app, stripe


def _session_to_be_paid(app: Flask, stripe: PaidStripe, *, late: bool) -> dict[str, Any]:
    """Return the session of a new order, paid at Stripe; the shop does not know yet."""
    session_id = Buyer(app).order(MUGS)["id"]
    if late:
        stripe.end(session_id, "expired", "unpaid")
        assert _deliver(app, "checkout.session.expired", stripe.sessions[session_id]) == 200
    stripe.end(session_id, "complete", "paid")
    return stripe.sessions[session_id]


def _messengers(app: Flask, session: dict[str, Any]) -> list[Callable[[], int]]:
    page = f"/payments/success?session_id={session['id']}"

    def tell(event_id: str | None) -> Callable[[], int]:
        return lambda: _deliver(app, "checkout.session.completed", session, event_id)

    calls = [tell(f"evt_{session['id']}")] * SAME
    calls += [tell(None)] * OTHERS
    calls += [lambda: Browser(app).get(page).status] * VISITS
    random.shuffle(calls)
    return calls


def _deliver(app: Flask, kind: str, session: dict[str, Any], event_id: str | None = None) -> int:
    event = {"id": event_id or f"evt_{random.getrandbits(64)}", "object": "event", "type": kind}
    body = json.dumps(event | {"data": {"object": session}})
    secret = app.config["STRIPE_WEBHOOK_SECRET"]
    signature = WebhookSignature.generate_signature_header(body, secret, int(time.time()))
    return Browser(app).post("/payments/webhook", body, Stripe_Signature=signature).status


def _fulfilments() -> dict[int, Counter[str]]:
    """Return by order how many there are of each kind of payment, timeline entry and mail."""
    done: dict[int, Counter[str]] = {}
    for table in ("ledger", "timeline", "mails"):
        column = "subject" if table == "mails" else "order_id"
        for about, kind in db.session.execute(text(f"SELECT {column}, kind FROM {table}")):
            order_id = int(str(about).removeprefix("order-"))
            if kind in ONCE:
                done.setdefault(order_id, Counter())[kind] += 1
    return done
