"""Ordering and paying, as buyers and Stripe see it, over both transports."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import text

from shop.db import db
from tests.actors import DECLINED, Browser, Buyer
from tests.conftest import Till
from tests.databases import on_all, on_sqlite, on_two
from tests.pages import form_to
from tests.wire import Wire

pytestmark = on_two
MUGS = 3


def test_a_paid_order_is_shown_and_both_are_told(till: Till) -> None:
    buyer = till.buyer()
    token = buyer.buy(quantity=2)
    order = buyer.see(token)
    assert order["state"] == "paid"
    assert order["amount"] == 4000
    assert order["lines"] == [
        {"name": "T-shirt", "quantity": 2, "unit_amount": 2000, "amount": 4000}
    ]
    assert "Paid. Thank you" in buyer.get(f"/orders/{token}").words
    kinds = [(mail["kind"], mail["to"]) for mail in till.mails()]
    assert kinds == [
        ("customer_paid", "aya@example.com"),
        ("staff_new_order", "owner@shop.example"),
    ]


def test_a_browser_is_sent_to_the_page_where_it_pays(till: Till) -> None:
    buyer = till.buyer()
    answer = buyer.submit("/payments/session", {"product_id": 1, "quantity": 1})
    assert answer.status == 303
    assert "T-shirt" in buyer.get(answer.location).words


@pytest.mark.parametrize(
    "number", [DECLINED, "4000000000009995", "4000000000000069", "4000000000000127"]
)
def test_a_declined_card_can_be_followed_by_a_good_one(till: Till, number: str) -> None:
    buyer = till.buyer()
    order = buyer.order()
    declined = buyer.pay(order["url"], number)
    assert declined.status == 402
    assert buyer.see(order["order"])["state"] == "pending"
    paid = buyer.pay(order["url"])
    assert buyer.get(paid.location).status == 303
    assert buyer.see(order["order"])["state"] == "paid"
    assert len(till.orders()) == 1


@on_all
def test_two_clicks_at_once_make_one_order_and_one_session(till: Till) -> None:
    buyer = till.buyer()
    form = {"product_id": 1, "quantity": 1, "csrf_token": buyer.token()}
    with ThreadPoolExecutor(4) as pool:
        clicks = [
            pool.submit(buyer.post, "/payments/session", form, Accept="application/json")
            for _ in range(4)
        ]
    answers = [click.result() for click in clicks]
    assert {answer.status for answer in answers} <= {201, 202}
    assert len({answer.json["url"] for answer in answers if answer.status == 201}) == 1
    assert len(till.orders()) == 1
    assert len(till.sandbox.state["sessions"]) == 1


def test_the_same_wish_again_is_the_same_session(till: Till) -> None:
    buyer = till.buyer()
    assert buyer.order() == buyer.order()
    assert till.buyer().order() != buyer.order()
    assert len(till.orders()) == 2


def test_turning_back_loses_nothing(till: Till) -> None:
    buyer = till.buyer()
    order = buyer.order()
    back = buyer.get(f"/payments/cancel?order={order['order']}")
    assert back.status == 303
    page = buyer.get(back.location)
    assert "Nothing was charged" in page.words
    assert "Pay ¥2,000" in page.words
    again = buyer.submit("/payments/session", {"order": order["order"]}, Accept="application/json")
    assert again.json == order
    assert buyer.pay(order["url"]).status == 303
    assert buyer.see(order["order"])["state"] == "paid"


@on_sqlite
def test_what_the_browser_says_of_money_is_ignored(till: Till) -> None:
    buyer = till.buyer()
    answer = buyer.submit(
        "/payments/session",
        {
            "product_id": 1,
            "quantity": 1,
            "amount": 1,
            "price": 1,
            "unit_amount": 1,
            "currency": "usd",
            "name": "Nothing",
        },
        Accept="application/json",
    )
    session = till.sandbox.state["sessions"][0]
    assert (session["amount_total"], session["currency"]) == (2000, "jpy")
    assert buyer.see(answer.json["order"])["amount"] == 2000


def test_a_session_carries_what_the_order_is_known_by(till: Till) -> None:
    buyer = till.buyer()
    order = buyer.order()
    buyer.pay(order["url"])
    state = till.sandbox.state
    session, intent = state["sessions"][0], state["payment_intents"][0]
    assert session["client_reference_id"] == session["metadata"]["order"]
    labels = dict(session["metadata"])
    assert labels.pop("attempt")
    assert intent["metadata"] == labels
    assert (labels["order"], labels["number"]) == (session["client_reference_id"], "1")
    assert labels["shop"]
    assert order["order"] not in str(session["metadata"])
    assert abs(session["expires_at"] - session["created"] - 35 * 60) <= 30
    till.buyer().order()
    assert [one["metadata"]["shop"] for one in till.sandbox.state["sessions"]] == [
        labels["shop"]
    ] * 2


def test_each_shop_labels_its_money_with_an_id_of_its_own(make_app: Callable[..., Flask]) -> None:
    """The second shop begins with an empty database, as another one's does."""
    app = make_app()
    labels = []
    for _ in range(2):
        Buyer(app).order()
        labels.append(Buyer(app).get("/sandbox/control/state").json["sessions"][0]["metadata"])
        with app.app_context(), db.engine.begin() as connection:
            connection.execute(text("DELETE FROM key_values"))
    assert labels[0]["shop"] != labels[1]["shop"]


def test_an_order_is_replaced_though_its_sessions_answer_was_lost(till: Till) -> None:
    buyer = till.buyer()
    till.sandbox.api("lost", times=1)
    buyer.submit("/cart/items", {"product_id": MUGS, "quantity": 5})
    assert buyer.submit("/payments/session", {}).status == 503
    buyer.submit(f"/cart/items/{MUGS}", {"quantity": 4})
    second = buyer.submit("/payments/session", {}, Accept="application/json")
    assert second.status == 201
    assert [order["state"] for order in till.orders()] == ["cancelled", "pending"]
    assert till.stock("last-mugs") == 1


@on_sqlite
@pytest.mark.parametrize("quantity", ["0", "-1", "100", "1.5", "x", "", "9" * 30, "１"])
def test_a_quantity_that_makes_no_sense_is_refused_in_words(app: Flask, quantity: str) -> None:
    answer = Buyer(app).submit("/payments/session", {"product_id": 1, "quantity": quantity})
    assert answer.status == 422
    assert "from 1 to 99" in answer.words
    assert "Nothing was charged" in answer.words


@pytest.mark.parametrize("product", ["0", "999", "9" * 18, "9" * 30, "t-shirt", "", "-1"])
def test_an_unknown_product_is_not_found(app: Flask, product: str) -> None:
    answer = Buyer(app).submit("/payments/session", {"product_id": product, "quantity": "1"})
    assert answer.status == 404
    assert "Nothing was charged" in answer.words


@on_sqlite
def test_an_empty_cart_has_nothing_to_pay(app: Flask) -> None:
    answer = Buyer(app).submit("/payments/session", {})
    assert answer.status == 422
    assert "cart is empty" in answer.words


@on_sqlite
@pytest.mark.parametrize("body", [b"[]", b"null", b'"x"', b"{", b"\xff", b'{"product_id": {}}'])
def test_a_json_body_of_any_shape_is_answered(app: Flask, body: bytes) -> None:
    buyer = Buyer(app)
    answer = buyer.post(
        "/payments/session",
        body,
        Content_Type="application/json",
        Accept="application/json",
        X_CSRFToken=buyer.token(),
    )
    assert 400 <= answer.status < 500
    assert answer.json["error"]["message"]


@on_sqlite
def test_json_is_taken_and_given(app: Flask) -> None:
    buyer = Buyer(app)
    answer = buyer.post(
        "/payments/session",
        b'{"product_id": 1, "quantity": 2}',
        Content_Type="application/json",
        Accept="application/json",
        X_CSRFToken=buyer.token(),
    )
    assert answer.status == 201
    assert buyer.see(answer.json["order"])["amount"] == 4000


def test_the_last_pieces_are_sold_once(till: Till) -> None:
    first, second = till.buyer(), till.buyer()
    order = first.order(MUGS, 4)
    assert till.stock("last-mugs") == 1
    refused = second.submit("/payments/session", {"product_id": MUGS, "quantity": 2})
    assert refused.status == 409
    assert "not enough left" in refused.words
    assert first.pay(order["url"]).status == 303
    assert till.stock("last-mugs") == 1
    second.buy(MUGS, 1)
    assert till.stock("last-mugs") == 0
    assert "Sold out" in second.get("/shop/last-mugs").words


@on_all
def test_many_buyers_of_the_last_pieces_never_oversell(till: Till) -> None:
    buyers = [till.buyer() for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(
                lambda buyer: buyer.submit(
                    "/payments/session", {"product_id": MUGS, "quantity": 1}
                ),
                buyers,
            )
        )
    assert sorted(answer.status for answer in answers) == [303] * 5 + [409] * 3
    assert till.stock("last-mugs") == 0


def test_an_expired_session_gives_the_goods_back_and_can_be_ordered_again(till: Till) -> None:
    buyer = till.buyer()
    order = buyer.order(MUGS, 5)
    till.sandbox.clock(40 * 60)
    assert buyer.see(order["order"])["state"] == "cancelled"
    assert till.stock("last-mugs") == 5
    page = buyer.get(f"/payments/success?session_id={order['id']}")
    assert page.status == 200
    assert "othing was charged" in page.words
    again = buyer.submit(
        "/payments/session", {"order": order["order"]}, Accept="application/json"
    ).json
    assert again["order"] != order["order"]
    assert buyer.pay(again["url"]).status == 303
    assert buyer.see(again["order"])["state"] == "paid"
    assert [mail["kind"] for mail in till.mails()] == ["customer_paid", "staff_new_order"]


def test_an_expired_session_whose_event_is_lost_is_replaced(till: Till) -> None:
    buyer = till.buyer()
    till.sandbox.webhooks("drop")
    first = buyer.order()
    till.sandbox.clock(40 * 60)
    second = buyer.order()
    assert second["id"] != first["id"]
    assert buyer.pay(second["url"]).status == 303


def test_a_paid_order_is_not_paid_again(till: Till) -> None:
    buyer = till.buyer()
    token = buyer.buy()
    again = buyer.submit("/payments/session", {"order": token})
    assert (again.status, again.location) == (303, f"/orders/{token}")
    assert len(till.sandbox.state["sessions"]) == 1


def test_a_paid_order_is_not_paid_again_even_before_its_event(till: Till) -> None:
    buyer = till.buyer()
    till.sandbox.webhooks("drop")
    order = buyer.order()
    buyer.pay(order["url"])
    again = buyer.submit("/payments/session", {"product_id": 1, "quantity": 1})
    assert (again.status, again.location) == (303, f"/orders/{order['order']}")
    assert buyer.see(order["order"])["state"] == "paid"


def test_the_cart_is_paid_and_then_empty(till: Till) -> None:
    buyer = till.buyer()
    buyer.submit("/cart/items", {"product_id": 1, "quantity": 2})
    buyer.submit("/cart/items", {"product_id": MUGS, "quantity": 1})
    answer = buyer.submit("/payments/session", {}, Accept="application/json")
    assert buyer.see(answer.json["order"])["amount"] == 5800
    buyer.pay(answer.json["url"])
    # The buyer never comes back from Stripe's page; the next visit finds the cart empty.
    assert "Cart (" not in buyer.get("/").words
    assert "Your cart is empty" in buyer.get("/cart").words


def test_a_changed_cart_replaces_its_order(till: Till) -> None:
    buyer = till.buyer()
    buyer.submit("/cart/items", {"product_id": MUGS, "quantity": 5})
    first = buyer.submit("/payments/session", {}, Accept="application/json").json
    buyer.submit(f"/cart/items/{MUGS}", {"quantity": 4})
    second = buyer.submit("/payments/session", {}, Accept="application/json").json
    assert buyer.see(first["order"])["state"] == "cancelled"
    assert till.stock("last-mugs") == 1
    sessions = {session["id"]: session["status"] for session in till.sandbox.state["sessions"]}
    assert sessions == {first["id"]: "expired", second["id"]: "open"}


def test_a_changed_cart_whose_order_was_paid_after_all_is_not_paid_twice(till: Till) -> None:
    buyer = till.buyer()
    till.sandbox.webhooks("drop")
    buyer.submit("/cart/items", {"product_id": 1, "quantity": 1})
    first = buyer.submit("/payments/session", {}, Accept="application/json").json
    assert buyer.pay(first["url"]).status == 303
    buyer.submit("/cart/items/1", {"quantity": 2})
    stale = buyer.submit("/payments/session", {}, Accept="application/json")
    assert (stale.status, stale.location) == (303, f"/orders/{first['order']}")
    assert len(till.sandbox.state["sessions"]) == 1


@on_sqlite
def test_without_a_key_on_a_public_address_buying_is_off_not_free(
    make_app: Callable[..., Flask],
) -> None:
    browser = Browser(make_app(SHOP_PUBLIC_URL="http://shop.example"), "http://shop.example")
    assert "Buy now" not in browser.get("/shop/t-shirt").words
    answer = browser.submit("/payments/session", {"product_id": 1, "quantity": 1})
    assert answer.status == 503
    assert "Paying is switched off" in answer.words
    assert browser.get("/sandbox/").status == 404


def test_a_shop_that_took_money_never_becomes_a_playground(
    make_app: Callable[..., Flask],
) -> None:
    app = make_app()
    buyer = Buyer(app)
    order = buyer.order()
    _make_live(app)
    answer = buyer.submit("/payments/session", {"product_id": 1, "quantity": 1})
    assert answer.status == 503
    assert buyer.submit("/payments/session", {"order": order["order"]}).status == 503


def test_what_trial_orders_hold_is_free_for_real_ones(make_app: Callable[..., Flask]) -> None:
    Buyer(make_app()).order(MUGS, 5)
    app = make_app(SHOP_SANDBOX="off", STRIPE_SECRET_KEY="sk_test_other")
    app.extensions["stripe_wsgi"] = _refuse
    buyer = Buyer(app)
    assert buyer.submit("/payments/session", {"product_id": MUGS, "quantity": 5}).status == 503
    with app.app_context():
        from shop.catalog.products import get_product

        assert get_product("last-mugs").stock == 0


def test_goods_are_put_back_once(make_app: Callable[..., Flask]) -> None:
    app = make_app()
    buyer = Buyer(app)
    order = buyer.order(MUGS, 5)
    other = make_app(STRIPE_SECRET_KEY="sk_test_other")
    other.extensions["stripe_wsgi"] = _refuse
    Buyer(other).submit("/payments/session", {"product_id": 1, "quantity": 1})
    assert Till.mounted(app).stock("last-mugs") == 5
    buyer.post("/sandbox/control/clock", {"advance": 3600})
    assert buyer.see(order["order"])["state"] == "cancelled"
    assert Till.mounted(app).stock("last-mugs") == 5


def test_what_was_sold_for_real_stays_sold_in_a_trial(make_app: Callable[..., Flask]) -> None:
    app = make_app()
    Buyer(app).buy(MUGS, 5)
    _make_live(app)
    trial = make_app(STRIPE_SECRET_KEY="sk_test_other")
    trial.extensions["stripe_wsgi"] = _refuse
    Buyer(trial).submit("/payments/session", {"product_id": 1, "quantity": 1})
    assert Till.mounted(app).stock("last-mugs") == 0


def test_a_cart_from_a_trial_can_be_bought_for_real(make_app: Callable[..., Flask]) -> None:
    sandbox = make_app()
    buyer = Buyer(sandbox)
    buyer.submit("/cart/items", {"product_id": 1, "quantity": 1})
    assert buyer.submit("/payments/session", {}).status == 303
    _change_mode(sandbox, "test")
    buyer.submit("/cart/items", {"product_id": 1, "quantity": 1})
    assert buyer.submit("/payments/session", {}).status == 303


def test_an_order_of_another_mode_is_not_charged(make_app: Callable[..., Flask]) -> None:
    app = make_app()
    buyer = Buyer(app)
    order = buyer.order()["order"]
    _change_mode(app, "test")
    assert buyer.get(f"/payments/card?order={order}").status == 404
    form = {"order": order, "stripeToken": "tok_visa"}
    assert buyer.submit("/payments/charge", form).status == 404
    assert buyer.get("/sandbox/control/state").json["charges"] == []


@on_sqlite
def test_more_than_stripe_takes_is_said_in_words(make_app: Callable[..., Flask]) -> None:
    app = make_app()
    with app.app_context():
        from shop.catalog.models import Product
        from shop.db import db, write

        dear = Product(slug="house", name="House", unit_amount=3_000_000_000)
        write(lambda: db.session.add(dear))
        dear_id = dear.id
    answer = Buyer(app).submit("/payments/session", {"product_id": dear_id, "quantity": 99})
    assert answer.status == 422
    assert "more than can be paid at once" in answer.words


def test_somebody_elses_link_ends_nobodys_payment(till: Till) -> None:
    owner, friend = till.buyer(), till.buyer()
    owner.submit("/cart/items", {"product_id": 1, "quantity": 1})
    old = owner.submit("/payments/session", {}, Accept="application/json").json
    till.sandbox.clock(40 * 60)
    owner.submit("/cart/items/1", {"quantity": 2})
    now = owner.submit("/payments/session", {}, Accept="application/json").json
    again = friend.submit("/payments/session", {"order": old["order"]})
    assert again.status == 303
    assert owner.see(now["order"])["state"] == "pending"


def test_a_session_that_stripe_does_not_have_any_more_is_replaced(app: Flask) -> None:
    buyer = Buyer(app)
    buyer.order()
    wire = Wire(app)
    wire.refuse = ("GET", 404, "resource_missing")
    again = buyer.submit(
        "/payments/session", {"product_id": 1, "quantity": 1}, Accept="application/json"
    )
    assert again.status == 201
    wire.refuse = None
    assert buyer.pay(again.json["url"]).status == 303


@on_sqlite
@pytest.mark.parametrize("body", ["[" * 100_000, '{"a":' * 50_000])
def test_json_that_is_nested_too_deep_is_refused(app: Flask, body: str) -> None:
    buyer = Buyer(app)
    answer = buyer.post(
        "/payments/session",
        body,
        Content_Type="application/json",
        X_CSRFToken=buyer.token(),
    )
    assert 400 <= answer.status < 500


@on_sqlite
def test_too_little_to_be_charged_is_said_in_words(make_app: Callable[..., Flask]) -> None:
    app = make_app(SHOP_CURRENCY="usd")
    with app.app_context():
        from shop.catalog.models import Product
        from shop.db import db, write

        cheap = Product(slug="pin", name="Pin", unit_amount=10)
        write(lambda: db.session.add(cheap))
        cheap_id = cheap.id
    answer = Buyer(app).submit("/payments/session", {"product_id": cheap_id, "quantity": 1})
    assert answer.status == 422
    assert "too little" in answer.words


@on_sqlite
def test_an_order_keeps_the_name_and_price_it_was_made_with(app: Flask) -> None:
    buyer = Buyer(app)
    order = buyer.order()
    with app.app_context():
        from sqlalchemy import update

        from shop.catalog.models import Product
        from shop.db import changed_rows, write

        dearer = update(Product).where(Product.id == 1).values(name="Other", unit_amount=9999)
        write(lambda: changed_rows(dearer))
    buyer.pay(order["url"])
    seen = buyer.see(order["order"])
    assert (seen["state"], seen["amount"], seen["lines"][0]["unit_amount"]) == ("paid", 2000, 2000)
    assert seen["lines"][0]["name"] != "Other"


@on_sqlite
def test_an_answer_that_comes_after_the_order_was_replaced_ends_its_session(app: Flask) -> None:
    buyer = Buyer(app)
    buyer.submit("/cart/items", {"product_id": 1, "quantity": 1})
    other = Buyer(app)
    wire = Wire(app)

    def replace_first(answer: dict[str, Any]) -> dict[str, Any]:
        """Have the same buyer's other tab replace the order while Stripe answers."""
        if answer.get("object") == "checkout.session" and answer.get("status") == "open":
            wire.change = lambda found: found
            with app.app_context():
                from shop.orders.models import Order
                from shop.payments import release

                release.replace(db.session.query(Order).one().token)
        return answer

    wire.change = replace_first
    started = buyer.submit("/payments/session", {}, Accept="application/json")
    assert started.status == 201
    sessions = other.get("/sandbox/control/state").json["sessions"]
    assert sorted(one["status"] for one in sessions) == ["expired", "open"]
    assert buyer.pay(started.json["url"]).status == 303
    assert [order["state"] for order in Till.mounted(app).orders()] == ["cancelled", "paid"]


def test_a_second_click_while_the_first_still_asks_gets_a_button_to_go_on(app: Flask) -> None:
    """Stripe says of a key that is in use that another call is being carried out under it."""
    buyer, wire = Buyer(app), Wire(app)
    wire.refuse = ("POST", 409, "idempotency_key_in_use")
    page = buyer.submit("/payments/session", {"product_id": 1})
    assert page.status == 202
    form = form_to(page.text, "/payments/session")
    assert form is not None
    token = form.fields["order"]
    answer = buyer.submit("/payments/session", {"order": token}, Accept="application/json")
    assert (answer.status, answer.json) == (202, {"order": token})
    wire.refuse = None
    assert buyer.submit("/payments/session", form.fields).status == 303
    assert len(buyer.get("/sandbox/control/state").json["sessions"]) == 1


def _make_live(app: Flask) -> None:
    _change_mode(app, "live")


def _change_mode(app: Flask, mode: str) -> None:
    from sqlalchemy import update

    from shop.db import changed_rows, write
    from shop.orders.models import Order

    with app.app_context():
        write(lambda: changed_rows(update(Order).values(mode=mode)))


def _refuse(*_: object) -> tuple[bytes, int, dict[str, str]]:
    raise ConnectionRefusedError
