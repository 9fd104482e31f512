"""`flask shop …` for a person: tables that stand straight, stories, and refusals in one line."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import Result
from flask import Flask
from sqlalchemy import update

from shop.catalog.models import Product
from shop.cli import shop as commands
from shop.db import changed_rows, write
from shop.orders.models import LedgerEntry, Order
from shop.orders.states import TRANSITIONS
from shop.terminal import STATES
from tests import databases
from tests.actors import Buyer
from tests.conftest import Till
from tests.payments.test_refunds import refund_at_stripe
from tests.payments.test_review import odd_order

JAPANESE = "綿のふきん 青"


def wide(text: str) -> int:
    """Return how many places a terminal gives to a text of these tests."""
    return sum(0 if char == "\u0301" else 2 if char >= "\u2e80" else 1 for char in text)


def run(app: Flask, *arguments: str, given: str | None = None) -> Result:
    return app.test_cli_runner().invoke(args=["shop", *arguments], input=given)


def say(app: Flask, *arguments: str, given: str | None = None) -> str:
    result = run(app, *arguments, given=given)
    assert result.exit_code == 0, result.output
    return str(result.output)


def change(app: Flask, model: Any, number: int, **values: Any) -> None:
    with app.app_context():
        write(lambda: changed_rows(update(model).where(model.id == number).values(**values)))


def columns(app: Flask, *arguments: str) -> list[dict[str, str]]:
    """Return the rows of `orders`, cut where the words of its header begin and end."""
    header, *rows = say(app, "orders", *arguments).splitlines()
    starts = [match.start() for match in re.finditer(r"\S+", header)]
    names = header.split()
    found = []
    for row in rows:
        cells: dict[str, str] = dict.fromkeys(names, "")
        place = 0
        for part in re.split(r"( {2,})", row.rstrip()):
            end = place + wide(part)
            if part.strip():
                near = [n for n, s in zip(names, starts, strict=True)
                        if s == place or s + len(n) == end]  # fmt: skip
                assert near, (header, row)
                cells[near[0]] = part
            place = end
        found.append(cells)
    return found


def test_the_orders_stand_straight_whatever_is_in_them(app: Flask) -> None:
    change(app, Product, 2, name=f"{JAPANESE}\x1b[31m")
    for product, quantity in ((1, 2), (2, 1), (4, 1)):
        Buyer(app).buy(product, quantity)
    change(app, Order, 2, email="é\u0301tienne@例え.jp")
    run(app, "refund", "3", "--amount", "100", "--yes")
    run(app, "ship", "1")
    assert say(app, "orders").splitlines()[0].split() == [
        "Number", "Date", "State", "Customer", "Goods", "Amount", "Refunded", "Marks"
    ]  # fmt: skip
    rows = {row["Number"].strip(): row for row in columns(app)}
    assert rows["1"] | {"Date": ""} == {
        "Number": "1", "Date": "", "State": "paid", "Customer": "aya@example.com",
        "Goods": "2 x T-shirt", "Amount": "¥4,000", "Refunded": "", "Marks": "shipped",
    }  # fmt: skip
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", rows["1"]["Date"])
    assert rows["2"]["Goods"] == f"1 x {JAPANESE} [31m"
    assert (rows["3"]["State"], rows["3"]["Refunded"]) == ("partly refunded", "¥100")
    assert rows["3"]["Marks"] == "to be shipped"


def test_long_goods_are_cut(app: Flask) -> None:
    change(app, Product, 1, name="綿" * 50)
    Buyer(app).buy()
    (row,) = columns(app)
    assert row["Goods"].endswith("綿...")
    assert wide(row["Goods"]) <= 40


def test_what_needs_the_owner_stands_first(app: Flask) -> None:
    for paid in (True, False, True, True, True):
        buyer = Buyer(app)
        buyer.buy() if paid else buyer.order()
    run(app, "ship", "1")
    change(app, Order, 5, state="needs_review")
    sandbox = Till.mounted(app).sandbox
    disputed = next(one for one in sandbox.state["charges"] if one["metadata"]["number"] == "4")
    sandbox.press(f"charges/{disputed['id']}/dispute")
    rows = columns(app)
    assert [row["Number"] for row in rows] == ["4", "5", "3", "1", "2"]
    assert rows[0]["Marks"] == "disputed: answer the bank, to be shipped"
    assert rows[1]["State"] == "needs your decision"
    assert rows[4]["State"] == "not paid yet"
    listed = json.loads(say(app, "orders", "--json"))
    assert [row["number"] for row in listed] == [1, 2, 3, 4, 5]
    sandbox.press(f"disputes/{sandbox.state['disputes'][0]['id']}/close", outcome="lost")
    assert [row["Marks"] for row in columns(app) if row["Number"] == "4"] == [
        "dispute lost, to be shipped"
    ]
    assert "dispute  ¥2,000  lost, fraudulent" in say(app, "orders", "4")


def test_every_amount_is_told_in_its_own_currency(app: Flask) -> None:
    till = odd_order(app, {"currency": "usd", "amount_total": 1398})
    asked = run(app, "decide", "1", "refunded", given="n\n").output
    assert "all the money of order 1, $13.98?" in asked
    assert "Take $13.98 as payment of order 1, which costs ¥1,800" in run(
        app, "decide", "1", "paid", given="n\n"
    ).output.replace("\xa0", " ")
    assert (
        "Refund all that is left, $13.98, of order 1?"
        in run(app, "refund", "1", given="n\n").output
    )
    assert "Refund $5.00 of order 1?" in run(app, "refund", "1", "--amount", "500").output
    assert "$13.98" in say(app, "orders", "1")
    assert till.orders()[0]["state"] == "needs_review"


def test_the_books_differ_in_the_moneys_own_currency(app: Flask) -> None:
    Buyer(app).buy()
    change(app, LedgerEntry, 1, amount=1398)
    assert "paid ¥1,398 here, ¥2,000 at Stripe" in say(app, "reconcile", "--dry-run")
    change(app, LedgerEntry, 1, amount=2000)
    refund_at_stripe(Till.mounted(app), amount=300)
    run(app, "refund", "1", "--amount", "500", "--yes")
    change(app, LedgerEntry, 2, state="failed")
    said = say(app, "reconcile", "--dry-run")
    assert "refunded ¥500 here, ¥800 at Stripe" in said
    assert "minor units" not in said


def test_an_order_tells_its_story(app: Flask) -> None:
    buyer = Buyer(app)
    token = buyer.buy(1, 2)
    run(app, "refund", "1", "--amount", "500", "--yes")
    run(app, "ship", "1")
    story = say(app, "orders", "1")
    payment, back = Till.mounted(app).sandbox.state["charges"][0]["payment_intent"], "¥500  done"
    for part in (
        "Order 1 (sandbox): partly refunded, shipped on ", "by aya@example.com", "2 x  T-shirt",
        "¥4,000", payment, back, "  ordered (visit)\n", "  paid (webhook)\n",
        "  refunded (flask shop)\n", "  shipped (flask shop)\n",
        "customer_paid", "customer_shipped", f"http://127.0.0.1:5000/orders/{token}",
    ):  # fmt: skip
        assert part in story, part
    waiting = Buyer(app)
    waiting.order()
    assert "No money has moved." in say(app, "orders", "2")
    assert [row["number"] for row in json.loads(say(app, "orders", "2", "--json"))] == [2]


def test_an_order_of_another_mode_is_shown_but_not_touched(
    make_app: Callable[..., Flask], app: Flask
) -> None:
    Buyer(app).buy()
    live = make_app(STRIPE_SECRET_KEY="sk_test_x", STRIPE_WEBHOOK_SECRET="whsec_of_the_shop")
    (row,) = columns(live)
    assert row["Marks"] == "to be shipped, sandbox"
    assert "Order 1 (sandbox)" in say(live, "orders", "1")
    for command in (("ship", "1"), ("refund", "1", "--yes"), ("decide", "1", "paid")):
        result = run(live, *command)
        assert result.exit_code == 1
        assert "cannot find this order" in result.output


def test_shipping_says_what_is_known(app: Flask) -> None:
    Buyer(app).buy(1, 2)
    Buyer(app).order()
    assert say(app, "ship", "1") == (
        "Order 1 is shipped: 2 x T-shirt. A mail to aya@example.com is in the outbox.\n"
    )
    assert re.search(r"was shipped on \w+ .*Nothing changed", run(app, "ship", "1").output)
    assert "not paid yet" in run(app, "ship", "2").output
    Buyer(app).buy()
    change(app, Order, 3, email=None)
    assert "Nobody is told" in say(app, "ship", "3")


def test_every_state_has_words() -> None:
    assert set(STATES) == set(TRANSITIONS)


def test_an_empty_shop_says_so(app: Flask) -> None:
    assert say(app, "orders").splitlines()[1:] == ["Nothing here yet."]
    assert say(app, "mail", "list").splitlines()[1:] == ["Nothing here yet."]
    assert json.loads(say(app, "orders", "--json")) == []


@pytest.mark.parametrize(
    ("typed", "status", "part"),
    [
        (("orders", "--state", "nonsense"), 2, "'pending', 'awaiting_payment', 'paid'"),
        (("orders", "seven"), 2, "'seven' is not a valid integer"),
        (("orders", "7"), 1, "flask shop orders"),
        (("orders", "9" * 30), 1, "flask shop orders"),
        (("orders", "7", "--state", "paid"), 2, "not both"),
        (("refund",), 2, "Missing argument 'NUMBER'"),
        (("refund", "1", "--amount", "5.00"), 2, "'5.00'"),
        (("decide", "1", "maybe"), 2, "'paid', 'refunded'"),
        (("ship", "1", "2"), 2, "unexpected extra argument"),
        (("mail", "forget"), 2, "No such command 'forget'"),
        (("mail", "list", "--all"), 2, "No such option '--all'"),
        (("forget",), 2, "No such command 'forget'"),
        (("--all",), 2, "No such option '--all'"),
    ],
)
def test_what_is_typed_wrong_is_told_in_one_line(
    app: Flask, typed: tuple[str, ...], status: int, part: str
) -> None:
    result = run(app, *typed)
    assert (result.exit_code, len(result.output.splitlines())) == (status, 1), result.output
    assert part in result.output


@pytest.mark.parametrize("kind", databases.ALL)
def test_a_database_without_tables_is_told_in_one_line(
    make_app: Callable[..., Flask], worker: str, kind: str, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/empty.sqlite3"
    if kind != "sqlite":
        url = databases.empty(kind, f"{worker}_bare")
    result = run(make_app(DATABASE_URL=url), "orders")
    assert (result.exit_code, len(result.output.splitlines())) == (1, 1), result.output
    assert "flask shop init" in result.output


def test_a_file_that_cannot_be_opened_is_told_in_one_line(make_app: Callable[..., Flask]) -> None:
    result = run(make_app(DATABASE_URL="sqlite:////dev/null/nowhere.sqlite3"), "orders")
    assert (result.exit_code, len(result.output.splitlines())) == (1, 1)
    assert "SHOP_DATA_DIR" in result.output


def all_commands(group: click.Group) -> list[click.Command]:
    own = [one for one in group.commands.values() if not isinstance(one, click.Group)]
    inner = [one for one in group.commands.values() if isinstance(one, click.Group)]
    return own + [one for part in inner for one in all_commands(part)]


@pytest.mark.parametrize("command", all_commands(commands), ids=lambda one: str(one.name))
def test_every_command_says_what_it_does_and_when_one_needs_it(command: click.Command) -> None:
    what, _, when = (command.help or "").strip().partition("\n\n")
    assert what.strip().endswith(".")
    assert when.strip().endswith(".")
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help
