"""Stand-ins for Stripe that others wrote answer as little as they may; the shop buys there too."""

import json
import re
import time
from collections.abc import Callable
from itertools import count
from typing import Any
from urllib.parse import parse_qsl

import pytest
from flask import Flask
from pytest_httpserver import HTTPServer
from stripe import WebhookSignature
from werkzeug import Request, Response

from tests.actors import Buyer
from tests.conftest import WEBHOOK_SECRET

EVENTS = count(1)


class Standin:
    """The least that calls itself Stripe: sessions and charges in memory, few fields, no pages."""

    def __init__(self, server: HTTPServer) -> None:
        self.server = server
        self.sessions: dict[str, dict[str, Any]] = {}
        self.charges: list[dict[str, Any]] = []
        self.refunds: list[dict[str, Any]] = []
        self.lists_refunds = True
        self.keys: dict[str, Response] = {}
        self.lose_next_charge = False
        self._ids = count(1)
        sessions = "/v1/checkout/sessions"
        server.expect_request(sessions, method="POST").respond_with_handler(self._create)
        server.expect_request(re.compile(f"{sessions}/[^/]+"), method="GET").respond_with_handler(
            self._show
        )
        server.expect_request(
            re.compile(f"{sessions}/[^/]+/expire"), method="POST"
        ).respond_with_handler(self._expire)
        server.expect_request("/v1/charges", method="GET").respond_with_handler(
            lambda _request: _refusal(404, "invalid_request_error", "no such address")
        )
        server.expect_request("/v1/charges", method="POST").respond_with_handler(self._charge)
        server.expect_request("/v1/refunds", method="POST").respond_with_handler(self._refund)
        server.expect_request("/v1/refunds", method="GET").respond_with_handler(self._list)
        server.expect_request(re.compile("/v1/refunds/.+"), method="GET").respond_with_handler(
            lambda request: _json(
                next(one for one in self.refunds if request.path.endswith(one["id"]))
            )
        )

    def pay(self, session_id: str) -> None:
        session = self.sessions[session_id]
        session |= {"status": "complete", "payment_status": "paid", "url": None}
        session |= {"payment_intent": f"pi_{session_id}"}

    def refund(self, amount: int, **of: str) -> dict[str, Any]:
        """Give money back as an owner does at the other end."""
        refund = {"id": f"re_{next(self._ids)}", "object": "refund", "amount": amount}
        refund |= {"currency": "jpy", "status": "succeeded", **of}
        self.refunds.append(refund)
        return refund

    def _refund(self, request: Request) -> Response:
        key = request.headers["Idempotency-Key"]
        if key not in self.keys:
            form = dict(parse_qsl(request.get_data(as_text=True)))
            of = {name: form[name] for name in ("charge", "payment_intent") if name in form}
            self.keys[key] = _json(self.refund(int(form["amount"]), **of))
        return self.keys[key]

    def _list(self, _request: Request) -> Response:
        if not self.lists_refunds:
            return _refusal(404, "invalid_request_error", "no such address")
        return _json({"object": "list", "data": self.refunds})

    def _create(self, request: Request) -> Response:
        key = request.headers["Idempotency-Key"]
        if key not in self.keys:
            form = dict(parse_qsl(request.get_data(as_text=True)))
            amount = int(form["line_items[0][price_data][unit_amount]"])
            name = f"cs_test_{next(self._ids)}"
            self.sessions[name] = {
                "id": name,
                "object": "checkout.session",
                "url": self.server.url_for(f"/pay/{name}"),
                "status": "open",
                "payment_status": "unpaid",
                "amount_total": amount * int(form["line_items[0][quantity]"]),
                "currency": form["line_items[0][price_data][currency]"],
                "client_reference_id": form["client_reference_id"],
                "livemode": False,
            }
            self.keys[key] = _json(self.sessions[name])
        return self.keys[key]

    def _show(self, request: Request) -> Response:
        found = self.sessions.get(request.path.rpartition("/")[2])
        return _json(found) if found else _refusal(404, "invalid_request_error", "missing")

    def _expire(self, request: Request) -> Response:
        session = self.sessions[request.path.split("/")[-2]]
        if session["status"] != "open":
            return _refusal(400, "invalid_request_error", "not open")
        session |= {"status": "expired", "url": None}
        return _json(session)

    def _charge(self, request: Request) -> Response:
        key = request.headers["Idempotency-Key"]
        if key in self.keys:
            return self.keys[key]
        form = dict(parse_qsl(request.get_data(as_text=True)))
        if "eclined" in form["source"]:
            return _refusal(402, "card_error", "declined", code="card_declined")
        charge = {
            "id": f"ch_{next(self._ids)}",
            "object": "charge",
            "paid": True,
            "status": "succeeded",
            "amount": int(form["amount"]),
            "currency": form["currency"],
            "livemode": False,
            "metadata": {"order": form["metadata[order]"]},
        }
        self.charges.append(charge)
        self.keys[key] = _json(charge)
        lost, self.lose_next_charge = self.lose_next_charge, False
        return Response("", 500) if lost else self.keys[key]


@pytest.fixture
def standin(httpserver: HTTPServer) -> Standin:
    return Standin(httpserver)


@pytest.fixture
def app(make_app: Callable[..., Flask], standin: Standin) -> Flask:
    return make_app(
        STRIPE_SECRET_KEY="sk_test_other",
        STRIPE_PUBLISHABLE_KEY="pk_test_other",
        STRIPE_WEBHOOK_SECRET=WEBHOOK_SECRET,
        STRIPE_API_BASE=standin.server.url_for("").rstrip("/"),
        SHOP_LEGACY_CHARGE="on",
    )


def test_it_buys_and_settles_on_the_way_back(app: Flask, standin: Standin) -> None:
    buyer = Buyer(app)
    order = buyer.order(quantity=2)
    standin.pay(order["id"])
    assert buyer.get(f"/payments/success?session_id={order['id']}").status == 303
    assert buyer.see(order["order"])["state"] == "paid"


def test_it_buys_and_settles_by_event(app: Flask, standin: Standin) -> None:
    buyer = Buyer(app)
    order = buyer.order()
    standin.pay(order["id"])
    assert tell(buyer, "checkout.session.completed", standin.sessions[order["id"]]) == 200
    assert buyer.see(order["order"])["state"] == "paid"


def test_a_changed_cart_ends_the_session_there(app: Flask, standin: Standin) -> None:
    buyer = Buyer(app)
    buyer.submit("/cart/items", {"product_id": 1, "quantity": 1})
    first = buyer.submit("/payments/session", {}, Accept="application/json").json
    buyer.submit("/cart/items/1", {"quantity": 2})
    buyer.submit("/payments/session", {}, Accept="application/json")
    assert standin.sessions[first["id"]]["status"] == "expired"


def test_it_charges_and_is_declined(app: Flask, standin: Standin) -> None:
    buyer = Buyer(app)
    order = buyer.order()["order"]
    bad = {"stripeToken": "tok_chargeDeclined", "order": order}
    assert buyer.submit("/payments/charge", bad).status == 402
    good = {"stripeToken": "tok_visa", "order": order, "email": "aya@example.com"}
    assert buyer.submit("/payments/charge", good).status == 303
    assert buyer.see(order)["state"] == "paid"
    assert len(standin.charges) == 1


def test_what_a_server_without_lists_cannot_tell_is_named(app: Flask, standin: Standin) -> None:
    lost = Buyer(app)
    lost.submit("/cart/items", {"product_id": 1, "quantity": 1})
    standin.lose_next_charge = True
    assert lost.submit("/payments/charge", {"stripeToken": "tok_visa"}).status == 503
    assert lost.submit("/payments/session", {}).status == 503
    buyer = Buyer(app)
    order = buyer.order()
    standin.pay(order["id"])
    result = app.test_cli_runner().invoke(args=["shop", "reconcile"])
    assert (result.exit_code, "Traceback" in result.output) == (1, False)
    for name in ("order 1", "missed events", "the books"):
        assert f"{name} (Stripe " in result.stderr
    assert "1 order put right" in result.stdout
    assert buyer.see(order["order"])["state"] == "paid"
    assert len(standin.charges) == 1


def test_it_gives_back_and_knows_it_once(app: Flask, standin: Standin) -> None:
    buyer = Buyer(app)
    order = buyer.order()
    standin.pay(order["id"])
    buyer.get(f"/payments/success?session_id={order['id']}")
    done = app.test_cli_runner().invoke(args=["shop", "refund", "1", "--amount", "500", "--yes"])
    assert done.exit_code == 0, done.output
    refund = standin.refunds[0]
    for type_ in ("refund.created", "refund.updated", "charge.refunded"):
        assert tell(buyer, type_, refund) == 200
    assert (buyer.see(order["order"])["state"], len(standin.refunds)) == ("partially_refunded", 1)


def test_money_given_back_there_comes_in(app: Flask, standin: Standin) -> None:
    buyer = Buyer(app)
    order = buyer.order()
    standin.pay(order["id"])
    buyer.get(f"/payments/success?session_id={order['id']}")
    refund = standin.refund(700, payment_intent=f"pi_{order['id']}")
    standin.refund(300, payment_intent="pi_of_another_shop")
    assert tell(buyer, "refund.created", refund) == 200
    assert buyer.see(order["order"])["refunded"] == 700
    refund["status"] = "failed"
    assert tell(buyer, "refund.failed", refund) == 200
    assert buyer.see(order["order"])["refunded"] == 0


def test_where_nothing_can_be_listed_the_event_of_the_charge_is_asked_for_again(
    app: Flask, standin: Standin
) -> None:
    standin.lists_refunds = False
    buyer = Buyer(app)
    order = buyer.order()["order"]
    buyer.submit("/payments/charge", {"stripeToken": "tok_visa", "order": order})
    charge = standin.charges[0]
    assert tell(buyer, "charge.refunded", charge | {"amount_refunded": 2000}) == 503


def tell(buyer: Buyer, type_: str, subject: dict[str, Any]) -> int:
    """Send an event about this object, and return the answer's status."""
    event = {
        "id": f"evt_{next(EVENTS)}",
        "object": "event",
        "type": type_,
        "livemode": False,
        "created": int(time.time()),
        "data": {"object": subject},
    }
    body = json.dumps(event)
    signature = WebhookSignature.generate_signature_header(body, WEBHOOK_SECRET, int(time.time()))
    return buyer.post("/payments/webhook", body, Stripe_Signature=signature).status


def _json(value: Any) -> Response:
    return Response(json.dumps(value), content_type="application/json")


def _refusal(status: int, type_: str, message: str, **more: str) -> Response:
    error = {"type": type_, "message": message} | more
    return Response(json.dumps({"error": error}), status, content_type="application/json")
