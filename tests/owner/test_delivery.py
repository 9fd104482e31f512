"""Deliveries in the back office."""

from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select

from shop.catalog.models import Delivery
from shop.db import db
from tests.actors import Browser
from tests.databases import on_all

NEW = {"name": "Letter", "amount": "370", "free_from": "", "countries": "jp us", "tax_rate": "10",
       "pickup": "off"}  # fmt: skip


def rows(app: Flask) -> list[tuple[Any, ...]]:
    with app.app_context():
        found = db.session.scalars(select(Delivery).order_by(Delivery.position))
        return [(d.name, d.amount, d.free_from_amount, d.countries) for d in found]


@on_all
def test_an_owner_adds_changes_moves_and_removes_deliveries(app: Flask, owner: Browser) -> None:
    first = [("Pick-up in the shop", 0, None, ""), ("Parcel", 600, 8000, "JP")]
    assert rows(app) == first
    assert owner.submit("/owner/delivery", NEW).status == 303
    assert rows(app) == [*first, ("Letter", 370, None, "JP US")]
    assert owner.submit("/owner/delivery/3", {"amount": "420", "free_from": "5,000"}).status == 303
    assert rows(app)[2] == ("Letter", 420, 5000, "JP US")
    assert owner.submit("/owner/delivery/3/move", {"direction": "up"}).status == 303
    assert [row[0] for row in rows(app)] == ["Pick-up in the shop", "Letter", "Parcel"]
    assert owner.submit("/owner/delivery/3", {"pickup": "on"}).status == 303
    assert rows(app)[1] == ("Letter", 420, 5000, "")
    assert owner.submit("/owner/delivery/1/remove", {}).status == 303
    assert owner.submit("/owner/delivery/1/remove", {}).status == 404
    assert [row[0] for row in rows(app)] == ["Letter", "Parcel"]
    page = owner.get("/owner/account").words
    for words in ("Delivery added: Letter", "Delivery changed: Letter: 420", "Delivery removed"):
        assert words in page


@pytest.mark.parametrize(
    ("field", "typed", "said"),
    [
        ("name", "  ", "A name has 1 to 100"),
        ("name", "x" * 101, "A name has 1 to 100"),
        ("amount", "cheap", "write the price"),
        ("amount", "-5", "write the price"),
        ("amount", "100,000,000", "Stripe takes no more"),
        ("free_from", "0", "more than nothing"),
        ("countries", "JP Narnia", "Not known: NARNIA"),
        ("tax_rate", "a lot", "tax rate"),
    ],
)
def test_what_cannot_be_is_said_at_its_field_and_kept(
    app: Flask, owner: Browser, field: str, typed: str, said: str
) -> None:
    for path in ("/owner/delivery", "/owner/delivery/2"):
        page = owner.submit(path, NEW | {field: typed})
        assert page.status == 422
        assert said in page.words
        if typed.strip():
            assert f'value="{typed}"' in page.text
    assert len(rows(app)) == 2


def test_there_are_no_more_than_can_be_chosen_among(app: Flask, owner: Browser) -> None:
    for number in range(18):
        assert owner.submit("/owner/delivery", NEW | {"name": f"Way {number}"}).status == 303
    page = owner.submit("/owner/delivery", NEW | {"name": "One too many"})
    assert (page.status, "20 deliveries at most" in page.words) == (422, True)
    assert 'value="One too many"' in page.text
