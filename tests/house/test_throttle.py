"""Limits: exact under concurrency, fair to neighbours, and never a loss for who meets one."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import cycle
from threading import Barrier

import pytest
import time_machine
from flask import Flask
from sqlalchemy import select

from shop.db import db, now, write
from shop.orders.models import Order
from shop.throttle import LIMITS, Limit, Throttle, TooFast, count, count_all, network
from tests.actors import Answer, Browser, Buyer
from tests.databases import on_all
from tests.pages import form_to, links

HERE = "198.51.100.7"
NEXT_DOOR = "198.51.100.250"
ELSEWHERE = "203.0.113.9"


def allowed(app: Flask, budgets: dict[str, int]) -> bool:
    """Try once; tell whether it was let through."""
    with app.app_context():
        return write(lambda: count_all("try", 600, budgets)) == 0


def left(app: Flask, who: str, most: int) -> int:
    """Use up what is left of a limit; return how much that was."""
    return sum(allowed(app, {who: most}) for _ in range(most))


@pytest.fixture
def processes(make_app: Callable[..., Flask]) -> list[Flask]:
    """The same shop, several times over one database."""
    return [make_app() for _ in range(4)]


def all_at_once(processes: list[Flask], whose: Callable[[int], dict[str, int]]) -> int:
    """Let 40 tries begin together; return how many were let through."""
    start = Barrier(40, timeout=30)

    def one(number: int, app: Flask) -> bool:
        start.wait()
        return allowed(app, whose(number))

    with ThreadPoolExecutor(40) as pool:
        tries = list(pool.map(one, range(40), cycle(processes)))
    return sum(tries)


@on_all
def test_of_forty_tries_at_once_exactly_the_limit_is_let_through(processes: list[Flask]) -> None:
    for most in (1, 15, 39):
        budgets = {f"visitor {most}": most, f"network {most}": 100}
        assert all_at_once(processes, lambda _, budgets=budgets: budgets) == most
        # What was stopped took nothing from the network.
        assert left(processes[0], f"network {most}", 100) == 100 - most


@on_all
def test_forty_visitors_at_once_share_their_networks_limit_exactly(processes: list[Flask]) -> None:
    assert all_at_once(processes, lambda n: {f"visitor {n}": 5, "network": 15}) == 15


@on_all
def test_a_window_ends_and_leaves_nothing_behind(app: Flask) -> None:
    with time_machine.travel(now(), tick=False) as clock:
        for visitor in range(30):
            assert allowed(app, {f"visitor {visitor}": 1, "network": 30})
        assert not allowed(app, {"visitor 31": 1, "network": 30})
        clock.shift(timedelta(seconds=599))
        assert not allowed(app, {"visitor 1": 1})
        clock.shift(timedelta(seconds=1))
        assert allowed(app, {"visitor 1": 1})
        with app.app_context():
            assert len(db.session.scalars(select(Throttle.id)).all()) == 1


@on_all
def test_a_window_ends_on_time_however_many_others_ended(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shop.throttle.SWEPT", 1)
    with time_machine.travel(now(), tick=False) as clock:
        for _ in range(2):
            for visitor in range(20):
                assert allowed(app, {f"visitor {visitor}": 1})
            clock.shift(timedelta(seconds=600))


def test_who_is_stopped_is_told_for_how_long(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LIMITS, "try", Limit(1, 9, 600))
    with time_machine.travel(now(), tick=False) as clock, app.test_request_context():
        count("try", "me")
        for seconds, wait, words in ((0, 600, "in 10 minutes"), (545, 55, "in a minute")):
            clock.shift(timedelta(seconds=seconds))
            with pytest.raises(TooFast) as stopped:
                count("try", "me")
            assert stopped.value.headers == {"Retry-After": str(wait)}
            assert words in stopped.value.message


def test_one_kind_of_try_does_not_count_for_another(app: Flask) -> None:
    with app.app_context():
        for name in ("post", "charge"):
            assert write(lambda name=name: count_all(name, 600, {"me": 1})) == 0


def test_the_table_tells_nobody_who_it_was(app: Flask) -> None:
    with app.test_request_context(environ_base={"REMOTE_ADDR": HERE}):
        count("receipts", "address aya@example.com")
        rows = db.session.scalars(select(Throttle)).all()
        assert len(rows) == 2
        for row in rows:
            assert "aya" not in row.id
            assert "198.51" not in row.id
            assert len(row.id) == 64


@pytest.mark.parametrize(
    ("address", "cut"),
    [
        ("198.51.100.7", "198.51.100.0/24"),
        ("198.51.100.250", "198.51.100.0/24"),
        ("2001:db8:1:2::3", "2001:db8:1::/48"),
        ("::ffff:198.51.100.7", "198.51.100.0/24"),
        ("198.51.100.7:51234", "198.51.100.0/24"),
        ("198.51.100.7:", "198.51.100.0/24"),
        ('"198.51.100.7:51234"', "198.51.100.0/24"),
        ("2001:db8:1::9:443", "2001:db8:1::/48"),
        ("[2001:db8:1::9]", "2001:db8:1::/48"),
        ("[2001:db8:1::9]:443", "2001:db8:1::/48"),
        ('"[2001:db8:1::9]:443"', "2001:db8:1::/48"),
        ("2001:db8:1:0:0:0:0:9:51234", "2001:db8:1::/48"),
        ("[::ffff:198.51.100.7]:443", "198.51.100.0/24"),
        ("2001:db8:1::9%eth0", "2001:db8:1::/48"),
        *[(text, "") for text in (
            "", None, "not an address", "unknown", "unknown:443", "_hidden", "-", "unix:", "[]",
            "[::1", "198.51.100.7.9", "198.51.100.256:80", "0.0.0.0", "::", ":443", "１.2.3.4",
        )],
    ],
)  # fmt: skip
def test_an_address_is_cut_to_its_network(address: str | None, cut: str) -> None:
    assert network(address) == (cut, cut != "")


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "::1", "::ffff:127.0.0.1", "10.0.3.4", "172.17.0.1", "192.168.1.1", "100.64.0.9",
     "fd00::1", "fe80::1%eth0", "", None, "unix:"],
)  # fmt: skip
def test_an_address_that_may_be_a_proxys_is_no_visitors_network(address: str | None) -> None:
    assert not network(address)[1]


# --- what visitors meet ---------------------------------------------------------------------


@pytest.fixture
def behind_proxy(make_app: Callable[..., Flask]) -> Flask:
    """A shop that learns its visitors' addresses from the proxy in front."""
    return make_app(SHOP_PROXY="for=1", SHOP_LEGACY_CHARGE="on")


def statuses(answers: Iterator[Answer]) -> dict[int, int]:
    """Return how often each status came."""
    counts: dict[int, int] = {}
    for answer in answers:
        counts[answer.status] = counts.get(answer.status, 0) + 1
    return counts


def press(
    browser: Browser, address: str, fields: dict[str, str], times: int, **headers: str
) -> Iterator[Answer]:
    """Send the same form so often, one after the other; texts are numbered, as the same is one."""
    form = fields | {"csrf_token": browser.token()}
    for number in range(times):
        text = {"comment": f"{form['comment']} {number}"} if form.get("comment") else {}
        yield browser.post(address, form | text, **headers)


def stopped(answer: Answer) -> Answer:
    assert answer.status == 429
    assert 0 < int(answer.headers["Retry-After"]) <= 3600
    return answer


@pytest.fixture
def hasty(app: Flask) -> Buyer:
    """A visitor with something in the cart who has begun as many payments as the shop allows."""
    buyer = Buyer(app)
    assert statuses(press(buyer, "/payments/session", {}, 60)) == {422: 60}
    buyer.submit("/cart/items", {"product_id": 3, "quantity": 2})
    return buyer


def test_a_visitor_begins_sixty_payments_and_no_more_in_ten_minutes(hasty: Buyer) -> None:
    page = stopped(hasty.submit("/payments/session", {}))
    assert "Nothing was charged" in page.words
    assert "/cart" in links(page.text)
    with time_machine.travel(now() + timedelta(minutes=10), tick=True):
        assert hasty.submit("/payments/session", {}).status == 303


def test_who_was_stopped_paying_an_order_is_led_back_to_it(app: Flask) -> None:
    buyer = Buyer(app)
    order = buyer.order()["order"]
    assert statuses(press(buyer, "/payments/session", {}, 59)) == {422: 59}
    page = stopped(buyer.submit("/payments/session", {"order": order}))
    assert f"/orders/{order}" in links(page.text)
    assert buyer.see(order)["state"] == "pending"
    assert buyer.submit("/payments/session", {"order": "nobodys"}).status == 404


def test_who_was_stopped_buying_at_once_sends_the_same_again(hasty: Buyer) -> None:
    page = stopped(hasty.submit("/payments/session", {"product_id": "3", "quantity": "4"}))
    form = form_to(page.text, "/payments/session")
    assert form is not None
    assert (form.fields["product_id"], form.fields["quantity"]) == ("3", "4")
    with time_machine.travel(now() + timedelta(minutes=10), tick=True):
        assert hasty.post(form.action, form.fields).status == 303


def test_programs_are_told_in_json(hasty: Buyer) -> None:
    accept = {"Accept": "application/json"}
    answer = stopped(hasty.submit("/payments/session", {}, **accept))
    assert answer.json["error"]["code"] == "too_fast"
    assert "Nothing was charged" in answer.json["error"]["message"]
    for posted in press(hasty, "/", {"comment": "Hello"}, 21, **accept):
        answer = posted
    assert stopped(answer).json["error"]["code"] == "too_fast"


def test_a_network_begins_120_payments_and_the_next_one_is_none_the_wiser(
    behind_proxy: Flask,
) -> None:
    for address in (HERE, NEXT_DOOR):
        answers = press(Browser(behind_proxy), "/payments/session", {}, 70, X_Forwarded_For=address)
        assert statuses(answers) == {422: 60, 429: 10}
    fresh = Browser(behind_proxy)
    stopped(fresh.submit("/payments/session", {}, X_Forwarded_For=HERE))
    assert fresh.submit("/payments/session", {}, X_Forwarded_For=ELSEWHERE).status == 422


def test_where_no_proxy_is_named_the_visitors_do_not_share_one_budget(app: Flask) -> None:
    for _ in range(3):
        answers = press(Browser(app), "/payments/session", {}, 60)
        assert statuses(answers) == {422: 60}


def test_a_visitor_posts_twenty_texts_and_the_next_is_kept_in_the_form(app: Flask) -> None:
    browser = Browser(app)
    for address in ("/", "/topics/1/replies"):
        assert statuses(press(browser, address, {"comment": "Hello"}, 10)) == {303: 10}
    typed = {"comment": "My <long> text\nin two lines", "name": "Aya"}
    for address in ("/", "/topics/1/replies"):
        page = stopped(browser.submit(address, typed))
        form = form_to(page.text, address)
        assert form is not None
        assert {name: form.fields[name] for name in typed} == typed
        assert "not posted yet" in page.words
        assert page.text.count('role="alert"') == 1
    gone = form_to(browser.submit("/topics/987654/replies", typed).text, "/")
    assert gone is not None
    assert gone.fields["comment"] == typed["comment"]
    with time_machine.travel(now() + timedelta(minutes=5), tick=True):
        assert browser.post(form.action, form.fields).status == 303


def test_a_text_that_needs_mending_is_no_post(app: Flask) -> None:
    browser = Browser(app)
    assert statuses(press(browser, "/", {"comment": ""}, 25)) == {422: 25}
    assert browser.submit("/", {"comment": "Hello"}).status == 303


def test_a_network_posts_sixty_texts(behind_proxy: Flask) -> None:
    for _ in range(3):
        answers = press(Browser(behind_proxy), "/", {"comment": "x"}, 22, X_Forwarded_For=HERE)
        assert statuses(answers) == {303: 20, 429: 2}
    fresh = Browser(behind_proxy)
    stopped(fresh.submit("/", {"comment": "x"}, X_Forwarded_For=NEXT_DOOR))
    assert fresh.submit("/", {"comment": "x"}, X_Forwarded_For=ELSEWHERE).status == 303


def try_cards(buyer: Buyer, order: str, times: int, address: str = HERE) -> dict[int, int]:
    form = {"stripeToken": "tok_chargeDeclined", "order": order}
    return statuses(press(buyer, "/payments/charge", form, times, X_Forwarded_For=address))


def test_refused_cards_take_nothing_from_the_neighbours(behind_proxy: Flask) -> None:
    first = Buyer(behind_proxy)
    order = first.order()["order"]
    assert try_cards(first, order, 9) == {402: 5, 429: 4}
    assert try_cards(Buyer(behind_proxy), order, 4) == {429: 4}
    for _ in range(3):
        neighbour = Buyer(behind_proxy)
        assert try_cards(neighbour, neighbour.order()["order"], 6) == {402: 5, 429: 1}
    last = Buyer(behind_proxy)
    own = last.order()["order"]
    assert try_cards(last, own, 1) == {429: 1}
    assert try_cards(last, own, 1, ELSEWHERE) == {402: 1}


@pytest.mark.parametrize("form", ["{}:51234", "[::ffff:{}]:443", '"{}:80"'])
def test_a_port_behind_the_address_makes_no_other_network(behind_proxy: Flask, form: str) -> None:
    for _ in range(4):
        buyer = Buyer(behind_proxy)
        assert try_cards(buyer, buyer.order()["order"], 5, form.format(HERE)) == {402: 5}
    last = Buyer(behind_proxy)
    order = last.order()["order"]
    assert try_cards(last, order, 1, NEXT_DOOR) == {429: 1}
    assert try_cards(last, order, 1, form.format(ELSEWHERE)) == {402: 1}


@pytest.mark.parametrize("address", ["unknown", "_hidden:80", "nonsense"])
def test_visitors_whose_address_cannot_be_read_share_no_budget(
    behind_proxy: Flask, address: str
) -> None:
    for _ in range(5):
        buyer = Buyer(behind_proxy)
        assert try_cards(buyer, buyer.order()["order"], 6, address) == {402: 5, 429: 1}


def test_where_no_proxy_is_named_twenty_cards_are_tried_in_the_whole_shop(app: Flask) -> None:
    for most in (5, 5, 5, 5, 0):
        buyer = Buyer(app)
        buyer.submit("/cart/items", {"product_id": 1, "quantity": 1})
        assert try_cards(buyer, "", most + 1) == ({402: most, 429: 1} if most else {429: 1})


def test_the_tries_of_a_cart_are_those_of_its_order(behind_proxy: Flask) -> None:
    buyer = Buyer(behind_proxy)
    buyer.submit("/cart/items", {"product_id": 1, "quantity": 1})
    assert try_cards(buyer, "", 2) == {402: 2}
    with behind_proxy.app_context():
        order = db.session.scalars(select(Order.token)).one()
    assert try_cards(Buyer(behind_proxy), order, 4) == {402: 3, 429: 1}
    assert try_cards(buyer, "", 1) == {429: 1}


def test_who_tried_too_many_cards_finds_the_form_as_it_was(behind_proxy: Flask) -> None:
    buyer = Buyer(behind_proxy)
    order = buyer.order()["order"]
    try_cards(buyer, order, 5)
    form = {"stripeToken": "tok_visa", "order": order, "email": "aya@example.com"}
    page = stopped(buyer.submit("/payments/charge", form))
    assert "in 10 minutes" in page.words
    kept = form_to(page.text, "/payments/charge")
    assert kept is not None
    assert (kept.fields["email"], kept.fields["order"]) == ("aya@example.com", order)
    answer = stopped(buyer.submit("/payments/charge", form, Accept="application/json"))
    assert answer.json["error"]["code"] == "too_many_cards"
