"""What came in and went back, and whether it agrees with Stripe: the same sums everywhere."""

import csv
import io
from collections.abc import Callable
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from flask import Flask
from sqlalchemy import text

from shop import spreadsheet
from shop.db import db
from shop.orders import takings
from shop.payments import disputes
from tests.actors import Browser, Buyer
from tests.conftest import Till
from tests.databases import on_all
from tests.owner.conftest import sign_in
from tests.payments.test_refunds import FAILS_LATER, refund


def days(app: Flask) -> dict[date, takings.Sums]:
    with app.app_context():
        return {
            day: sums
            for day, sums in takings.by_day(30, disputes.losses(order_ids=range(1, 20))).items()
            if sums.payments or sums.refunds or sums.losses
        }


def months(owner: Browser) -> list[dict[str, str]]:
    answer = owner.get("/owner/books/months.csv")
    assert answer.text.startswith("\ufeff")
    return list(csv.DictReader(io.StringIO(answer.text.removeprefix("\ufeff"))))


@on_all
def test_picture_months_ledger_and_stripe_have_the_same_sums(
    till: Till, make_owner: Callable[..., None]
) -> None:
    make_owner()  # over the same database, in whatever mode
    owner = Browser(till.app)
    sign_in(owner)
    with till.app.app_context(), db.engine.begin() as connection:
        connection.execute(text("UPDATE products SET tax_rate = 800 WHERE id = 2"))
    buyer = till.buyer()
    for product_id in (1, 2):
        buyer.submit("/cart/items", {"product_id": product_id, "quantity": 1})
    mixed = dict(buyer.submit("/payments/session", {}, Accept="application/json").json)
    buyer.pay(mixed["url"])
    till.buyer().buy(1, 2)
    lost, back = (till.buyer().order() for _ in range(2))
    till.buyer().pay(lost["url"])
    till.buyer().pay(back["url"], FAILS_LATER)
    for number, minor in ((1, "1001"), (2, "4000"), (4, "500")):
        assert refund(till.app, number, "--amount", minor).exit_code == 0
    till.sandbox.clock(60)  # the refund of the fourth order comes back
    charge = till.sandbox.state["charges"][1]["id"]
    till.sandbox.press(f"charges/{charge}/dispute")
    dispute = till.sandbox.state["disputes"][0]["id"]
    till.sandbox.press(f"disputes/{dispute}/close", outcome="lost")

    state = till.sandbox.state
    taken = sum(charge["amount"] for charge in state["charges"] if charge["paid"])
    went = sum(one["amount"] for one in state["refunds"] if one["status"] == "succeeded")
    gone = sum(one["amount"] for one in state["disputes"] if one["status"] == "lost")
    assert (went, gone) == (5001, 2000)
    [sums] = days(till.app).values()
    assert (sums.payments, sums.refunds, sums.losses) == (taken, went, gone)
    rows = months(owner)
    assert {row["tax_rate"] for row in rows} == {"10", "8"}
    for column, whole in (
        ("payments", taken), ("refunds", went), ("lost_disputes", gone), ("kept", sums.kept)
    ):  # fmt: skip
        assert sum(int(row[column]) for row in rows) == whole, column
    eight = next(row for row in rows if row["tax_rate"] == "8")
    # 1 200 of 3 200 yen are at 8 %, and so is as much of the 1 001 that went back.
    assert (eight["payments"], eight["refunds"]) == ("1200", "375")
    assert eight["tax_in_it"] == str(round(825 * 8 / 108))
    page = owner.get("/owner/").words
    assert f"Takings of 30 days ¥{sums.kept:,}" in page
    assert f"−¥{gone:,}" in page or f"-¥{gone:,}" in page


def test_what_is_below_zero_is_a_number_and_no_formula() -> None:
    assert spreadsheet.line(("-500", "-12.50", "-1+1", "-", "+5")) == "-500,-12.50,'-1+1,'-,'+5\r\n"


def test_days_are_the_shops_own_and_other_modes_do_not_count(app: Flask, owner: Browser) -> None:
    for _ in range(4):
        Buyer(app).buy()
    today = datetime.now(ZoneInfo("Asia/Tokyo")).date()
    before = today - timedelta(days=2)
    moments = {
        1: f"{before - timedelta(days=1)} 15:00:00",  # midnight in Tokyo
        2: f"{before} 14:59:59",
        3: f"{before} 15:00:00",
    }
    with app.app_context(), db.engine.begin() as connection:
        for order_id, moment in moments.items():
            statement = (
                f"UPDATE ledger SET created_at = '{moment}.000000' WHERE order_id = {order_id}"
            )
            connection.execute(text(statement))
        connection.execute(text("UPDATE orders SET mode = 'test' WHERE id = 4"))
    found = {day: sums.payments for day, sums in days(app).items()}
    assert found == {before: 4000, before + timedelta(days=1): 2000}
    assert "Takings of 30 days ¥6,000" in owner.get("/owner/").words


def test_it_says_what_agrees_what_differs_and_that_nothing_was_compared(
    app: Flask, owner: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    till = Till.mounted(app)
    paid = Buyer(app).buy()
    assert "The books were not compared with Stripe’s yet" in owner.get("/owner/").words
    assert owner.submit("/owner/books", {}).status == 303
    for page in ("/owner/", "/owner/books"):
        assert "1 payment agrees with Stripe, checked" in owner.get(page).words
    # Another order is paid, whose payment is then lost here, as if a backup had been restored.
    Buyer(app).buy()
    with app.app_context(), db.engine.begin() as connection:
        for table in ("ledger", "timeline", "attempts", "order_lines"):
            connection.execute(text(f"DELETE FROM {table} WHERE order_id = 2"))
        connection.execute(text("DELETE FROM orders WHERE id = 2"))
    # What an owner refunds at Stripe while no message comes is put right.
    till.sandbox.webhooks("drop")
    till.sandbox.call("refunds", charge=till.sandbox.state["charges"][1]["id"])
    assert owner.submit("/owner/books", {}).status == 303
    assert Buyer(app).see(paid)["state"] == "refunded"
    page = owner.get("/owner/books").words
    assert "1 thing differs from Stripe’s books, checked" in page
    assert "Stripe has a payment that is not here" in page
    assert "order 2" in page
    books = owner.get("/owner/books", Accept="application/json").json
    assert (books["agreed"], [row["kind"] for row in books["mismatches"]]) == (1, ["missing_here"])
    # While Stripe is away the page keeps what was found, and says so.
    till.sandbox.api("error")
    answer = owner.submit("/owner/books", {})
    assert answer.status == 303
    page = owner.get("/owner/books").words
    assert "Stripe did not answer all in time" in page
    assert "1 thing differs" in page
