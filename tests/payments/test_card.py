"""The legacy card page: a token is charged at once, for the order's amount and once."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from flask import Flask
from sqlalchemy import text

from shop.catalog import products
from shop.db import db
from shop.orders import place, states
from shop.orders.models import Order
from shop.payments import checkout
from tests.actors import Answer, Buyer
from tests.conftest import Till
from tests.databases import each_row_both_ways, on_all, on_sqlite, on_two
from tests.wire import Wire

pytestmark = on_two

ONCE = ["customer_paid", "staff_new_order"]


@pytest.fixture
def settings() -> dict[str, str]:
    return {"SHOP_LEGACY_CHARGE": "on", "STRIPE_PUBLISHABLE_KEY": "pk_test_standalone"}


def charge(buyer: Buyer, token: str = "tok_visa", **form: str) -> Answer:
    return buyer.submit("/payments/charge", {"stripeToken": token, **form})


def test_a_token_pays_the_order(till: Till) -> None:
    buyer = till.buyer()
    order = buyer.order(3, 2)["order"]
    paid = charge(buyer, order=order, email="aya@example.com")
    assert (paid.status, paid.location) == (303, f"/orders/{order}")
    assert buyer.see(order)["state"] == "paid"
    assert [mail["kind"] for mail in till.mails()] == ONCE
    charges = till.sandbox.state["charges"]
    assert [(c["amount"], c["currency"], c["receipt_email"]) for c in charges] == [
        (3600, "jpy", "aya@example.com")
    ]
    labels, session = charges[0]["metadata"], till.sandbox.state["sessions"][0]["metadata"]
    assert labels == session | {"attempt": f"charge-{session['order']}-2"}
    assert till.stock("last-mugs") == 3


def test_the_session_of_the_same_order_cannot_be_paid_any_more(till: Till) -> None:
    buyer = till.buyer()
    order = buyer.order()
    assert charge(buyer, order=order["order"]).status == 303
    assert [session["status"] for session in till.sandbox.state["sessions"]] == ["expired"]
    assert buyer.see(order["order"])["state"] == "paid"


def test_a_token_pays_the_cart(till: Till) -> None:
    buyer = till.buyer()
    buyer.submit("/cart/items", {"product_id": 1, "quantity": 2})
    page = buyer.get("/payments/card")
    assert "Pay ¥4,000" in page.words
    paid = charge(buyer)
    assert paid.status == 303
    assert till.orders()[0]["state"] == "paid"
    assert "Your cart is empty" in buyer.get("/cart").words
    assert [mail["kind"] for mail in till.mails()] == ["staff_new_order"]


@pytest.mark.parametrize(
    ("token", "words"),
    [
        ("tok_chargeDeclined", "declined the card"),
        ("tok_visa_chargeDeclinedInsufficientFunds", "not enough money"),
        ("tok_chargeDeclinedExpiredCard", "expired"),
        ("tok_chargeDeclinedIncorrectCvc", "security code"),
        ("tok_chargeDeclinedProcessingError", "could not be reached"),
        ("tok_visa_chargeDeclinedStolenCard", "declined the card"),
    ],
)
def test_a_decline_is_said_in_words_and_another_card_pays(
    till: Till, token: str, words: str
) -> None:
    buyer = till.buyer()
    order = buyer.order()["order"]
    declined = charge(buyer, token, order=order, email="aya@example.com")
    assert declined.status == 402
    assert words in declined.words
    assert "Nothing was charged" in declined.words
    assert 'value="aya@example.com"' in declined.text
    assert "stolen" not in declined.words
    assert buyer.see(order)["state"] == "pending"
    assert charge(buyer, order=order).status == 303
    assert buyer.see(order)["state"] == "paid"


def test_after_a_decline_the_hosted_page_takes_the_order(till: Till) -> None:
    buyer = till.buyer()
    order = buyer.order()["order"]
    assert charge(buyer, "tok_chargeDeclined", order=order).status == 402
    started = buyer.submit("/payments/session", {"order": order}, Accept="application/json").json
    assert buyer.pay(started["url"], email="aya@example.com").status == 303
    assert buyer.see(order)["state"] == "paid"
    # The charge behind the session is the session's money, not a second payment.
    assert [mail["kind"] for mail in till.mails()] == ONCE


def test_a_bank_that_wants_to_ask_leads_to_the_hosted_page(till: Till) -> None:
    buyer = till.buyer()
    order = buyer.order()["order"]
    asked = charge(buyer, "tok_threeDSecure2Required", order=order)
    assert asked.status == 303
    assert "/checkout/" in asked.location
    assert buyer.pay(asked.location).status == 303
    assert buyer.see(order)["state"] == "paid"
    assert [mail["kind"] for mail in till.mails()] == ONCE


@each_row_both_ways
@pytest.mark.parametrize("token", ["", "tok_unknown", "x", "tok_\x00", "tok_" + "a" * 500, "é"])
def test_a_token_that_is_none_charges_nothing(till: Till, token: str) -> None:
    buyer = till.buyer()
    order = buyer.order()["order"]
    refused = charge(buyer, token, order=order)
    assert refused.status == 422
    assert "Nothing was charged" in refused.words
    assert buyer.see(order)["state"] == "pending"
    assert till.sandbox.state["charges"] == []


@on_sqlite
def test_a_key_that_stripe_does_not_take_is_not_the_cards_fault(app: Flask) -> None:
    buyer = Buyer(app)
    buyer.submit("/cart/items", {"product_id": 1, "quantity": 1})
    wire = Wire(app)
    wire.refuse = ("POST", 401, "invalid_api_key")
    refused = charge(buyer)
    assert (refused.status, "read the card" in refused.words) == (503, False)
    assert "Nothing was charged" in refused.words
    wire.refuse = None
    assert charge(buyer).status == 303


@on_sqlite
@pytest.mark.parametrize("typed", ["aya at example", "a\x00b@example.com"])
def test_a_mail_address_that_is_none_is_asked_for_again(till: Till, typed: str) -> None:
    buyer = till.buyer()
    order = buyer.order()["order"]
    refused = charge(buyer, order=order, email=typed)
    assert refused.status == 422
    assert f'value="{typed}"' in refused.text
    assert till.sandbox.state["charges"] == []


def test_the_amount_is_never_the_browsers(till: Till) -> None:
    buyer = till.buyer()
    order = buyer.order()["order"]
    charge(buyer, order=order, amount="1", currency="usd")
    assert [c["amount"] for c in till.sandbox.state["charges"]] == [2000]


@on_all
def test_clicks_at_once_charge_once(till: Till) -> None:
    # Several rounds: on a server the clicks must meet between two statements to do harm.
    for _ in range(3):
        buyer = till.buyer()
        order = buyer.order()["order"]
        form = {"csrf_token": buyer.token(), "stripeToken": "tok_visa", "order": order}
        with ThreadPoolExecutor(5) as pool:
            clicks = [pool.submit(buyer.post, "/payments/charge", form) for _ in range(5)]
        assert {click.result().status for click in clicks} <= {303, 503}
        assert buyer.see(order)["state"] == "paid"
    assert len([c for c in till.sandbox.state["charges"] if c["paid"]]) == 3


@each_row_both_ways
@pytest.mark.parametrize("mode", ["lost", "refuse", "error", "garbage"])
def test_an_answer_that_is_lost_charges_once(till: Till, mode: str) -> None:
    buyer = till.buyer()
    buyer.submit("/cart/items", {"product_id": 1, "quantity": 1})
    till.sandbox.webhooks("drop")
    till.sandbox.api(mode)
    unknown = charge(buyer)
    assert unknown.status == 503
    assert "being confirmed" in unknown.words
    till.sandbox.api("ok")
    again = charge(buyer, "tok_mastercard")
    assert again.status == 303
    order = till.orders()[0]
    assert order["state"] == "paid"
    assert len([c for c in till.sandbox.state["charges"] if c["paid"]]) == 1


def test_a_charge_that_cannot_be_read_is_not_taken_for_one_never_made(app: Flask) -> None:
    buyer = Buyer(app)
    buyer.submit("/cart/items", {"product_id": 1, "quantity": 1})
    buyer.post("/sandbox/control/webhooks", {"mode": "drop"})
    buyer.post("/sandbox/control/api", {"mode": "lost", "times": 1})
    assert charge(buyer).status == 503
    _let_time_pass(app)
    wire = Wire(app)
    wire.change = lambda found: (
        found | {"data": [one | {"amount": None, "id": 7} for one in found["data"]]}
        if found.get("url") == "/v1/charges"
        else found
    )
    reconcile = ["shop", "reconcile"]
    assert app.test_cli_runner().invoke(args=reconcile).exit_code == 1
    wire.change = lambda found: found
    assert app.test_cli_runner().invoke(args=reconcile).exit_code == 0
    assert [order["state"] for order in Till.mounted(app).orders()] == ["paid"]


def test_an_answer_that_is_lost_is_made_good_by_the_event(till: Till) -> None:
    buyer = till.buyer()
    buyer.submit("/cart/items", {"product_id": 1, "quantity": 1})
    till.sandbox.api("lost", times=1)
    assert charge(buyer).status == 503
    till.sandbox.clock(1)
    assert till.orders()[0]["state"] == "paid"


def test_a_charge_that_nobody_knows_of_is_not_made_by_changing_the_cart(till: Till) -> None:
    buyer = till.buyer()
    buyer.submit("/cart/items", {"product_id": 3, "quantity": 3})
    till.sandbox.api("refuse")
    assert charge(buyer).status == 503
    till.sandbox.api("ok")
    buyer.submit("/cart/items/3", {"quantity": 1})
    waiting = buyer.submit("/payments/session", {})
    assert waiting.status == 503
    assert "being confirmed" in waiting.words
    assert till.sandbox.state["charges"] == []
    _let_time_pass(till.app)
    started = buyer.submit("/payments/session", {}, Accept="application/json")
    assert buyer.pay(started.json["url"]).status == 303
    assert [c["amount"] for c in till.sandbox.state["charges"]] == [1800]


def test_a_lost_charge_is_found_before_another_way_to_pay_is_opened(till: Till) -> None:
    till.sandbox.webhooks("drop")
    buyer = till.buyer()
    buyer.submit("/cart/items", {"product_id": 1, "quantity": 1})
    till.sandbox.api("lost", times=1)
    assert charge(buyer).status == 503
    answer = buyer.submit("/payments/session", {})
    assert (answer.status, answer.location) == (303, f"/orders/{till.orders()[0]['order']}")
    assert till.orders()[0]["state"] == "paid"
    assert len(till.sandbox.state["charges"]) == 1


def test_the_order_page_does_not_say_that_nothing_was_charged_while_nobody_knows(
    till: Till,
) -> None:
    till.sandbox.webhooks("drop")
    buyer = till.buyer()
    buyer.submit("/cart/items", {"product_id": 1, "quantity": 1})
    till.sandbox.api("lost")
    assert charge(buyer).status == 503
    order = till.orders()[0]["order"]
    page = buyer.get(f"/orders/{order}").words
    assert "being confirmed" in page
    assert "Nothing was charged" not in page


def test_a_charge_whose_key_stripe_has_forgotten_is_looked_for_and_not_made_again(
    till: Till,
) -> None:
    till.sandbox.webhooks("drop")
    buyer = till.buyer()
    buyer.submit("/cart/items", {"product_id": 1, "quantity": 1})
    till.sandbox.api("lost", times=1)
    assert charge(buyer).status == 503
    order = till.orders()[0]["order"]
    till.sandbox.clock(25 * 3600)
    _let_time_pass(till.app)
    assert charge(buyer, order=order).location == f"/orders/{order}"
    assert buyer.see(order)["state"] == "paid"
    assert len(till.sandbox.state["charges"]) == 1


def test_the_order_page_learns_of_a_lost_charge(till: Till) -> None:
    till.sandbox.webhooks("drop")
    buyer = till.buyer()
    buyer.submit("/cart/items", {"product_id": 1, "quantity": 1})
    till.sandbox.api("lost", times=1)
    assert charge(buyer).status == 503
    assert buyer.see(till.orders()[0]["order"])["state"] == "paid"


def test_a_session_whose_answer_was_lost_keeps_nobody_from_another_way_to_pay(till: Till) -> None:
    buyer = till.buyer()
    till.sandbox.api("lost", times=1)
    assert buyer.submit("/payments/session", {"product_id": 1}).status == 503
    order = till.orders()[0]["order"]
    assert charge(buyer, "tok_chargeDeclined", order=order).status == 402
    started = buyer.submit("/payments/session", {"order": order}, Accept="application/json")
    lost, new = (session["id"] for session in reversed(till.sandbox.state["sessions"]))
    assert started.json["id"] in (lost, new)
    assert buyer.pay(started.json["url"]).status == 303
    assert till.orders()[0]["state"] == "paid"
    assert len([one for one in till.sandbox.state["charges"] if one["paid"]]) == 1


def test_a_second_click_after_the_cart_was_paid_leads_to_the_order(till: Till) -> None:
    buyer = till.buyer()
    buyer.submit("/cart/items", {"product_id": 1, "quantity": 1})
    first = charge(buyer)
    assert charge(buyer).location == first.location
    assert len(till.sandbox.state["charges"]) == 1


def test_a_cart_that_an_event_pays_during_a_second_click_is_not_ordered_again(app: Flask) -> None:
    buyer = Buyer(app)
    buyer.submit("/cart/items", {"product_id": 1, "quantity": 1})
    paid = buyer.submit("/payments/charge", {"stripeToken": "tok_visa"}).location
    with app.test_request_context():
        order = db.session.query(Order).one()
        clicker = place.Buyer(order.visitor, order.cart_id, "en")
        with pytest.raises(states.AlreadyOrdered) as already:
            checkout.order_goods(products.choose([(1, 1)]), None, clicker)
    assert paid == f"/orders/{already.value.token}"


def test_a_session_that_stripe_will_not_end_is_not_left_open_beside_a_charge(app: Flask) -> None:
    buyer = Buyer(app)
    order = buyer.order()["order"]
    wire = Wire(app)
    wire.refuse = ("POST", 403, "not_allowed")
    assert charge(buyer, order=order).status == 503
    wire.refuse = None
    state = buyer.get("/sandbox/control/state").json
    assert [session["status"] for session in state["sessions"]] == ["open"]
    assert state["charges"] == []


def test_too_many_tries_hold_no_goods_and_keep_the_mail_address(till: Till) -> None:
    buyer = till.buyer()
    order = buyer.order()["order"]
    for _ in range(5):
        charge(buyer, "tok_chargeDeclined", order=order)
    buyer.submit("/cart/items", {"product_id": 3, "quantity": 5})
    refused = charge(buyer, email="aya@example.com")
    assert refused.status == 429
    assert 'value="aya@example.com"' in refused.text
    assert till.stock("last-mugs") == 5


def test_card_testing_ends_after_five_tries(till: Till) -> None:
    buyer = till.buyer()
    order = buyer.order()["order"]
    statuses = [charge(buyer, "tok_chargeDeclined", order=order).status for _ in range(8)]
    assert statuses == [402] * 5 + [429] * 3
    assert len(till.sandbox.state["charges"]) == 5
    fresh = till.buyer()
    assert charge(fresh, "tok_visa", order=order).status == 429


def test_a_paid_order_is_not_charged(till: Till) -> None:
    buyer = till.buyer()
    token = buyer.buy()
    assert buyer.get(f"/payments/card?order={token}").location == f"/orders/{token}"
    assert charge(buyer, order=token).location == f"/orders/{token}"
    assert len(till.sandbox.state["charges"]) == 1


@on_sqlite
def test_where_it_is_switched_off_there_is_no_such_page(
    make_app: Callable[..., Flask],
) -> None:
    buyer = Buyer(make_app(SHOP_LEGACY_CHARGE="off"))
    order = buyer.order()["order"]
    assert buyer.get(f"/payments/card?order={order}").status == 404
    assert charge(buyer, order=order).status == 404
    assert "Type in your card" not in buyer.get(f"/orders/{order}").words


@on_sqlite
def test_an_empty_cart_and_an_unknown_order_are_refused(app: Flask) -> None:
    buyer = Buyer(app)
    assert buyer.get("/payments/card").status == 422
    assert charge(buyer).status == 422
    assert buyer.get("/payments/card?order=nobodys").status == 404
    assert charge(buyer, order="nobodys").status == 404


@on_sqlite
def test_the_card_page_loads_stripes_own_script_with_a_real_key(
    make_app: Callable[..., Flask],
) -> None:
    from shop.orders.place import Buyer as Wish
    from shop.payments import checkout

    app = make_app(
        STRIPE_SECRET_KEY="sk_test_x", STRIPE_PUBLISHABLE_KEY="pk_test_x", SHOP_LEGACY_CHARGE="on"
    )
    with app.test_request_context():
        from shop.catalog import products

        token = checkout.order_goods(products.choose([(1, 1)]), None, Wish("me", None, "en"))
    page = Buyer(app).get(f"/payments/card?order={token}")
    assert 'src="https://js.stripe.com/v3/"' in page.text
    assert 'data-key="pk_test_x"' in page.text
    policy = page.headers["Content-Security-Policy"]
    assert "script-src 'self' https://js.stripe.com https://*.js.stripe.com;" in policy
    assert "connect-src 'self' https://api.stripe.com;" in policy
    assert "https://hooks.stripe.com" in policy


def _let_time_pass(app: Flask) -> None:
    """Let all attempts be older than a call can be under way."""
    with app.app_context(), db.engine.begin() as connection:
        connection.execute(text("UPDATE attempts SET created_at = '2026-01-01'"))
