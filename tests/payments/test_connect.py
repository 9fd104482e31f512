"""The shop makes its webhook at Stripe, repairs it, and sees that its messages come."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from shop.db import now
from shop.payments import connect, gateway, webhook
from shop.payments.gateway.client import stripe_client
from shop.payments.models import remember
from shop.sandbox import create_sandbox
from tests.actors import Browser, Buyer
from tests.canaries import WEBHOOK_SECRET
from tests.owner.conftest import EMAIL, PASSWORD, make_owner, sign_in
from tests.till import Served
from tests.wire import Wire

BASE = "https://shop.example"
URL = f"{BASE}/payments/webhook"
API = {"Authorization": "Bearer sk_test_standalone"}
__all__ = ["make_owner"]


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    """A shop on the web that pays through the sandbox inside it."""
    return make_app(SHOP_SANDBOX="on", SHOP_PUBLIC_URL=BASE)


def problems(app: Flask) -> list[str]:
    with app.app_context():
        return [kind for kind, _words in connect.problems()]


def run(app: Flask, *more: str) -> tuple[int, str]:
    result = app.test_cli_runner().invoke(args=["shop", "connect", *more])
    assert "Traceback" not in result.output
    return result.exit_code, result.output


def endpoints(app: Flask) -> list[Any]:
    with app.app_context():
        return list(gateway.list_endpoints())


def at_stripe(app: Flask, act: Callable[[], None]) -> None:
    """Do with the webhook what somebody does in Stripe's dashboard."""
    with app.app_context():
        act()


def test_it_makes_exactly_our_webhook_and_hears_of_payments_by_it_alone(app: Flask) -> None:
    assert problems(app) == ["missing"]
    assert run(app, "--check")[0] == 1
    code, said = run(app)
    assert (code, said.splitlines()[-1]) == (0, f"Connected: {URL}")
    [made] = endpoints(app)
    assert (made.url, made.types) == (URL, set(webhook.TYPES))
    assert (made.api_version, made.is_enabled) == (gateway.api_version(), True)
    assert run(app, "--check") == (0, f"Connected: {URL}\n")
    # An order is paid by a message that the new secret signed, and by one message of each kind.
    buyer = Buyer(app, BASE)
    order = buyer.order()
    buyer.pay(order["url"])
    assert buyer.see(order["order"])["state"] == "paid"
    with app.app_context():
        kept = connect._stored()["secret"]
    assert kept.startswith("whsec_")
    assert kept != app.config["STRIPE_WEBHOOK_SECRET"]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"enabled_events": ["charge.succeeded"]}, ["types"]),
        ({"enabled_events": ["*"]}, ["types"]),
        ({"disabled": True}, ["off"]),
    ],
)
def test_a_webhook_that_somebody_changed_is_repaired(
    app: Flask, change: dict[str, Any], found: list[str]
) -> None:
    run(app)
    [made] = endpoints(app)
    at_stripe(app, lambda: stripe_client().v1.webhook_endpoints.update(made.id, change))
    assert problems(app) == found
    assert run(app)[0] == 0
    assert problems(app) == []
    assert [one.id for one in endpoints(app)] == [made.id]


def test_a_webhook_made_by_hand_is_kept_where_a_message_proved_its_secret(
    make_app: Callable[..., Flask],
) -> None:
    app = make_app(SHOP_SANDBOX="on", SHOP_PUBLIC_URL=BASE, STRIPE_WEBHOOK_SECRET="whsec_by_hand")
    params: Any = {"url": URL, "enabled_events": ["charge.refunded"]}
    at_stripe(app, lambda: remember("delivered", now()))
    at_stripe(
        app,
        lambda: stripe_client().v1.webhook_endpoints.create(
            params | {"api_version": gateway.api_version()}
        ),
    )
    [made] = endpoints(app)
    for _time in range(2):
        with app.app_context():
            connect.connect()
        assert [one.id for one in endpoints(app)] == [made.id]
    assert endpoints(app)[0].types == set(webhook.TYPES)
    assert problems(app) == ["unproven"]


def test_other_versions_and_second_webhooks_are_replaced_and_foreign_ones_stay(app: Flask) -> None:
    def by_hand() -> None:
        for url in (URL, URL, "https://other.example/payments/webhook"):
            params: Any = {"url": url, "enabled_events": ["charge.refunded"]}
            stripe_client().v1.webhook_endpoints.create(params)

    at_stripe(app, by_hand)
    assert problems(app) == ["types", "version", "twice", "unproven"]
    assert run(app)[0] == 0
    assert problems(app) == []
    assert sorted(one.url for one in endpoints(app)) == [
        "https://other.example/payments/webhook", URL,
    ]  # fmt: skip


def test_a_lost_answer_makes_no_second_webhook(app: Flask) -> None:
    wire = Wire(app)

    def lose(answer: Any) -> Any:
        if answer.get("object") == "webhook_endpoint":
            raise OSError("lost")
        return answer

    wire.change = lose
    code, said = run(app)
    assert (code, "cannot reach the payment service" in said) == (1, True)
    wire.change = lambda answer: answer
    [made] = endpoints(app)
    assert run(app)[0] == 0
    assert [one.id for one in endpoints(app)] == [made.id]
    assert problems(app) == []


def owner_of(app: Flask, make_owner: Callable[..., None], base: str = BASE) -> Browser:
    make_owner()
    owner = Browser(app, base)
    assert sign_in(owner, EMAIL, PASSWORD).status == 303
    return owner


def test_the_page_waits_for_the_first_message(
    app: Flask, make_owner: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = owner_of(app, make_owner)
    assert Browser(app, BASE).post("/owner/connect").status == 400
    cause = gateway.cause_event
    monkeypatch.setattr(gateway, "cause_event", lambda params: None)
    assert owner.submit("/owner/connect", {}).status == 303
    page = owner.get("/owner/connect")
    assert "Waiting for Stripe’s first message" in page.words
    assert problems(app) == ["unproven"]
    at_stripe(app, lambda: cause(connect._proof()))
    owner.get("/")  # what a command caused is delivered after the next visit
    assert "Connected." in owner.get("/owner/connect").words
    state = owner.get("/owner/connect", Accept="application/json").json
    assert state == {"state": "connected", "url": URL}
    assert f"Connected Stripe: {URL}" in owner.get("/owner/account").words


def test_a_restricted_key_is_told_all_that_it_lacks(
    make_app: Callable[..., Flask], make_owner: Callable[..., None], tmp_path: Path
) -> None:
    with Served() as stripe:
        stripe.app = create_sandbox(tmp_path / "sandbox.sqlite3", webhook_secret=WEBHOOK_SECRET)
        app = make_app(
            STRIPE_SECRET_KEY="rk_test_no_webhooks_no_events",
            STRIPE_API_BASE=stripe.base,
            SHOP_PUBLIC_URL=BASE,
        )
        refused = owner_of(app, make_owner).submit("/owner/connect", {})
    assert refused.status == 409
    assert "Webhook Endpoints: Write, Events: Read" in refused.words


def test_addresses_that_stripe_cannot_reach_are_refused_in_words(
    make_app: Callable[..., Flask], make_owner: Callable[..., None]
) -> None:
    for settings, words in (
        ({}, "sandbox delivers its messages by itself"),
        ({"STRIPE_SECRET_KEY": "sk_test_x"}, "https addresses on the internet alone"),
        ({"STRIPE_SECRET_KEY": "sk_test_x", "SHOP_PUBLIC_URL": "http://shop.example"},
         "https addresses on the internet alone"),
        ({"SHOP_SANDBOX": "off"}, "no key of Stripe’s yet"),
    ):  # fmt: skip
        app = make_app(**settings)
        code, said = run(app)
        assert (code, words in said) == (1, True), said
