"""Orders in the back office."""

import csv
import io
import json
import re
from datetime import UTC, datetime

import pytest
from flask import Flask

from shop.i18n import format_moment
from shop.mail.outbox import newest
from shop.orders import queries
from shop.owner import today
from tests.actors import Answer, Browser, Buyer
from tests.conftest import Till
from tests.databases import on_all
from tests.owner.conftest import EMAIL, PASSWORD
from tests.pages import form_to
from tests.payments.test_address import HOME, kept, order_parcel, pay
from tests.payments.test_readers import pay_with
from tests.payments.test_refunds import refund_at_stripe


def test_the_owner_writes_a_missing_address_down(app: Flask, owner: Browser) -> None:
    pay_with(
        app,
        {"collected_information": None},
        order_parcel,
        lambda buyer, url: pay(buyer, url, phone="0312345678", line1="x"),
    )
    assert "missing or not complete" in owner.get("/owner/orders/1").words
    address = {**HOME, "line1": "神田1-2", "phone": ""}
    wrong = owner.submit("/owner/orders/1/address", address | {"name": ""})
    assert (wrong.status, 'value="神田1-2"' in wrong.text) == (422, True)
    assert owner.submit("/owner/orders/1/address", address).status == 303
    assert kept(app) == [address]
    page = owner.get("/owner/orders/1").words
    assert "東京都千代田区神田1-2" in page
    assert "missing or not complete" not in page
    assert "Wrote down where order 1 goes" in owner.get("/owner/account").words
    assert Browser(app).get("/owner/orders/1").status == 303


@on_all
def test_an_order_is_packed_and_sent_and_its_customer_follows_it(
    app: Flask, owner: Browser
) -> None:
    buyer = Buyer(app)
    order = order_parcel(buyer)
    pay(buyer, order["url"], line1="x", phone="0312345678")
    link = f"/orders/{order['order']}"
    assert done(buyer.get(link)) == ["Ordered"]
    assert owner.submit("/owner/orders/1/pack", {}).status == 303
    assert done(buyer.get(link)) == ["Ordered", "Packed"]
    parcel = {"carrier": " ヤマト運輸\u200b", "tracking": "1234-5678 <9>"}
    assert owner.submit("/owner/orders/1/ship", parcel).status == 303
    page = buyer.get(link)
    assert done(page) == ["Ordered", "Packed", "Sent"]
    url = "https://member.kms.kuronekoyamato.co.jp/parcel/detail?pno=1234-5678%20%3C9%3E"
    assert url in page.text
    assert "ヤマト運輸 · 1234-5678 <9>" in page.words
    with app.app_context():
        [told] = [mail for mail in newest() if mail.kind == "customer_shipped"]
    assert json.loads(told.context)["track"] == url
    for action in ("pack", "ship"):
        refused = owner.submit(f"/owner/orders/1/{action}", parcel)
        assert (refused.status, "Nothing changed" in refused.words) == (409, True)
    trail = owner.get("/owner/account").words
    for words in ("Packed order 1", "Sent order 1"):
        assert words in trail
    story = owner.get("/owner/orders/1").words
    for words in ("Packed.", "1234-5678 <9>"):
        assert f"{words} {EMAIL}" in story
    assert f"Paid. {EMAIL}" not in story


def test_only_what_is_paid_is_sent(app: Flask, owner: Browser) -> None:
    order_parcel(Buyer(app))
    for action in ("pack", "ship"):
        assert owner.submit(f"/owner/orders/1/{action}", {}).status == 409
    assert owner.submit("/owner/orders/99/ship", {}).status == 404
    with app.app_context():
        assert [mail.kind for mail in newest()] == []


def test_the_list_shows_the_newest_first_page_by_page(
    app: Flask, owner: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "No orders yet" in owner.get("/owner/orders").words
    for number in range(3):
        Buyer(app).order(1, number + 1)
    monkeypatch.setattr(queries.newest_page, "__defaults__", (None, "", "", None, 2))
    page = owner.get("/owner/orders").words
    assert page.index("Order 3") < page.index("Order 2")
    assert "Order 1" not in page
    assert "Order 1" in owner.get("/owner/orders?before=2").words


def done(page: Answer) -> list[str]:
    """Return the steps that an order has taken, as its customer sees them."""
    return re.findall(r'<li class="done">(\w+)</li>', page.text)


# --- money ----------------------------------------------------------------------------------


def bought(app: Flask) -> Buyer:
    buyer = Buyer(app)
    buyer.buy()
    return buyer


def refund(owner: Browser, **form: str) -> Answer:
    return owner.submit("/owner/orders/1/refund", {"password": PASSWORD, **form})


@on_all
def test_a_refund_goes_back_once_however_often_the_form_is_sent(app: Flask, owner: Browser) -> None:
    bought(app)
    form = form_to(owner.get("/owner/orders/1").text, "/owner/orders/1/refund")
    assert form is not None
    part = {"amount": "1,500", "key": form.fields["key"]}
    for _again in range(2):
        assert refund(owner, **part).status == 303
    assert "¥1,500 goes back to the customer." in owner.get("/owner/orders/1").words
    till = Till.mounted(app)
    assert [(one["state"], one["refunded"]) for one in till.orders()] == [
        ("partially_refunded", 1500)
    ]
    assert "Up to ¥500 can go back" in owner.get("/owner/orders/1").words
    assert refund(owner).status == 303
    assert till.orders()[0]["state"] == "refunded"
    assert sum(one["amount"] for one in till.sandbox.state["refunds"]) == 2000
    assert "Asked for a refund: 1: 1,500" in owner.get("/owner/account").words


@pytest.mark.parametrize(
    ("form", "status", "said"),
    [
        ({"amount": "2,001"}, 422, "up to ¥2,000"),
        ({"amount": "0"}, 422, "more than nothing"),
        ({"amount": "all"}, 422, "in figures"),
        ({"amount": "500", "password": "wrong"}, 422, "not your password"),
        ({"amount": "500", "key": "<>"}, 422, "64 letters"),
    ],
)
def test_a_refund_that_cannot_be_is_said_and_moves_no_money(
    app: Flask, owner: Browser, form: dict[str, str], status: int, said: str
) -> None:
    bought(app)
    answer = refund(owner, **form)
    assert answer.status == status
    assert said in answer.words
    assert f'value="{form["amount"]}"' in answer.text
    assert Till.mounted(app).sandbox.state["refunds"] == []


def test_a_refund_while_stripe_is_down_is_asked_for_once(app: Flask, owner: Browser) -> None:
    bought(app)
    till = Till.mounted(app)
    till.sandbox.api("lost", times=1)
    answer = refund(owner, amount="700", key="one-wish")
    assert (answer.status, "Nothing is refunded twice" in answer.words) == (503, True)
    assert refund(owner, amount="700", key="one-wish").status == 303
    assert [one["amount"] for one in till.sandbox.state["refunds"]] == [700]


def test_who_guesses_at_the_password_is_slowed_down(app: Flask, owner: Browser) -> None:
    bought(app)
    statuses = [refund(owner, password=f"guess {n}").status for n in range(12)]
    assert statuses[0] == 422
    assert statuses[-1] == 429


@on_all
def test_odd_money_is_taken_or_given_back(app: Flask, owner: Browser) -> None:
    for outcome, state in (("paid", "paid"), ("refunded", "refunded")):
        order = pay_with(app, {"amount_total": 1})
        number = Buyer(app).see(order["order"])["number"]
        page = owner.get(f"/owner/orders/{number}").words
        assert "You decide about this money" in page
        assert f"Order {number}: decide about" in owner.get("/owner/").words
        path = f"/owner/orders/{number}/settle"
        assert owner.submit(path, {"outcome": outcome}).status == 303
        assert Buyer(app).see(order["order"])["state"] == state
        assert owner.submit(path, {"outcome": outcome}).status == 409
        assert owner.submit(path, {"outcome": "keep"}).status == 409
    assert "This needs you first" not in owner.get("/owner/").words


def test_goods_come_back_to_the_shelf_once_if_their_owner_wants(app: Flask, owner: Browser) -> None:
    Buyer(app).buy(3, 2)
    till = Till.mounted(app)
    assert owner.submit("/owner/orders/1/restock", {}).status == 409
    refund(owner)
    assert till.stock("last-mugs") == 3
    assert owner.submit("/owner/orders/1/restock", {}).status == 303
    assert till.stock("last-mugs") == 5
    assert owner.submit("/owner/orders/1/restock", {}).status == 409
    assert till.stock("last-mugs") == 5


def test_the_story_notes_and_mails_stand_on_the_order(
    app: Flask, owner: Browser, capsys: pytest.CaptureFixture[str]
) -> None:
    bought(app)
    assert owner.submit("/owner/orders/1/note", {"text": "<b>Gift</b>\r\nwrap it"}).status == 303
    page = owner.get("/owner/orders/1")
    words = page.words
    assert words.index("Ordered.") < words.index("Paid.") < words.index("Note: <b>Gift</b>")
    assert "&lt;b&gt;Gift" in page.text
    app.test_cli_runner().invoke(args=["shop", "mail", "send"])
    capsys.readouterr()
    assert owner.submit("/owner/orders/1/resend", {"kind": "customer_paid"}).status == 303
    assert "mail to aya@example.com: Thank you for order 1" in capsys.readouterr().err
    assert owner.submit("/owner/orders/1/resend", {"kind": "nothing"}).status == 303
    assert "no such mail" in owner.get("/owner/orders/1").words


@pytest.mark.parametrize(
    ("way", "told"),
    [
        ("webhook", "by Stripe’s message"),
        ("visit", "on the customer’s visit"),
        ("office", "from the back office"),
        ("reconcile", "by the comparison with Stripe"),
    ],
)
def test_the_story_says_by_which_way_a_payment_became_known(
    app: Flask, owner: Browser, way: str, told: str
) -> None:
    if way != "webhook":
        Till.mounted(app).sandbox.webhooks("drop")
    buyer = Buyer(app)
    order = buyer.order()
    buyer.pay(order["url"])
    if way == "visit":
        buyer.see(order["order"])
    elif way == "office":
        owner.submit("/owner/orders/1/recheck", {})
    elif way == "reconcile":
        app.test_cli_runner().invoke(args=["shop", "reconcile"])
    assert f"Paid. {told}" in owner.get("/owner/orders/1").words


def test_asking_stripe_again_brings_what_no_event_told(app: Flask, owner: Browser) -> None:
    bought(app)
    till = Till.mounted(app)
    till.sandbox.webhooks("drop")
    refund_at_stripe(till, amount=600)
    assert till.orders()[0]["refunded"] == 0
    till.sandbox.api("error", times=9)
    owner.submit("/owner/orders/1/recheck", {})
    assert "does not answer" in owner.get("/owner/orders/1").words
    till.sandbox.api("ok")
    owner.submit("/owner/orders/1/recheck", {})
    assert "Stripe was asked" in owner.get("/owner/orders/1").words
    assert till.orders()[0]["refunded"] == 600
    Buyer(app).order(2)
    till.sandbox.clock(40 * 60)
    for _again in range(2):
        assert owner.submit("/owner/orders/2/recheck", {}).status == 303
    assert "nothing at Stripe" in owner.get("/owner/orders/2").words


def test_nobody_is_said_to_be_told_where_there_is_no_address(app: Flask, owner: Browser) -> None:
    order = pay_with(app, {"customer_details": None, "customer_email": None})
    assert Buyer(app).see(order["order"])["state"] == "paid"
    owner.submit("/owner/orders/1/ship", {})
    assert "Nobody is told" in owner.get("/owner/orders/1").words


def test_today_says_what_is_to_be_packed_and_what_is_nearly_gone(
    app: Flask, owner: Browser
) -> None:
    assert "Nothing waits" in owner.get("/owner/").words
    bought(app)
    page = owner.get("/owner/").words
    assert "Order 1" in page
    assert "Mug, the last ones 5 left" in page
    owner.submit("/owner/orders/1/ship", {})
    assert "Nothing waits" in owner.get("/owner/").words


def test_today_stays_short_and_leads_to_all_that_is_to_be_packed(
    app: Flask, owner: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(today, "SHOWN", 1)
    monkeypatch.setattr(queries, "PACKED_AT_ONCE", 1)
    more = "See all that waits to be packed"
    bought(app)
    assert more not in owner.get("/owner/").words
    bought(app)
    page = owner.get("/owner/").words
    assert (more in page, "Order 1" in page, "Order 2" in page) == (True, True, False)
    slips = owner.get("/owner/orders/slips").words
    assert "These are the 1 oldest" in slips
    assert "Order 2" not in slips


# --- many orders ----------------------------------------------------------------------------


def three_orders(app: Flask) -> None:
    """Order 1 is paid and goes to Chiyoda, 2 waits, 3 is paid and fetched."""
    buyer = Buyer(app)
    pay(buyer, order_parcel(buyer)["url"], line1="=1+1", phone="+81 312345678", name="花子")
    Buyer(app).order(2)
    Buyer(app).buy(3)


@on_all
@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ("", [3, 2, 1]),
        ("?state=to_pack", [3, 1]),
        ("?state=waiting", [2]),
        ("?state=sent", []),
        ("?state=nonsense", [3, 2, 1]),
        ("?q=2", [2]),
        ("?q=%23" + "3", [3]),
        ("?q=HANAKO@example", [1]),
        ("?q=mug", [3]),
        ("?q=千代田", [1]),
        ("?q=100%25", []),
        ("?state=waiting&q=hanako", []),
        ("?before=3&state=to_pack", [1]),
    ],
)
def test_orders_are_filtered_and_found(
    app: Flask, owner: Browser, query: str, numbers: list[int]
) -> None:
    three_orders(app)
    page = owner.get(f"/owner/orders{query}")
    assert [int(n) for n in re.findall(r'href="/owner/orders/(\d+)"', page.text)] == numbers


def test_the_table_has_a_row_for_each_line_and_no_formulas(app: Flask, owner: Browser) -> None:
    three_orders(app)
    answer = owner.get("/owner/orders.csv")
    assert answer.headers["Content-Type"].startswith("text/csv")
    assert answer.text.startswith("\ufeff")
    rows = list(csv.DictReader(io.StringIO(answer.text.removeprefix("\ufeff"))))
    assert [(row["number"], row["item"]) for row in rows] == [
        ("3", "Mug, the last ones"), ("3", "Pick-up in the shop"), ("2", "Linen tea towel"),
        ("2", "Pick-up in the shop"), ("1", "T-shirt"), ("1", "Parcel"),
    ]  # fmt: skip
    first = rows[4]
    assert (first["line1"], first["phone"], first["name"]) == ("'=1+1", "'+81 312345678", "花子")
    assert (first["amount"], first["tax_rate"], first["city"]) == ("2000", "10", "千代田区")
    sums: dict[str, int] = {}
    for row in rows:
        sums[row["number"]] = sums.get(row["number"], 0) + int(row["amount"])
    orders = Till.mounted(app).orders()
    assert sums == {str(one["number"]): one["amount"] for one in orders}
    filtered = owner.get("/owner/orders.csv?state=waiting").text
    assert "tea towel" in filtered
    assert "T-shirt" not in filtered


def test_many_are_packed_at_once_and_their_slips_printed(app: Flask, owner: Browser) -> None:
    three_orders(app)
    slips = owner.get("/owner/orders/slips").words
    assert "東京都千代田区=1+1" in slips
    assert "1 × Mug, the last ones" in slips
    assert "Linen tea towel" not in slips
    assert "T-shirt" in owner.get("/owner/orders/1/slip").words
    chosen = {"action": "pack", "number": ["1", "2", "3", "3", "x"]}
    for address, count in (("?state=to_pack", 0), ("?state=to_pack&chosen=all", 2)):
        page = owner.get(f"/owner/orders{address}").text
        assert len(re.findall(r'name="number" value="[13]" checked', page)) == count
    assert "state=to_pack&amp;chosen=all" in page
    answer = owner.submit("/owner/orders/bulk", chosen)
    assert answer.status == 303
    assert "Packed: 1, 3" in owner.get("/owner/orders").words
    assert owner.submit("/owner/orders/bulk", chosen | {"action": "ship"}).status == 303
    assert "On their way: 1, 3" in owner.get("/owner/orders").words


def test_a_dispute_stands_first_with_its_date_and_a_refund_with_who_made_it(
    app: Flask, owner: Browser
) -> None:
    till = Till.mounted(app)
    Buyer(app).buy()
    charge = till.sandbox.state["charges"][0]["id"]
    till.sandbox.press(f"charges/{charge}/dispute")
    due = till.sandbox.state["disputes"][0]["evidence_details"]["due_by"]
    with app.app_context():
        moment = format_moment(datetime.fromtimestamp(due, UTC))
    today = owner.get("/owner/").words
    assert "Order 1 is disputed (¥2,000)" in today
    assert f"by {moment}" in today
    page = owner.get("/owner/orders/1").words
    assert "bank disputes ¥2,000 of this order" in page
    assert f"in your Stripe dashboard by {moment}" in page
    assert "Order 1" in owner.get("/owner/orders?state=needs_me").words
    assert "\n1," in owner.get("/owner/orders.csv?state=needs_me").text
    till.sandbox.press(f"disputes/{till.sandbox.state['disputes'][0]['id']}/close", outcome="won")
    assert "No order is like that" in owner.get("/owner/orders?state=needs_me").words
    Buyer(app).buy()
    form = {"amount": "500", "password": PASSWORD, "key": "k" * 22}
    assert owner.submit("/owner/orders/2/refund", form).status == 303
    assert f"¥500 went back to the customer. {EMAIL}" in owner.get("/owner/orders/2").words
    # What was refunded in Stripe's dashboard was nobody's doing here.
    refund_at_stripe(till, amount=300)
    assert owner.submit("/owner/orders/2/recheck", {}).status == 303
    story = owner.get("/owner/orders/2").words
    assert "¥300 went back to the customer." in story
    assert story.count(EMAIL) == 1


def test_a_table_of_parcel_numbers_sends_what_is_ready(app: Flask, owner: Browser) -> None:
    Buyer(app).buy()
    Buyer(app).buy(2)
    Buyer(app).order(4)
    form = owner.get("/owner/orders/tracking?form=csv").text
    assert form.splitlines()[0] == "\ufeffnumber,customer,carrier,tracking"
    assert len(form.splitlines()) == 3
    table = (
        "お客様管理番号;伝票番号;配送会社\r\n1;1234-5678;ヤマト運輸\r\n2;;\r\n3;99;DHL\r\nx;1;\r\n"
    )
    for data, said in ((b"", "needs the columns"), (b"\xff\x00\x81", "no table")):
        refused = owner.submit("/owner/orders/tracking", {"file": (io.BytesIO(data), "a.csv")})
        assert (refused.status, said in refused.words) == (422, True)
    file = io.BytesIO(table.encode("cp932"))
    done = owner.submit("/owner/orders/tracking", {"file": (file, "a.csv")})
    assert done.status == 200
    assert "1 order is on its way" in done.words
    for number in (3, 0):
        assert f"Order {number}:" in done.words
    assert "ヤマト運輸 · 1234-5678" in owner.get("/owner/orders/1").words
    assert "To be packed" in owner.get("/owner/orders?state=to_pack").words
    with app.app_context():
        assert [mail.kind for mail in newest()].count("customer_shipped") == 1
        assert queries.find_by_number(2).shipped_at is None
