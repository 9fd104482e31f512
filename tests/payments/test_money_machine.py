"""Whatever happens in whatever order, both books say the same, and nothing paid becomes unpaid.

A machine that buys, pays, returns, refunds and disputes at random walks the shop and the sandbox
while events and answers are lost, doubled, delayed and reordered and both clocks move.
"""

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import time_machine
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import text

from shop import create_app
from shop.db import db
from shop.orders.states import ORDERED, SETTLED, state_by_sums
from tests import databases
from tests.actors import Buyer, Switches
from tests.databases import SECRET
from tests.wire import Wire

CARDS = ("4242424242424242", "4000000000000002", "4000000000005126", "4000000000007726")
SLIPS = ("succeed_immediately", "expire_immediately", "fill_never", "aya", "expire_with_delay")
TOKENS = ("tok_visa", "tok_chargeDeclined", "tok_refundFail", "tok_threeDSecure2Required")
WEATHER = ("refuse", "rate_limit", "error", "garbage", "lost")
SPANS = (60, 200, 2400, 90_000)
MUGS, MUG_STOCK = 3, 5
LIES: tuple[dict[str, Any], ...] = (
    {"client_reference_id": "somebody else's"},
    {"currency": "usd"},
    {"livemode": True},
)
ANY = st.integers(0, 9)
COUNT = st.integers(1, 3)


class Visitor(Buyer):
    """A buyer who asks for a form's token once."""

    @cache  # noqa: B019 — gone with the machine
    def token(self) -> str:
        return super().token()


class Money(RuleBasedStateMachine):
    """The shop over one database, its sandbox, and what was seen of both."""

    kind = "sqlite"
    filled: Path
    walks: Iterator[int]
    progress: Callable[[str], None]
    orders = Bundle("orders")

    def open_shop(self) -> None:
        self.progress(f"walk {next(self.walks)}")
        self.folder = Path(tempfile.mkdtemp(dir=self.filled.parent))
        self.clock = time_machine.travel(datetime(2026, 11, 25, tzinfo=UTC), tick=True)
        self.time = self.clock.start()
        url = databases.fresh(self.kind, self.folder, self.filled)
        given = {"SECRET_KEY": SECRET, "SHOP_DATA_DIR": self.folder, "DATABASE_URL": url}
        self.app = create_app({**given, "SHOP_LEGACY_CHARGE": "on"})
        self.app.config["PROPAGATE_EXCEPTIONS"] = False
        self.wire = Wire(self.app)
        self.buyers = [Visitor(self.app), Visitor(self.app)]
        self.sandbox = Switches(Visitor(self.app), "http://127.0.0.1:5000/sandbox")
        self.ever_ordered: set[int] = set()

    # --- what people do ---------------------------------------------------------------------

    @initialize(target=orders, number=st.sampled_from(CARDS), slip=st.sampled_from(SLIPS))
    def begin_with_orders(self, number: str, slip: str) -> Any:
        self.open_shop()
        first, second = (self._begin(who, {"product_id": MUGS, "quantity": 1}) for who in (0, 1))
        self.pay(first, number)
        self.take_slip(second, slip)
        return multiple(first, second)

    @rule(target=orders, who=st.integers(0, 1), product=st.sampled_from([1, MUGS]), count=COUNT)
    def buy(self, who: int, product: int, count: int) -> Any:
        order = self._begin(who, {"product_id": product, "quantity": count})
        return order or multiple()

    @rule(target=orders, who=st.integers(0, 1), product=st.sampled_from([1, MUGS]), count=COUNT)
    def buy_cart(self, who: int, product: int, count: int) -> Any:
        fields = {"product_id": product, "quantity": count}
        self._check(self.buyers[who].submit("/cart/items", fields))
        return self._begin(who, {}) or multiple()

    @rule(target=orders, who=st.integers(0, 1), number=st.sampled_from(CARDS), count=COUNT)
    def buy_and_pay(self, who: int, number: str, count: int) -> Any:
        order = self._begin(who, {"product_id": 1, "quantity": count})
        if order:
            self.pay(order, number)
        return order or multiple()

    def _begin(self, who: int, form: dict[str, Any]) -> Any:
        answer = self.buyers[who].submit("/payments/session", form, Accept="application/json")
        self._check(answer)
        return answer.json | {"who": who} if answer.status == 201 else None

    @rule(order=orders, number=st.sampled_from(CARDS))
    def pay(self, order: dict[str, Any], number: str) -> None:
        self._check(self._of(order).pay(order["url"], number))

    @rule(which=ANY, number=st.sampled_from(CARDS))
    def pay_what_the_shop_may_not_know(self, which: int, number: str) -> None:
        open_ones = [s for s in self.sandbox.state["sessions"] if s["status"] == "open"]
        if open_ones:
            self._check(self.buyers[0].pay(open_ones[which % len(open_ones)]["url"], number))

    @rule(order=orders, email=st.sampled_from(SLIPS))
    def take_slip(self, order: dict[str, Any], email: str) -> None:
        slip = {"email": f"{email}@example.com", "method": "konbini"}
        self._check(self._of(order).post(order["url"], slip))

    @rule(order=orders, card=st.sampled_from(TOKENS))
    def charge(self, order: dict[str, Any], card: str) -> None:
        form = {"order": order["order"], "stripeToken": card, "email": "aya@example.com"}
        self._check(self._of(order).submit("/payments/charge", form))

    @rule(order=orders, way=st.sampled_from(["come back", "look", "try again"]))
    def visit(self, order: dict[str, Any], way: str) -> None:
        buyer, token = self._of(order), order["order"]
        if way == "come back":
            self._check(buyer.get(f"/payments/success?session_id={order['id']}"))
        elif way == "look":
            self._check(buyer.get(f"/orders/{token}"))
        else:
            self._check(buyer.submit("/payments/session", {"order": token}))

    # --- what the owner does ----------------------------------------------------------------

    @rule(which=ANY, part=st.sampled_from([None, 300, 1000]))
    def refund(self, which: int, part: int | None) -> None:
        number = self._number(which, SETTLED)
        self._run("refund", number, "--yes", *(["--amount", str(part)] if part else []))

    @rule(which=ANY, outcome=st.sampled_from(["paid", "refunded"]))
    def decide(self, which: int, outcome: str) -> None:
        self._run("decide", self._number(which, ("needs_review",)), outcome, "--yes")

    @rule(dry=st.booleans())
    def reconcile(self, dry: bool) -> None:
        self._run("reconcile", "--json", *(["--dry-run"] if dry else []))

    @rule(which=ANY, part=st.sampled_from([None, 300, 1000]))
    def refund_at_stripe(self, which: int, part: int | None) -> None:
        self._press("charges", which, "refund", **({"amount": part} if part else {}))

    @rule(which=ANY)
    def fail_refund(self, which: int) -> None:
        self._press("refunds", which, "fail")

    @rule(which=ANY)
    def dispute(self, which: int) -> None:
        self._press("charges", which, "dispute")

    @rule(which=ANY, outcome=st.sampled_from(["won", "lost"]))
    def close_dispute(self, which: int, outcome: str) -> None:
        self._press("disputes", which, "close", outcome=outcome)

    # --- what goes wrong --------------------------------------------------------------------

    @rule(mode=st.sampled_from(["deliver", "drop", "duplicate", "delay", "reorder"]))
    def events(self, mode: str) -> None:
        self._switch("webhooks", mode=mode)

    @rule(mode=st.sampled_from(WEATHER), times=st.integers(1, 3))
    def weather(self, mode: str, times: int) -> None:
        self._switch("api", mode=mode, times=times)

    @rule(which=ANY)
    def resend(self, which: int) -> None:
        self._press("events", which, "resend")

    @rule(lie=st.sampled_from(LIES))
    def lie_once(self, lie: dict[str, Any]) -> None:
        def change(answer: dict[str, Any]) -> dict[str, Any]:
            if answer.get("object") != "checkout.session" or answer["payment_status"] != "paid":
                return answer
            self.wire.change = lambda answer: answer
            return answer | lie

        self.wire.change = change

    @rule(seconds=st.sampled_from(SPANS), whose=st.sampled_from(["Stripe's", "everybody's"]))
    def time_passes(self, seconds: int, whose: str) -> None:
        if whose == "Stripe's":
            self._switch("clock", advance=seconds)
        else:
            self.time.shift(timedelta(seconds=seconds))

    # --- what always holds ------------------------------------------------------------------

    @invariant()
    def nothing_ordered_becomes_unordered(self) -> None:
        if not hasattr(self, "app"):
            return
        for order_id, state in self._rows("SELECT id, state FROM orders"):
            if state in (*SETTLED, "needs_review"):
                self.ever_ordered.add(order_id)
            assert order_id not in self.ever_ordered or state in ORDERED[1:], (order_id, state)

    @invariant()
    def no_goods_are_made_or_lost(self) -> None:
        if not hasattr(self, "app"):
            return
        held = self._rows(
            "SELECT coalesce(sum(quantity), 0) FROM order_lines JOIN orders ON"
            " orders.id = order_id WHERE holds_stock = true AND product_id = 3"
        )[0][0]
        left = self._rows("SELECT stock FROM products WHERE id = 3")[0][0]
        assert left + held == MUG_STOCK

    def teardown(self) -> None:
        if not hasattr(self, "app"):
            return
        try:
            self._heal()
            self._compare_books()
        finally:
            self.clock.stop()
            with self.app.app_context():
                db.session.remove()
                db.engine.dispose()
            shutil.rmtree(self.folder)

    def _heal(self) -> None:
        """Let Stripe answer again, and a shop that hears no events ask about everything."""
        self.wire.change = lambda answer: answer
        self._switch("api", mode="ok")
        self._run("reconcile", "--json")
        self._run("reconcile", "--json")
        report = json.loads(self._run("reconcile", "--json"))
        assert (report["settled"], report["mismatches"]) == (0, []), report

    def _compare_books(self) -> None:
        charges = [c for c in self.sandbox.state["charges"] if c["status"] == "succeeded"]
        for order_id, uid, amount, state in self._rows(
            "SELECT id, client_reference, amount, state FROM orders"
        ):
            mine = [c for c in charges if c["metadata"].get("order") == uid]
            assert len(mine) <= 1, "an order was charged twice"
            paid, refunded, asked = self._ledger(order_id)
            assert paid == sum(c["amount"] for c in mine), (order_id, state, mine)
            assert refunded == sum(c["amount_refunded"] for c in mine), (order_id, state, mine)
            assert asked == 0
            if not mine:
                assert state in ("pending", "awaiting_payment", "cancelled"), (order_id, state)
            elif state != "needs_review":
                assert state == state_by_sums(amount, paid, refunded), (order_id, paid, refunded)
        ours = self._rows("SELECT stripe_id, state FROM disputes ORDER BY stripe_id")
        theirs = sorted((d["id"], d["status"]) for d in self.sandbox.state["disputes"])
        assert [tuple(row) for row in ours] == theirs
        told = self._rows(
            "SELECT order_id, count(*) FROM timeline WHERE kind = 'paid' GROUP BY order_id"
        )
        assert {count for _, count in told} <= {1}

    def _ledger(self, order_id: int) -> tuple[int, int, int]:
        rows = self._rows(f"SELECT kind, state, amount FROM ledger WHERE order_id = {order_id}")
        paid = sum(amount for kind, _, amount in rows if kind == "payment")
        counted = ("pending", "succeeded")
        refunded = sum(a for kind, state, a in rows if kind == "refund" and state in counted)
        asked = sum(amount for _, state, amount in rows if state == "asked")
        return paid, refunded, asked

    # --- how it is done ---------------------------------------------------------------------

    def _number(self, which: int, states: tuple[str, ...]) -> str:
        """Return the number of an order in one of these states; of any where there is none."""
        rows = self._rows("SELECT id, state FROM orders ORDER BY id")
        found = [order_id for order_id, state in rows if state in states] or [1 + which]
        return str(found[which % len(found)])

    def _of(self, order: dict[str, Any]) -> Visitor:
        return self.buyers[order["who"]]

    def _check(self, answer: Any) -> None:
        assert answer.status < 500 or answer.status == 503, answer.words

    def _run(self, *arguments: str) -> str:
        done = self.app.test_cli_runner().invoke(args=["shop", *arguments])
        refused = done.exit_code == 1 and "Error: " in done.output
        assert done.exit_code == 0 or refused, (arguments, done.output, done.exception)
        return str(done.stdout)

    def _switch(self, name: str, **fields: Any) -> None:
        answer = self.buyers[0].post(f"/sandbox/control/{name}", fields, Accept="application/json")
        assert answer.status == 200, answer.text

    def _press(self, kind: str, which: int, action: str, **fields: Any) -> None:
        """Press a button beside one of the sandbox's objects; some it refuses, rightly."""
        found = self.sandbox.state[kind]
        if found:
            name = f"/sandbox/control/{kind}/{found[which % len(found)]['id']}/{action}"
            answer = self.buyers[0].post(name, fields, Accept="application/json")
            assert answer.status in (200, 409, 422), answer.text

    def _rows(self, query: str) -> list[Any]:
        with self.app.app_context():
            rows = list(db.session.execute(text(query)).all())
            db.session.rollback()
        return rows


@pytest.mark.long
@pytest.mark.parametrize(("kind", "walks"), [("sqlite", 12), ("postgresql", 4), ("mariadb", 4)])
def test_the_books_agree(kind: str, walks: int, filled_database: Path) -> None:
    walk(kind, walks, 0, filled_database)


def walk(
    kind: str,
    walks: int,
    part: int,
    filled_database: Path,
    progress: Callable[[str], None] = lambda line: None,
) -> None:
    """Let the machine walk so often, 30 steps each time; every part walks elsewhere."""
    told = {"kind": kind, "filled": filled_database, "progress": staticmethod(progress)}
    run_state_machine_as_test(
        seed(part)(type("Walk", (Money,), told | {"walks": count(1)})),
        settings=settings(
            max_examples=walks,
            stateful_step_count=30,
            deadline=None,
            database=None,
            print_blob=False,
            suppress_health_check=list(HealthCheck),
        ),
    )
