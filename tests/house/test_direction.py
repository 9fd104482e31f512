"""What people write runs in the direction of its own script, whatever the page's language."""

from html.parser import HTMLParser

from flask import Flask
from sqlalchemy import update

from shop.catalog.models import Product
from shop.db import changed_rows, write
from tests.actors import Answer, Buyer

HEBREW = "כחול"
VOID = ("meta", "link", "input", "br", "img")


class _Reader(HTMLParser):
    """Collects where Hebrew stands, as (tag, its own `dir`)."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[tuple[str, str | None]] = []
        self.found: list[tuple[str, str | None]] = []
        self.fields: dict[str, str | None] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag in ("input", "textarea") and values.get("type") != "hidden":
            self.fields[values.get("name") or ""] = values.get("dir")
        if tag not in VOID:
            self.open.append((tag, values.get("dir")))

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        if HEBREW in data and self.open[-1][0] != "title":
            self.found.append(self.open[-1])


def read(answer: Answer) -> _Reader:
    reader = _Reader()
    reader.feed(answer.text)
    return reader


def check(answer: Answer, least: int) -> None:
    found = read(answer).found
    assert len(found) >= least
    assert {direction for _, direction in found} == {"auto"}, found


def test_what_people_write_runs_in_its_own_direction(app: Flask) -> None:
    def rename() -> None:
        named = update(Product).where(Product.id == 1)
        changed_rows(named.values(name=f"{HEBREW} cup", description=HEBREW))

    with app.app_context():
        write(rename)
    app.config["SHOP_NAME"] = HEBREW
    buyer = Buyer(app)
    typed = {"comment": f"{HEBREW} ok", "name": HEBREW}
    buyer.submit("/", typed)
    buyer.submit("/topics/4/replies", typed)
    token = buyer.buy()
    buyer.submit("/cart/items", {"product_id": 1, "quantity": 2})
    site = 2
    for path, least in (
        ("/", 3), ("/topics/4", 4), ("/shop/", 1), ("/shop/t-shirt", 2), ("/cart", 1),
        (f"/orders/{token}", 1),
    ):  # fmt: skip
        check(buyer.get(path), site + least)


def test_the_fields_that_it_is_typed_into_do_too(app: Flask) -> None:
    buyer = Buyer(app)
    typed = {"comment": HEBREW, "name": HEBREW * 41}
    stale = buyer.post("/", typed)
    assert stale.status == 400
    for answer in (buyer.get("/"), buyer.get("/topics/1"), buyer.submit("/", typed), stale):
        assert read(answer).fields == {"comment": "auto", "name": "auto"}
