"""What Stripe sends beside the money may be anything: it is cleaned, and never stops a payment."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from shop.db import db
from shop.mail.outbox import newest
from shop.orders.models import Order
from tests.actors import Answer, Buyer
from tests.conftest import Till
from tests.databases import each_row_on_all, on_all
from tests.payments.test_refunds import command
from tests.payments.test_settle import _deliver, _event
from tests.wire import Wire


def pay_with(
    app: Flask,
    change: dict[str, Any],
    order: Callable[[Buyer], dict[str, str]] = Buyer.order,
    pay: Callable[[Buyer, str], Answer] = Buyer.pay,
) -> dict[str, str]:
    """Have somebody pay, of whose session Stripe says this from then on; return the order."""
    wire, buyer = Wire(app), Buyer(app)
    made = order(buyer)
    wire.change = lambda answer: answer | change if answer.get("status") == "complete" else answer
    pay(buyer, made["url"])
    return made


@each_row_on_all
@pytest.mark.parametrize(
    "sent",
    [
        "aya@example.com  ",
        "\u200baya@exa\u200bmple.com",
        "\ufeffaya@example.com\u00a0",
        "aya\u00ad@example.com\r\n",
        "\u202aaya@example.com\u202c",
        "aya@example.com\x00",
        "a\ud800ya@example.com",
        "\u3000aya@example.com\u2060\u034f\ufe0f",
    ],
)
def test_an_address_is_cleaned_for_mail_and_for_find_my_order(app: Flask, sent: str) -> None:
    order = pay_with(app, {"customer_details": {"email": sent}})
    buyer = Buyer(app)
    assert buyer.see(order["order"])["state"] == "paid"
    mails = {mail["kind"]: mail for mail in Till.mounted(app).mails()}
    assert (mails["customer_paid"]["to"], mails["customer_paid"]["state"]) == (
        "aya@example.com",
        "sent",
    )
    assert buyer.submit("/orders", {"email": " Aya@example.com\u200b"}).status == 303
    assert "customer_links" in {mail["kind"] for mail in Till.mounted(app).mails()}


@each_row_on_all
@pytest.mark.parametrize(
    "details",
    [
        None, [], "x", {"email": None}, {"email": 7}, {"email": ["a@b.c"]}, {"email": "\u200b"},
        {"email": "no address"}, {"email": "a@" + "b" * 9000}, {"email": "aya@@example.com"},
        {"email": "\ud83d" * 500, "name": {"x": 1}, "phone": -1},
    ],
)  # fmt: skip
def test_a_useless_address_costs_the_mail_and_not_the_payment(app: Flask, details: Any) -> None:
    order = pay_with(app, {"customer_details": details})
    assert Buyer(app).see(order["order"])["state"] == "paid"
    command(app, "mail", "send")
    mails = {mail["kind"]: mail["state"] for mail in Till.mounted(app).mails()}
    assert mails["staff_new_order"] == "sent"
    assert mails.get("customer_paid", "failed") == "failed"


@pytest.mark.parametrize(
    "change",
    [
        {"metadata": None}, {"metadata": [1]}, {"url": 7}, {"payment_intent": None},
        {"payment_intent": {"id": "pi_1", "status": None, "next_action": 3}},
        {"payment_intent": {"id": "pi_1", "status": "new\x00", "next_action": {
            "konbini_display_details": {"expires_at": 10**40, "hosted_voucher_url": {}}}}},
    ],
)  # fmt: skip
def test_what_decorates_a_session_never_stops_a_payment(app: Flask, change: dict[str, Any]) -> None:
    order = pay_with(app, change)
    assert Buyer(app).see(order["order"])["state"] == "paid"


@pytest.mark.parametrize("amount_refunded", [None, "500", [], 10**40])
def test_what_decorates_a_charge_never_stops_a_payment(app: Flask, amount_refunded: Any) -> None:
    buyer = Buyer(app)
    order = buyer.order()
    odd = {"amount_refunded": amount_refunded, "receipt_email": 7, "metadata": None}
    Wire(app).change = lambda answer: answer | odd if answer.get("object") == "charge" else answer
    form = {"stripeToken": "tok_visa", "order": order["order"]}
    buyer.submit("/payments/charge", form)
    assert buyer.see(order["order"])["state"] in ("paid", "needs_review")


@pytest.mark.parametrize("code", [None, ["x"], "a\x00b", 7, "brand_new"])
def test_a_decline_for_a_reason_that_nobody_knows_is_a_decline(app: Flask, code: Any) -> None:
    buyer = Buyer(app)
    order = buyer.order()
    ask = app.extensions["stripe_wsgi"]

    def decline(method: str, url: str, headers: Any, data: Any) -> Any:
        if not url.endswith("/charges"):
            return ask(method, url, headers, data)
        error = {"type": "card_error", "code": code, "decline_code": code, "message": "no"}
        return json.dumps({"error": error}).encode(), 402, {}

    app.extensions["stripe_wsgi"] = decline
    form = {"stripeToken": "tok_visa", "order": order["order"]}
    assert buyer.submit("/payments/charge", form).status == 402
    assert buyer.see(order["order"])["state"] == "pending"


@on_all
@pytest.mark.parametrize("kind", ["charge", "refund", "dispute", "event"])
def test_what_cannot_be_read_is_skipped_and_named(app: Flask, kind: str) -> None:
    buyer = Buyer(app)
    token = buyer.buy()
    buyer.post("/sandbox/control/webhooks", {"mode": "drop"})
    charge = buyer.get("/sandbox/control/state").json["charges"][0]["id"]
    buyer.post(f"/sandbox/control/charges/{charge}/refund", {"amount": 300})
    buyer.post(f"/sandbox/control/charges/{charge}/dispute", {})
    odd = {"id": f"{kind}_odd", "object": kind, "amount": "many"}
    odd = {"object": kind, "id": None} if kind == "event" else odd

    def add(answer: dict[str, Any]) -> dict[str, Any]:
        is_list = answer.get("object") == "list" and answer["url"].endswith(f"/{kind}s")
        return answer | {"data": [odd, *answer["data"], odd]} if is_list else answer

    Wire(app).change = add
    done = command(app, "reconcile", "--json")
    assert f"Skipped {kind} {odd['id'] or 'without an id'}:" in done.stderr
    assert (buyer.see(token)["state"], buyer.see(token)["refunded"]) == ("partially_refunded", 300)
    assert json.loads(done.stdout)["mismatches"] == []


@pytest.mark.parametrize(
    "change",
    [
        {"type": "brand.new"}, {"data": {"object": {"object": "brand_new"}}},
        {"data": {"object": {"id": None, "metadata": 3}}}, {"request": 7, "account": []},
    ],
)  # fmt: skip
def test_a_signed_event_that_says_little_is_taken(app: Flask, change: dict[str, Any]) -> None:
    buyer = Buyer(app)
    order = buyer.order()
    session = buyer.get("/sandbox/control/state").json["sessions"][0]
    for type_ in ("checkout.session.completed", "charge.dispute.created", "refund.updated"):
        assert _deliver(app, _event(type_, session) | change) == 200
    assert buyer.see(order["order"])["state"] == "pending"


@pytest.mark.parametrize(
    "odd", [{"status": None}, {"status": "new\u200b_state"}, {"reason": None}, {"reason": ["x"]}]
)
def test_a_dispute_that_says_something_new_is_told_of(app: Flask, odd: dict[str, Any]) -> None:
    buyer = Buyer(app)
    buyer.buy()
    Wire(app).change = lambda answer: answer | odd if answer.get("object") == "dispute" else answer
    charge = buyer.get("/sandbox/control/state").json["charges"][0]["id"]
    buyer.post(f"/sandbox/control/charges/{charge}/dispute", {})
    with app.app_context():
        told = [json.loads(mail.context) for mail in newest() if mail.kind == "staff_dispute"]
        assert [one["disputed"] for one in told] == [2000]
        assert db.session.query(Order).one().state == "paid"
