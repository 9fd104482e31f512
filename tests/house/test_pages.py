"""Pages that are kept: nobody gets a stale one, or somebody else's."""

import random
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from flask import Flask

from shop import pages, stamps
from shop.board import service
from shop.catalog.models import Product
from shop.db import db, end_read, write
from tests.actors import Answer, Browser
from tests.databases import on_all

ADDRESSES = (
    "/",
    "/?before=3",
    "/topics/1",
    "/topics/2",
    "/shop/",
    "/shop/t-shirt",
    "/shop/last-mugs",
)
LOOKS = 3
TOKEN = re.compile(r'name="csrf_token" value="([^"]+)"')


class Reader(Browser):
    """A visitor who has the pages of before, as a browser keeps them, and reads at any node."""

    def __init__(self, nodes: list[Flask]) -> None:
        super().__init__(nodes[0])
        self.nodes = nodes
        self.seen: dict[str, tuple[str, str]] = {}

    def read(self, address: str, node: Flask) -> str:
        """Return the page that this visitor sees: a new one, or the one of before after a 304."""
        tag, page = self.seen.get(address, ("", ""))
        answer = self.at(node).get(address, **({"If_None_Match": tag} if tag else {}))
        if answer.status == 304:
            return page
        assert answer.status in (200, 404), answer.words
        if answer.status == 200 and "ETag" in answer.headers:
            self.seen[address] = answer.headers["ETag"], answer.text
        else:
            self.seen.pop(address, None)
        return answer.text

    def at(self, node: Flask) -> "Reader":
        """Return this visitor, who asks that node from now on."""
        assert self._client is not None
        self._client.application = node
        return self


def same_for_all(page: str) -> str:
    """Return the page without the form's token and a message that is shown once."""
    page = re.sub(r'<div class="notice notice-good.*?</div>', "", TOKEN.sub("", page))
    return " ".join(page.split())


def change_product(node: Flask, chance: random.Random) -> None:
    """Do to a product what an owner does."""
    change = chance.choice(
        [
            {"unit_amount": chance.randint(1, 9999)},
            {"stock": chance.choice([None, 0, 3, 50])},
            {"name": f"Thing {chance.randint(1, 99)}"},
            {"active": chance.random() < 0.7},
        ]
    )

    def unit() -> None:
        product = db.session.get(Product, chance.randint(1, 4))
        for name, value in change.items():
            setattr(product, name, value)

    with node.app_context():
        write(unit)


def walk(nodes: list[Flask], plain: Flask, steps: int, seed: int) -> None:
    """Post, answer, change goods, language and cart at all nodes, and look at everything.

    `plain` keeps nothing: what it shows is right.
    """
    plain.extensions["kept"].put = lambda *_: None
    chance = random.Random(seed)
    readers = [Reader(nodes) for _ in range(3)]
    for step in range(steps):
        if step % 40 == 39:  # somebody new, who may still post
            readers[chance.randrange(3)] = Reader(nodes)
        reader, node = chance.choice(readers), chance.choice(nodes)
        act = chance.randrange(7)
        if act == 0:
            reader.at(node).submit("/", {"comment": f"topic of step {step}"})
        elif act == 1:
            reader.at(node).submit("/topics/1/replies", {"comment": f"reply of step {step}"})
        elif act == 2:
            change_product(node, chance)
        elif act == 3:
            reader.at(node).get("/", Accept_Language="en")
            reader.get(f"/?lang={chance.choice(['en', 'ja'])}")
        elif act == 6:  # takes pieces off the shelf
            reader.at(node).submit("/payments/session", {"product_id": 3, "quantity": 1})
        elif act == 4:
            reader.at(node).submit("/cart/items", {"product_id": 2, "quantity": 1})
        else:
            reader.at(node).submit("/topics/1/replies", {"comment": ""})
        for address in chance.sample(ADDRESSES, LOOKS):
            reader, node = chance.choice(readers), chance.choice(nodes)
            shown = reader.read(address, node)
            right = reader.at(plain).get(address).text
            assert same_for_all(shown) == same_for_all(right), (seed, step, address)


@pytest.fixture
def nodes(make_app: Callable[..., Flask]) -> list[Flask]:
    """Two processes of one shop, as far as what is kept goes."""
    return [make_app(), make_app()]


@on_all
def test_no_visitor_sees_a_stale_page_or_one_of_somebody_else(
    nodes: list[Flask], make_app: Callable[..., Flask]
) -> None:
    walk(nodes, make_app(), 60, random.randrange(10**9))


@on_all
def test_a_page_made_while_somebody_posts_is_not_kept_beyond(
    nodes: list[Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = service.newest_topics

    def read_while_somebody_posts(before: int | None) -> Any:
        page = read(before)
        db.session.expunge_all()
        end_read()  # SQLite lets nobody write while somebody reads
        monkeypatch.undo()
        Browser(nodes[1]).submit("/", {"comment": "posted meanwhile"})
        return page

    reader = Browser(nodes[0])
    reader.get("/")
    Browser(nodes[1]).submit("/", {"comment": "so that the page is made anew"})
    monkeypatch.setattr(service, "newest_topics", read_while_somebody_posts)
    assert "posted meanwhile" not in reader.get("/").words
    assert "posted meanwhile" in reader.get("/").words


def test_the_stamps_are_newer_than_all_that_was_read(
    app: Flask, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser.submit("/cart/items", {"product_id": 1, "quantity": 1})
    browser.get("/cart")
    read, still_open = stamps.read, []

    def look() -> stamps.Stamps:
        found = read()
        still_open.append(db.session().in_transaction())
        return found

    monkeypatch.setattr(stamps, "read", look)
    browser.get("/")  # whose cart is looked up first, in case it is paid
    assert still_open == [False]


def test_who_has_the_page_is_told_so(browser: Browser) -> None:
    for address in ADDRESSES:
        browser.get(address)
        tag = browser.get(address).headers["ETag"]
        again = browser.get(address, If_None_Match=tag)
        assert (again.status, again.text, again.headers["ETag"]) == (304, "", tag)
        assert again.headers["Cache-Control"] == "private, no-cache"
        assert {"Cookie", "Accept-Language"} <= set(again.headers["Vary"].split(", "))


def test_a_page_belongs_to_its_session(app: Flask, browser: Browser) -> None:
    browser.get("/")
    mine = browser.get("/")
    for other in (Browser(app), Browser(app)):
        answer = other.get("/", If_None_Match=mine.headers["ETag"])
        assert answer.status == 200
        assert TOKEN.findall(answer.text)
        assert not set(TOKEN.findall(answer.text)) & set(TOKEN.findall(mine.text))
        other.post("/", {"comment": "With my own", "csrf_token": TOKEN.findall(answer.text)[0]})
    stolen = Browser(app).post("/", {"comment": "x", "csrf_token": TOKEN.findall(mine.text)[0]})
    assert stolen.status == 400


def test_no_page_goes_out_with_an_empty_place(browser: Browser) -> None:
    wrong: list[Callable[[], Answer]] = [
        lambda: browser.get("/"),
        lambda: browser.get("/cart"),
        lambda: browser.submit("/", {"comment": ""}),
        lambda: browser.post("/", {"comment": "kept", "csrf_token": "stale"}),
        lambda: browser.submit("/topics/987654/replies", {"comment": "kept"}),
    ]
    for ask in wrong:
        answer = ask()
        assert pages.TOKEN_PLACE not in answer.text
        assert all(len(token) > 40 for token in TOKEN.findall(answer.text))


def test_a_message_is_shown_once_and_to_one_alone(app: Flask, browser: Browser) -> None:
    browser.submit("/cart/items", {"product_id": 1, "quantity": 1})
    said = "It is in your cart"
    tag = browser.get("/shop/").headers.get("ETag")
    assert tag is None
    assert said not in browser.get("/shop/").words
    browser.submit("/cart/items", {"product_id": 1, "quantity": 1})
    assert said in browser.get("/shop/", If_None_Match="*").words
    assert said not in Browser(app).get("/shop/").words


def test_what_is_kept_is_bounded() -> None:
    kept = pages.Kept()
    for number in range(pages.MOST_ENTRIES + 10):
        kept.put(number, "x")
        kept.get(0)
    assert kept.get(0) == "x"
    assert kept.get(1) is None
    assert kept.get(pages.MOST_ENTRIES + 9) == "x"
    kept.put("long", "x" * pages.MOST_CHARACTERS)
    assert kept.get(0) is None
    kept.put("too long", "x" * (pages.MOST_CHARACTERS + 1))
    assert kept.get("too long") is None


# --- what a page costs, without a clock -----------------------------------------------------------


@contextmanager
def calls() -> Iterator[list[int]]:
    """Count the Python functions that are called."""
    count = [0]

    def note(_frame: Any, what: str, _argument: Any) -> None:
        if what == "call":
            count[0] += 1

    sys.setprofile(note)
    try:
        yield count
    finally:
        sys.setprofile(None)


@pytest.mark.parametrize(
    ("case", "most"),
    [("new visitor", 1200), ("again", 1150), ("304", 1050), ("after a post", 3900), ("cart", 2900)],
)
def test_a_page_calls_few_functions(app: Flask, case: str, most: int) -> None:
    browser = Browser(app)
    for number in range(20):
        browser.submit("/", {"comment": f"Topic {number}: https://example.com/{number}"})
    browser.get("/cart")
    tag = [browser.get("/") for _ in range(2)][1].headers["ETag"]
    if case == "after a post":
        Browser(app).submit("/", {"comment": "The newest"})
    if case == "new visitor":
        browser = Browser(app)
    with calls() as count:
        browser.get(
            "/cart" if case == "cart" else "/", **({"If_None_Match": tag} if case == "304" else {})
        )
    assert count[0] <= most
