"""A form that is sent twice is one post; the same words elsewhere, later, of others are theirs."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import pytest
import time_machine
from flask import Flask
from sqlalchemy import event, select

from shop.board.models import Reply, Topic
from shop.db import db, now
from shop.throttle import Throttle
from tests.actors import Browser
from tests.databases import each_row_on_all, on_all
from tests.pages import form_to, send

TYPED = {"comment": "Is the blue one back?\nThanks", "name": "Aya"}
WAYS = ("/", "/topics/1/replies")


def kept(app: Flask) -> tuple[int, int, list[int]]:
    """Return how many topics and replies there are, and what the topics say of their replies."""
    with app.app_context():
        topics, replies = db.session.query(Topic).count(), db.session.query(Reply).count()
        counts = select(Topic.reply_count).order_by(Topic.id)
        return topics, replies, list(db.session.scalars(counts).all())


def tries(app: Flask) -> list[int]:
    with app.app_context():
        return list(db.session.scalars(select(Throttle.count)).all())


@each_row_on_all
@pytest.mark.parametrize("address", WAYS)
def test_the_same_form_sent_twice_is_one_post(app: Flask, browser: Browser, address: str) -> None:
    form = form_to(browser.get(address.removesuffix("/replies")).text, address)
    assert form is not None
    answers = [browser.post(form.action, form.fields | TYPED)]
    once, counted = kept(app), tries(app)
    for typed in (TYPED, TYPED | {"comment": "  Is the blue one back?\r\nThanks "}):
        answers.append(browser.post(form.action, form.fields | typed))
    assert {(answer.status, answer.location) for answer in answers} == {(303, answers[0].location)}
    assert kept(app) == once
    assert tries(app) == counted == [1]


@each_row_on_all
@pytest.mark.parametrize("address", WAYS)
def test_forms_that_arrive_at_once_are_one_post(
    make_app: Callable[..., Flask], app: Flask, address: str
) -> None:
    """Two processes are told apart by nothing but their connections."""
    page, before = send(app), kept(app)
    form, cookie = form_to(page.text, "/"), page.headers["Set-Cookie"].split(";")[0]
    assert form is not None
    typed = form.fields | TYPED
    start = Barrier(6, timeout=30)

    def post(shop: Flask) -> tuple[int, str]:
        start.wait()
        answer = send(shop, address, method="POST", form=typed, cookie=cookie)
        return answer.status, answer.location

    with ThreadPoolExecutor(6) as pool:
        answers = set(pool.map(post, [app, make_app(), make_app()] * 2))
    assert len(answers) == 1
    assert answers.pop()[0] == 303
    after = kept(app)
    assert sum(after[:2]) == sum(before[:2]) + 1
    assert sum(after[2]) == sum(before[2]) + (address != "/")
    assert set(tries(app)) == {1}


@on_all
def test_who_is_too_fast_meets_no_refusal_for_what_is_posted_already(browser: Browser) -> None:
    for number in range(20):
        assert browser.submit("/", {"comment": f"text {number}"}).status == 303
    for number in (0, 19):
        assert browser.submit("/", {"comment": f"text {number}"}).status == 303
    assert browser.submit("/", {"comment": "text 20"}).status == 429
    assert browser.submit("/", {"comment": "text 19"}).status == 303


@on_all
def test_the_same_words_of_others_later_or_elsewhere_are_posts_of_their_own(
    app: Flask, browser: Browser
) -> None:
    topics, replies, _ = kept(app)
    with time_machine.travel(now(), tick=False) as clock:
        browser.submit("/", TYPED)
        Browser(app).submit("/", TYPED)
        for address in ("/topics/1/replies", "/topics/2/replies"):
            browser.submit(address, TYPED)
        assert kept(app)[:2] == (topics + 2, replies + 2)
        for other in ("is the blue one back?\nThanks", "Is the blue one back?\nThanks\u0301", "é"):
            browser.submit("/", {"comment": other})
        browser.submit("/", {"comment": "e"})
        assert kept(app)[0] == topics + 6
        clock.shift(timedelta(seconds=599))
        browser.submit("/", TYPED)
        assert kept(app)[0] == topics + 6
        clock.shift(timedelta(seconds=1))
        browser.submit("/", TYPED)
        assert kept(app)[0] == topics + 7


def test_a_post_costs_one_transaction(app: Flask, browser: Browser) -> None:
    token = browser.token()
    begun: list[str] = []

    def note(_conn: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("BEGIN"):
            begun.append(statement)

    with app.app_context():
        event.listen(db.engine, "before_cursor_execute", note)
    for address in WAYS:
        begun.clear()
        assert browser.post(address, TYPED | {"csrf_token": token}).status == 303
        assert begun.count("BEGIN IMMEDIATE") == 1
