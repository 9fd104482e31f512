"""However a payment becomes known, it is settled once; and what was not paid is never settled."""

import json
import random
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from flask import Flask
from stripe import WebhookSignature

from tests.actors import DECLINED, Browser, Buyer
from tests.conftest import Till
from tests.databases import each_row_both_ways, on_all, on_sqlite, on_two
from tests.wire import Wire

ONCE = ["customer_paid", "staff_new_order"]

pytestmark = on_two


def kinds(till: Till) -> list[str]:
    return [mail["kind"] for mail in till.mails()]


def test_the_webhook_alone_settles(till: Till) -> None:
    buyer = till.buyer()
    order = buyer.order()
    buyer.pay(order["url"])
    assert till.orders()[0]["state"] == "paid"
    assert kinds(till) == ONCE


def test_the_success_page_alone_settles(till: Till) -> None:
    till.sandbox.webhooks("drop")
    buyer = till.buyer()
    token = buyer.buy()
    assert buyer.see(token)["state"] == "paid"
    assert kinds(till) == ONCE


def test_the_order_page_alone_settles(till: Till) -> None:
    till.sandbox.webhooks("drop")
    buyer = till.buyer()
    order = buyer.order()
    buyer.pay(order["url"])
    assert till.orders()[0]["state"] == "pending"
    assert buyer.see(order["order"])["state"] == "paid"
    assert kinds(till) == ONCE


@each_row_both_ways
@pytest.mark.parametrize("mode", ["duplicate", "reorder", "delay"])
def test_events_in_any_number_and_order_settle_once(till: Till, mode: str) -> None:
    till.sandbox.webhooks(mode)
    buyer = till.buyer()
    token = buyer.buy()
    till.sandbox.webhooks("deliver")
    till.sandbox.clock(3600)
    for event in till.sandbox.events("checkout.session.completed") * 3:
        till.sandbox.resend(event["id"])
    assert buyer.see(token)["state"] == "paid"
    assert kinds(till) == ONCE


def test_a_late_expiry_does_not_unpay(till: Till) -> None:
    buyer = till.buyer()
    token = buyer.buy()
    till.sandbox.clock(3600)
    assert buyer.see(token)["state"] == "paid"


@on_all
@pytest.mark.parametrize(
    "older",
    [
        {"status": "open", "payment_status": "unpaid"},
        {"status": "expired", "payment_status": "unpaid"},
        {"status": "complete", "payment_status": "unpaid"},
    ],
)
def test_an_answer_that_was_overtaken_by_the_payment_does_not_unpay(
    app: Flask, older: dict[str, Any]
) -> None:
    buyer = Buyer(app)
    order = buyer.order(3, 1)
    buyer.pay(order["url"])
    session = buyer.get("/sandbox/control/state").json["sessions"][0]
    Wire(app).change = lambda answer: answer | older
    assert _deliver(app, _event("checkout.session.expired", session)) == 200
    assert buyer.see(order["order"])["state"] == "paid"
    till = Till.mounted(app)
    assert till.stock("last-mugs") == 4


@pytest.mark.parametrize(
    "change",
    [
        {"amount_total": 1},
        {"amount_total": None},
        {"currency": "usd"},
        {"client_reference_id": "somebody else's"},
        {"client_reference_id": None},
        {"livemode": True},
    ],
)
def test_money_that_does_not_fit_is_looked_at_by_the_owner(
    app: Flask, change: dict[str, Any]
) -> None:
    wire = Wire(app)
    buyer = Buyer(app)
    order = buyer.order(3, 1)
    wire.change = lambda answer: answer | change if answer.get("status") == "complete" else answer
    buyer.pay(order["url"])
    seen = buyer.see(order["order"])
    assert seen["state"] == "needs_review"
    assert "please do not pay again" in buyer.get(f"/orders/{order['order']}").words
    till = Till.mounted(app)
    assert kinds(till) == ["staff_needs_review", "customer_received"]
    assert till.stock("last-mugs") == 4


def test_one_payment_pays_one_order(app: Flask) -> None:
    Buyer(app).buy()
    buyer = Buyer(app)
    order = buyer.order()
    first = buyer.get("/sandbox/control/state").json["charges"][0]["payment_intent"]
    wire = Wire(app)
    same = {"payment_intent": {"id": first, "object": "payment_intent", "status": "succeeded"}}
    wire.change = lambda answer: answer | same if answer.get("id") == order["id"] else answer
    buyer.pay(order["url"])
    assert buyer.see(order["order"])["state"] == "needs_review"


def test_a_session_that_is_open_but_says_paid_is_not_paid(app: Flask) -> None:
    wire = Wire(app)
    buyer = Buyer(app)
    order = buyer.order()
    wire.change = lambda answer: answer | {"payment_status": "paid"}
    assert buyer.get(f"/payments/success?session_id={order['id']}").status == 200
    assert buyer.see(order["order"])["state"] == "pending"


def test_a_signed_event_alone_pays_nothing(app: Flask) -> None:
    buyer = Buyer(app)
    order = buyer.order()
    session = buyer.get("/sandbox/control/state").json["sessions"][0]
    lie = session | {"status": "complete", "payment_status": "paid"}
    event = _event("checkout.session.completed", lie)
    assert _deliver(app, event) == 200
    assert buyer.see(order["order"])["state"] == "pending"


def test_late_money_is_taken_while_the_goods_are_there(app: Flask) -> None:
    wire, buyer, order = _cancelled_order(app)
    paid = _paid_session(buyer, order)
    wire.change = lambda _: paid
    assert _deliver(app, _event("checkout.session.completed", paid)) == 200
    assert buyer.see(order["order"])["state"] == "paid"
    till = Till.mounted(app)
    assert till.stock("last-mugs") == 0
    assert kinds(till) == ONCE


def test_late_money_for_goods_that_are_gone_is_looked_at(app: Flask) -> None:
    wire, buyer, order = _cancelled_order(app)
    Buyer(app).order(3, 1)
    paid = _paid_session(buyer, order)
    wire.change = lambda _: paid
    assert _deliver(app, _event("checkout.session.completed", paid)) == 200
    assert buyer.see(order["order"])["state"] == "needs_review"
    till = Till.mounted(app)
    assert till.stock("last-mugs") == 4
    assert kinds(till) == ["staff_needs_review", "customer_received"]


def test_an_event_before_its_session_is_known_here_settles(till: Till) -> None:
    till.sandbox.api("lost", times=1)
    buyer = till.buyer()
    lost = buyer.submit("/payments/session", {"product_id": 1, "quantity": 1})
    assert lost.status == 503
    session = till.sandbox.state["sessions"][0]
    assert buyer.pay(session["url"]).status == 303
    assert till.orders()[0]["state"] == "paid"


@on_sqlite
@pytest.mark.parametrize(
    "query", ["", "?session_id=", "?session_id=cs_test_unknown", "?session_id=%00%ED%A0%80", "?x=1"]
)
def test_an_unknown_session_is_a_plain_page_and_no_call(app: Flask, query: str) -> None:
    wire = Wire(app)
    answer = Browser(app).get(f"/payments/success{query}")
    assert answer.status == 404
    assert "If you have paid, your order is safe" in answer.words
    assert wire.requests == []


def test_a_session_of_another_mode_is_unknown(app: Flask) -> None:
    from sqlalchemy import update

    from shop.db import changed_rows, write
    from shop.orders.models import Order

    buyer = Buyer(app)
    order = buyer.order()
    buyer.post("/sandbox/control/webhooks", {"mode": "drop"})
    buyer.pay(order["url"])
    with app.app_context():
        write(lambda: changed_rows(update(Order).values(mode="test")))
    wire = Wire(app)
    assert buyer.get(f"/payments/success?session_id={order['id']}").status == 404
    assert buyer.see(order["order"])["state"] == "pending"
    assert wire.requests == []


def test_an_unpaid_session_is_a_page_that_offers_to_go_on(till: Till) -> None:
    buyer = till.buyer()
    order = buyer.order()
    buyer.pay(order["url"], DECLINED)
    page = buyer.get(f"/payments/success?session_id={order['id']}")
    assert page.status == 200
    assert "Nothing was charged" in page.words
    assert "Pay ¥2,000" in page.words
    assert buyer.see(order["order"])["state"] == "pending"


def test_a_settled_order_is_shown_without_asking_stripe_again(app: Flask) -> None:
    buyer = Buyer(app)
    order = buyer.order()
    back = buyer.pay(order["url"]).location
    wire = Wire(app)
    assert buyer.get(back).status == 303
    assert wire.requests == []


def test_a_konbini_slip_that_lapses_after_the_cart_was_changed_frees_the_goods(till: Till) -> None:
    till.sandbox.webhooks("drop")
    buyer = till.buyer()
    buyer.submit("/cart/items", {"product_id": 3, "quantity": 2})
    order = buyer.submit("/payments/session", {}, Accept="application/json").json
    slip = {"email": "expire_with_delay@example.com", "method": "konbini"}
    buyer.post(order["url"], slip)
    buyer.submit("/cart/items/3", {"quantity": 1})
    answer = buyer.submit("/payments/session", {})
    assert answer.location == f"/orders/{order['order']}"
    till.sandbox.webhooks("deliver")
    till.sandbox.clock(600)
    assert buyer.see(order["order"])["state"] == "cancelled"
    assert till.stock("last-mugs") == 5


def test_the_bank_may_ask_and_say_no_and_yes(till: Till) -> None:
    buyer = till.buyer()
    order = buyer.order()
    asked = buyer.pay(order["url"], "4000002760003184")
    assert "challenge" in asked.location
    assert buyer.post(asked.location, {"result": "fail"}).status in (303, 402)
    assert buyer.see(order["order"])["state"] == "pending"
    asked = buyer.pay(order["url"], "4000002760003184")
    back = buyer.post(asked.location, {"result": "complete"})
    assert buyer.get(back.location).status == 303
    assert buyer.see(order["order"])["state"] == "paid"


@pytest.mark.parametrize("token", ["x", "../../etc/passwd", "%00", "é", "%ED%A0%80", "1" * 500])
def test_wrong_tokens_are_all_the_same_404(app: Flask, token: str) -> None:
    browser = Browser(app)
    token_of_nobody = browser.get("/orders/AAAAAAAAAAAAAAAAAAAAAA")
    answer = browser.get(f"/orders/{token}")
    assert answer.status == token_of_nobody.status == 404
    assert browser.get(f"/payments/cancel?order={token}").status == 404


@on_sqlite
def test_an_order_page_is_never_kept_by_caches(app: Flask) -> None:
    buyer = Buyer(app)
    order = buyer.order()
    assert buyer.get(f"/orders/{order['order']}").headers["Cache-Control"] == "no-store"


def test_the_order_page_asks_stripe_at_most_every_ten_seconds(app: Flask) -> None:
    buyer = Buyer(app)
    order = buyer.order()
    wire = Wire(app)
    start = datetime.now(UTC)
    for seconds, asked in ((0, 1), (1, 1), (9, 1), (12, 2)):
        with time_machine.travel(start + timedelta(seconds=seconds), tick=False):
            buyer.see(order["order"])
        assert len(wire.requests) == asked


def test_an_order_page_claims_nothing_while_stripe_is_silent(app: Flask) -> None:
    buyer = Buyer(app)
    order = buyer.order()["order"]
    buyer.post("/sandbox/control/webhooks", {"mode": "drop"})
    buyer.post("/sandbox/control/api", {"mode": "error"})
    for _ in range(2):
        page = buyer.get(f"/orders/{order}").words
        assert "We cannot ask just now whether this is paid" in page
        assert "Nothing was charged" not in page
        assert "Check again" in page


def _cancelled_order(app: Flask) -> tuple[Wire, Buyer, dict[str, str]]:
    buyer = Buyer(app)
    order = buyer.order(3, 5)
    buyer.post("/sandbox/control/clock", {"advance": 3600})
    assert buyer.see(order["order"])["state"] == "cancelled"
    return Wire(app), buyer, order


def _paid_session(buyer: Buyer, order: dict[str, str]) -> dict[str, Any]:
    sessions = buyer.get("/sandbox/control/state").json["sessions"]
    session = next(s for s in sessions if s["id"] == order["id"])
    return dict(
        session,
        status="complete",
        payment_status="paid",
        payment_intent="pi_late",
        customer_details={"email": "late@example.com"},
    )


def _event(type_: str, subject: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": f"evt_{random.getrandbits(64)}",
        "object": "event",
        "type": type_,
        "api_version": "2026-10-28.endive",
        "created": int(time.time()),
        "livemode": False,
        "pending_webhooks": 1,
        "request": None,
        "data": {"object": subject},
    }


def _deliver(app: Flask, event: dict[str, Any]) -> int:
    body = json.dumps(event)
    secret = app.config["STRIPE_WEBHOOK_SECRET"]
    signature = WebhookSignature.generate_signature_header(body, secret, int(time.time()))
    return Browser(app).post("/payments/webhook", body, Stripe_Signature=signature).status


def test_konbini_waits_for_the_money_and_is_then_paid(till: Till) -> None:
    buyer = till.buyer()
    order = buyer.order(3, 1)
    slip = buyer.post(order["url"], {"email": "aya@example.com", "method": "konbini"})
    assert slip.status in (200, 303)
    assert till.orders()[0]["state"] == "awaiting_payment"
    assert buyer.get(f"/payments/success?session_id={order['id']}").status == 200
    page = buyer.get(f"/orders/{order['order']}")
    assert "Please pay by" in page.words
    assert f"/checkout/{order['id']}/voucher" in page.text
    assert kinds(till) == ["customer_awaiting"]
    till.sandbox.clock(600)
    assert buyer.see(order["order"])["state"] == "paid"
    assert kinds(till) == ["customer_awaiting", *ONCE]
    assert till.stock("last-mugs") == 4


def test_money_without_a_slip_is_waited_for_too(app: Flask) -> None:
    buyer = Buyer(app)
    order = buyer.order(3, 1)
    intent = {"id": "pi_bank", "status": "processing"}
    working = {"payment_status": "unpaid", "payment_intent": intent}
    wire = Wire(app)
    wire.change = lambda answer: answer | working if answer.get("status") == "complete" else answer
    buyer.pay(order["url"])
    till = Till.mounted(app)
    assert till.orders()[0]["state"] == "awaiting_payment"
    assert till.stock("last-mugs") == 4
    assert kinds(till) == ["customer_awaiting"]
    wire.change = lambda answer: answer
    assert buyer.see(order["order"])["state"] == "paid"
    assert till.stock("last-mugs") == 4


def test_awaited_money_that_does_not_fit_is_looked_at_by_the_owner(app: Flask) -> None:
    buyer = Buyer(app)
    order = buyer.order(3, 1)
    buyer.post(order["url"], {"email": "aya@example.com", "method": "konbini"})
    odd = {"amount_total": 1}
    wire = Wire(app)
    wire.change = lambda answer: answer | odd if answer.get("status") == "complete" else answer
    buyer.post("/sandbox/control/clock", {"advance": 600})
    till = Till.mounted(app)
    assert till.orders()[0]["state"] == "needs_review"
    assert till.stock("last-mugs") == 4
    assert kinds(till) == ["customer_awaiting", "staff_needs_review", "customer_received"]


@on_sqlite
def test_a_cart_that_waits_for_money_is_empty_on_the_next_visit(app: Flask) -> None:
    buyer = Buyer(app)
    buyer.submit("/cart/items", {"product_id": 1, "quantity": 1})
    order = buyer.submit("/payments/session", {}, Accept="application/json").json
    buyer.post(order["url"], {"email": "aya@example.com", "method": "konbini"})
    assert buyer.see(order["order"])["state"] == "awaiting_payment"
    assert "Your cart is empty" in buyer.get("/cart").words


@on_sqlite
@pytest.mark.parametrize(
    ("customer", "kept"),
    [
        ({"email": "aya\u200b@example.com "}, "aya@example.com"),
        ({"email": 7}, None),
        ({"email": ""}, None),
        (["nobody"], None),
    ],
)
def test_what_decorates_a_payment_does_not_stop_it(
    app: Flask, customer: Any, kept: str | None
) -> None:
    wire = Wire(app)
    wire.change = lambda answer: (
        answer
        | (
            {"customer_details": customer, "customer_email": None, "locale": 7}
            if answer.get("status") == "complete"
            else {}
        )
    )
    buyer = Buyer(app)
    order = buyer.order()
    buyer.pay(order["url"])
    assert buyer.see(order["order"])["state"] == "paid"
    mails = Till.mounted(app).mails()
    assert [mail["to"] for mail in mails if mail["kind"] == "customer_paid"] == (
        [kept] if kept else []
    )


def test_konbini_that_is_never_paid_gives_the_goods_back(till: Till) -> None:
    buyer = till.buyer()
    order = buyer.order(3, 1)
    buyer.post(order["url"], {"email": "expire_with_delay@example.com", "method": "konbini"})
    assert till.orders()[0]["state"] == "awaiting_payment"
    assert till.stock("last-mugs") == 4
    till.sandbox.clock(600)
    assert buyer.see(order["order"])["state"] == "cancelled"
    assert till.stock("last-mugs") == 5


def test_an_event_that_comes_again_asks_stripe_nothing(app: Flask) -> None:
    buyer = Buyer(app)
    order = buyer.order()
    session = buyer.get("/sandbox/control/state").json["sessions"][0]
    event = _event("checkout.session.completed", session)
    wire = Wire(app)
    assert [_deliver(app, event) for _ in range(3)] == [200] * 3
    assert len(wire.requests) == 1
    assert buyer.see(order["order"])["state"] == "pending"


def test_late_money_for_half_an_order_takes_nothing_off_the_shelf(app: Flask) -> None:
    buyer = Buyer(app)
    buyer.submit("/cart/items", {"product_id": 2, "quantity": 1})
    buyer.submit("/cart/items", {"product_id": 3, "quantity": 5})
    order = buyer.submit("/payments/session", {}, Accept="application/json").json
    buyer.post("/sandbox/control/clock", {"advance": 3600})
    Buyer(app).order(3, 1)
    paid = _paid_session(buyer, order)
    Wire(app).change = lambda _: paid
    assert _deliver(app, _event("checkout.session.completed", paid)) == 200
    assert buyer.see(order["order"])["state"] == "needs_review"
    till = Till.mounted(app)
    assert (till.stock("tea-towel"), till.stock("last-mugs")) == (40, 4)


def test_stripe_is_never_asked_while_a_transaction_is_open(app: Flask) -> None:
    from shop.db import db
    from shop.orders.models import Order
    from shop.payments import gateway

    with app.test_request_context():
        db.session.query(Order).first()
        with pytest.raises(RuntimeError, match="transaction"):
            gateway.retrieve_session("cs_test_x")
