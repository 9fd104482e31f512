"""What may be posted to the webhook, which is open to everybody: only Stripe's own words count."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from stripe import WebhookSignature

from tests.actors import Browser
from tests.conftest import WEBHOOK_SECRET

EVENT = {
    "id": "evt_1",
    "object": "event",
    "type": "checkout.session.completed",
    "api_version": "2026-10-28.endive",
    "created": 1,
    "livemode": False,
    "pending_webhooks": 1,
    "request": None,
    "data": {"object": {"id": "cs_test_unknown", "object": "checkout.session"}},
}


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    return make_app(STRIPE_WEBHOOK_SECRET=WEBHOOK_SECRET)


def sign(body: bytes, secret: str = WEBHOOK_SECRET, age: int = 0) -> str:
    when = int(time.time()) - age
    text = body.decode("utf-8", "surrogateescape")
    return WebhookSignature.generate_signature_header(text, secret, when)


def post(app: Flask, body: bytes, signature: str | None) -> int:
    headers = {} if signature is None else {"Stripe_Signature": signature}
    return Browser(app).post("/payments/webhook", body, **headers).status


def test_an_event_about_somebody_elses_session_is_taken_and_ignored(app: Flask) -> None:
    body = json.dumps(EVENT).encode()
    assert post(app, body, sign(body)) == 200


@pytest.mark.parametrize(
    "type_", ["charge.refunded", "payment_intent.succeeded", "balance.available", "x.y"]
)
def test_an_event_of_another_type_is_taken(app: Flask, type_: str) -> None:
    body = json.dumps(EVENT | {"type": type_, "data": {"object": {"object": "x"}}}).encode()
    assert post(app, body, sign(body)) == 200


@pytest.mark.parametrize(
    "signature",
    [
        None,
        "",
        "t=1,v1=é",
        "t=1,v1=" + "0" * 64,
        "t=x,v1=y",
        "v1=" + "0" * 64,
        ",=,=,",
        "t=" + "9" * 30 + ",v1=0",
        "\udcff",
        "é" * 4000,
    ],
)
def test_a_bad_signature_is_refused(app: Flask, signature: str | None) -> None:
    body = json.dumps(EVENT).encode()
    assert _post_raw(app, body, signature) == 400


def test_an_old_a_foreign_and_an_altered_message_are_refused(app: Flask) -> None:
    body = json.dumps(EVENT).encode()
    assert post(app, body, sign(body, age=400)) == 400
    assert post(app, body, sign(body, secret="whsec_other")) == 400
    assert post(app, body.replace(b"evt_1", b"evt_2"), sign(body)) == 400


def test_a_signature_that_was_rolled_over_is_taken(app: Flask) -> None:
    body = json.dumps(EVENT).encode()
    old, new = sign(body, "whsec_old"), sign(body)
    assert post(app, body, f"{new},{old.partition(',')[2]}") == 200


def test_while_secrets_are_exchanged_each_of_them_counts(make_app: Callable[..., Flask]) -> None:
    app = make_app(STRIPE_WEBHOOK_SECRET=f"whsec_old {WEBHOOK_SECRET}  whsec_next")
    body = json.dumps(EVENT).encode()
    for secret in ("whsec_old", WEBHOOK_SECRET, "whsec_next"):
        assert post(app, body, sign(body, secret)) == 200
    for secret in ("whsec_other", f"whsec_old {WEBHOOK_SECRET}", " ", "whsec_"):
        assert post(app, body, sign(body, secret)) == 400
    assert post(app, body, sign(body, "whsec_old", age=400)) == 400
    assert post(app, body, None) == 400


def test_the_sandbox_inside_signs_with_one_of_several(make_app: Callable[..., Flask]) -> None:
    from tests.actors import Buyer

    buyer = Buyer(make_app(STRIPE_WEBHOOK_SECRET=f"{WEBHOOK_SECRET} whsec_next"))
    order = buyer.order()
    buyer.pay(order["url"])
    state = buyer.get("/sandbox/control/state").json
    assert {delivery["status"] for delivery in state["deliveries"]} == {"delivered"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b"1",
        b'"x"',
        b"{",
        b"{}",
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b"\xff\xfe",
        b"\x00",
        json.dumps(EVENT | {"data": None}).encode(),
        json.dumps(EVENT | {"data": {"object": []}}).encode(),
        json.dumps(EVENT | {"data": {"object": {"id": 7}}}).encode(),
        json.dumps(EVENT | {"data": {"object": {"id": "x" * 10_000}}}).encode(),
        json.dumps(EVENT | {"id": None}).encode(),
        json.dumps(EVENT | {"id": {"a": 1}}).encode(),
        json.dumps(EVENT | {"id": "x" * 10_000}).encode(),
        json.dumps(EVENT | {"type": 1}).encode(),
        json.dumps({"object": "v2.core.event", "id": "evt_1", "type": "v1.x"}).encode(),
        b'{"id": ' + b"9" * 5000 + b"}",
    ],
)
def test_a_signed_message_that_is_no_event_is_refused(app: Flask, body: bytes) -> None:
    when = int(time.time())
    signature = _sign_bytes(body, when)
    assert _post_raw(app, body, signature) == 400


def test_a_body_without_end_is_refused(app: Flask) -> None:
    body = b" " * (1024 * 1024 + 1)
    assert _post_raw(app, body, "t=1,v1=0") == 400


def test_the_webhook_is_for_posts_and_needs_no_token(app: Flask) -> None:
    assert Browser(app).get("/payments/webhook").status == 405


def test_without_a_secret_events_are_asked_for_again(make_app: Callable[..., Flask]) -> None:
    app = make_app(STRIPE_SECRET_KEY="sk_test_x")
    body = json.dumps(EVENT).encode()
    assert post(app, body, sign(body)) == 503


def test_an_event_is_asked_for_again_while_stripe_cannot_confirm_it(app: Flask) -> None:
    from tests.actors import Buyer

    buyer = Buyer(app)
    order = buyer.order()
    event = EVENT | {"data": {"object": {"id": order["id"], "object": "checkout.session"}}}
    body = json.dumps(event).encode()
    buyer.post("/sandbox/control/webhooks", {"mode": "drop"})
    buyer.pay(order["url"])
    buyer.post("/sandbox/control/api", {"mode": "refuse"})
    assert post(app, body, sign(body)) == 503
    buyer.post("/sandbox/control/api", {"mode": "ok"})
    assert post(app, body, sign(body)) == 200
    assert buyer.see(order["order"])["state"] == "paid"


def test_an_event_is_asked_for_again_while_the_database_is_locked(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sqlite3

    from tests.actors import Buyer

    buyer = Buyer(app)
    order = buyer.order()
    buyer.post("/sandbox/control/webhooks", {"mode": "drop"})
    buyer.pay(order["url"])
    event = EVENT | {"data": {"object": {"id": order["id"], "object": "checkout.session"}}}
    body = json.dumps(event).encode()
    _shorten_busy_timeout(app)
    lock = sqlite3.connect(app.config["SHOP_DATA_DIR"] / "shop.sqlite3", isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    assert post(app, body, sign(body)) == 503
    lock.execute("ROLLBACK")
    lock.close()
    assert post(app, body, sign(body)) == 200
    assert buyer.see(order["order"])["state"] == "paid"


def _shorten_busy_timeout(app: Flask) -> None:
    from sqlalchemy import event

    from shop.db import db

    with app.app_context():
        engine = db.engine
    engine.dispose()

    @event.listens_for(engine, "connect")
    def impatient(connection: Any, _: Any) -> None:
        connection.execute("PRAGMA busy_timeout = 50")


def _sign_bytes(body: bytes, when: int) -> str:
    import hashlib
    import hmac

    signed = f"{when}.".encode() + body
    digest = hmac.new(WEBHOOK_SECRET.encode(), signed, hashlib.sha256).hexdigest()
    return f"t={when},v1={digest}"


def _post_raw(app: Flask, body: bytes, signature: str | None) -> int:
    """Post with a header that no client library would let through."""
    from werkzeug.test import EnvironBuilder, run_wsgi_app

    builder = EnvironBuilder("/payments/webhook", method="POST", data=body)
    environ = builder.get_environ()
    if signature is not None:
        environ["HTTP_STRIPE_SIGNATURE"] = signature.encode("utf-8", "surrogateescape").decode(
            "latin-1"
        )
    _, status, _ = run_wsgi_app(app.wsgi_app, environ, buffered=True)
    return int(status.split()[0])
