"""The board: posting and answering, what is kept of a text, what is shown of it, and paging."""

import re
from collections.abc import Callable
from html import unescape
from typing import Any

import pytest
import time_machine
from flask import Flask
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import event

from shop.board.forms import tidy
from shop.board.models import Reply, Topic
from shop.db import db, write
from tests.actors import Answer, Browser
from tests.databases import each_row_on_all, on_all, on_sqlite
from tests.pages import Form, form_to, forms, send, tags

pytestmark = on_all


def fill(app: Flask, topics: int) -> None:
    """Put topics 'topic 1', 'topic 2', … on an empty board."""

    def unit() -> None:
        db.session.query(Topic).delete()
        for number in range(1, topics + 1):
            db.session.add(Topic(comment=f"topic {number}"))
            db.session.flush()

    with app.app_context():
        write(unit)


def shown(answer: Answer) -> list[str]:
    """Return the texts on a page, as a reader sees them."""
    said = re.findall(r'<p class="said"[^>]*>(.*?)</p>', answer.text, re.DOTALL)
    return [re.sub(r"<[^>]+>", "", text) for text in said]


def newest(app: Flask) -> Topic:
    with app.app_context():
        topic = db.session.query(Topic).order_by(Topic.id.desc()).first()
        assert topic is not None
        return topic


def form_of(answer: Answer, address: str = "/") -> Form:
    form = form_to(answer.text, address)
    assert form is not None
    return form


# --- posting --------------------------------------------------------------------------------


def test_a_posted_topic_is_the_first_on_the_board(browser: Browser) -> None:
    posted = browser.submit("/", {"comment": "Hello there", "name": "Aya"})
    assert (posted.status, posted.location) == (303, "/")
    page = browser.get("/")
    assert shown(page)[0] == "Hello there"
    assert "Aya" in page.words


def test_a_topic_needs_no_name(browser: Browser) -> None:
    for number, name in enumerate(({}, {"name": ""}, {"name": "  "})):
        assert browser.submit("/", {"comment": f"Hello {number}"} | name).status == 303
    assert browser.get("/").words.count("A visitor") >= 3


@each_row_on_all
@pytest.mark.parametrize(
    ("length", "char", "status"),
    [
        (1, "x", 303), (2000, "x", 303), (2001, "x", 422), (100_000, "x", 422),
        (2000, "日", 303), (2001, "日", 422), (2000, "💥", 303), (2001, "💥", 422),
    ],
)  # fmt: skip
def test_a_text_has_one_to_two_thousand_characters(
    app: Flask, browser: Browser, length: int, char: str, status: int
) -> None:
    answer = browser.submit("/", {"comment": char * length, "name": "Aya"})
    assert answer.status == status
    if status == 303:
        assert newest(app).comment == char * length
    else:
        assert form_of(answer).fields["comment"] == char * length
        assert f"{length} characters" in answer.words
        assert "at most 2000" in answer.words


def test_a_line_break_counts_once_however_it_is_sent(app: Flask, browser: Browser) -> None:
    for line_break in ("\r\n", "\r", "\n"):
        text = f"{'x' * 999}{line_break}{'y' * 1000}"
        assert browser.submit("/", {"comment": text}).status == 303
        assert newest(app).comment == f"{'x' * 999}\n{'y' * 1000}"
        assert browser.submit("/", {"comment": text + "y"}).status == 422


@on_sqlite
@pytest.mark.parametrize(
    "text",
    ["", " ", "\r\n\r\n", "\u3000\u3000", "\u200b", " \u2060\ufeff ", "\x00", "\x07\x1b", "\u00a0"],
)
def test_a_text_that_shows_nothing_is_asked_for(browser: Browser, text: str) -> None:
    answer = browser.submit("/", {"comment": text, "name": "Aya"})
    assert answer.status == 422
    assert "Please write something first" in answer.words
    assert form_of(answer).fields["name"] == "Aya"


@on_sqlite
def test_no_text_at_all_is_asked_for(browser: Browser) -> None:
    answer = browser.submit("/", {})
    assert answer.status == 422
    assert "Please write something first" in answer.words


@each_row_on_all
@pytest.mark.parametrize(
    ("name", "status"), [("n" * 40, 303), ("名" * 40, 303), ("n" * 41, 422), ("a\nb", 422)]
)
def test_a_name_has_at_most_forty_characters_on_one_line(
    app: Flask, browser: Browser, name: str, status: int
) -> None:
    answer = browser.submit("/", {"comment": "Hello", "name": name})
    assert answer.status == status
    if status == 303:
        assert newest(app).name == name
    else:
        fields = form_of(answer).fields
        assert (fields["comment"], fields["name"]) == ("Hello", name)


@on_sqlite
def test_a_failed_form_names_the_field_to_readers_and_screen_readers(browser: Browser) -> None:
    answer = browser.submit("/", {"comment": ""})
    field = next(attrs for tag, attrs in tags(answer.text) if tag == "textarea")
    assert field["aria-invalid"] == "true"
    error = next(
        attrs for _, attrs in tags(answer.text) if attrs.get("id") == field["aria-describedby"]
    )
    assert error["role"] == "alert"


def test_a_failed_form_can_be_mended_and_sent(app: Flask, browser: Browser) -> None:
    failed = form_of(browser.submit("/", {"comment": "Hello", "name": "n" * 41}))
    assert browser.post(failed.action, failed.fields | {"name": "Aya"}).status == 303
    assert (newest(app).comment, newest(app).name) == ("Hello", "Aya")


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    comment=st.text(st.characters(codec="utf-8"), max_size=50),
    name=st.text(st.characters(codec="utf-8"), max_size=50),
)
@example(comment="\n\n a \n\n", name="\t")
@example(comment="</textarea><b>", name='"><b>')
def test_whatever_is_typed_is_kept_or_given_back(app: Flask, comment: str, name: str) -> None:
    browser = Browser(app)
    answer = browser.submit("/", {"comment": comment, "name": name})
    if answer.status == 303:
        assert (newest(app).comment, newest(app).name) == (tidy(comment), tidy(name))
    else:
        assert answer.status == 422
        fields = form_of(answer).fields
        assert fields["comment"] == tidy(comment)
        assert fields["name"] == tidy(name)


@on_sqlite
@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (b"comment=a%00b", "ab"),
        (b"comment=a%07%1B%7Fb", "ab"),
        (b"comment=a%EF%BF%BEb", "ab"),
        (b"comment=tab%09tab", "tab\ttab"),
        (b"comment=%F0%9F%92%A5", "💥"),
    ],
)
def test_invisible_controls_are_left_out(app: Flask, sent: bytes, kept: str) -> None:
    page = send(app)
    answer = send(
        app, method="POST", body=sent, content_type="application/x-www-form-urlencoded",
        cookie=page.headers["Set-Cookie"].split(";")[0],
        x_csrftoken=form_of(page).fields["csrf_token"],
    )  # fmt: skip
    assert answer.status == 303
    assert newest(app).comment == kept


BROKEN = (b"\xed\xa0\x80", b"\xff\xfe", b"\xc3\x28", b"\xf4\x90\x80\x80")


@pytest.mark.parametrize("how", ["percent", "raw", "multipart"])
def test_bytes_that_are_no_text_break_neither_the_post_nor_the_board(app: Flask, how: str) -> None:
    page = send(app)
    for broken in BROKEN:
        body, content_type = {
            "percent": (
                b"comment=a" + b"".join(b"%%%02X" % byte for byte in broken),
                "x-www-form-urlencoded",
            ),
            "raw": (b"comment=a" + broken, "x-www-form-urlencoded"),
            "multipart": (
                b'--cut\r\nContent-Disposition: form-data; name="comment"\r\n\r\na'
                + broken
                + b"\r\n--cut--\r\n",
                "form-data",
            ),
        }[how]
        kind = (
            "multipart/form-data; boundary=cut"
            if how == "multipart"
            else f"application/{content_type}"
        )
        answer = send(
            app, method="POST", body=body, content_type=kind,
            cookie=page.headers["Set-Cookie"].split(";")[0],
            x_csrftoken=form_of(page).fields["csrf_token"],
        )  # fmt: skip
        assert answer.status in (303, 400, 422)
    assert Browser(app).get("/").status == 200


@on_sqlite
def test_json_is_no_form(browser: Browser) -> None:
    token = browser.token()
    for body in (b'{"comment": 1}', b"[1]", b'{"comment": "\\ud800"}', b"{"):
        answer = browser.post("/", body, Content_Type="application/json", X_CSRFToken=token)
        assert answer.status == 422


# --- answering ------------------------------------------------------------------------------


def test_an_answer_stands_below_its_topic(browser: Browser) -> None:
    posted = browser.submit("/topics/1/replies", {"comment": "Me too", "name": "Ben"})
    assert posted.status == 303
    address, _, anchor = posted.location.partition("#")
    assert address == "/topics/1"
    page = browser.get(address)
    assert shown(page)[-1] == "Me too"
    assert f'id="{anchor}"' in page.text
    assert "1 reply" in browser.get("/").words


def test_answers_stand_in_the_order_they_came(browser: Browser) -> None:
    for text in ("first", "second", "third"):
        browser.submit("/topics/2/replies", {"comment": text})
    assert shown(browser.get("/topics/2"))[1:] == ["first", "second", "third"]
    assert "3 replies" in browser.get("/").words


@on_sqlite
@pytest.mark.parametrize(
    "fields", [{"comment": "x" * 2001, "name": "Ben"}, {"comment": "Hi", "name": "n" * 41}]
)
def test_a_failed_answer_keeps_everything_typed(browser: Browser, fields: dict[str, str]) -> None:
    answer = browser.submit("/topics/1/replies", fields)
    assert answer.status == 422
    form = form_of(answer, "/topics/1/replies")
    assert {name: form.fields[name] for name in fields} == fields
    assert "No reply yet" in browser.get("/topics/1").words


def test_an_answer_to_a_topic_that_is_gone_keeps_the_text_for_a_topic_of_its_own(
    app: Flask, browser: Browser
) -> None:
    for fields in ({"comment": "My long answer", "name": "Ben"}, {"comment": "", "name": "Ben"}):
        gone = browser.submit("/topics/987654/replies", fields)
        assert gone.status == 404
        form = form_of(gone)
        assert {name: form.fields[name] for name in fields} == fields
    assert browser.post("/", form.fields | {"comment": "My long answer"}).status == 303
    assert (newest(app).comment, newest(app).name) == ("My long answer", "Ben")


def test_a_topic_that_is_gone_is_404(browser: Browser) -> None:
    answer = browser.get("/topics/987654")
    assert answer.status == 404
    assert "topic does not exist" in answer.words
    assert forms(answer.text) == []


def test_a_long_thread_has_pages(app: Flask, browser: Browser) -> None:
    def unit() -> None:
        for number in range(201):
            db.session.add(Reply(topic_id=1, comment=f"reply {number}"))
            db.session.flush()

    with app.app_context():
        write(unit)
    first = browser.get("/topics/1")
    assert shown(first)[1:] == [f"reply {number}" for number in range(200)]
    assert shown(browser.get(next_link(first) or ""))[1:] == ["reply 200"]


# --- paging ---------------------------------------------------------------------------------


def next_link(answer: Answer) -> str | None:
    return next(
        (a["href"] for tag, a in tags(answer.text) if tag == "a" and a.get("rel") == "next"), None
    )


@pytest.mark.parametrize("count", [0, 1, 19, 20, 21, 45])
def test_every_topic_is_on_exactly_one_page_newest_first(
    app: Flask, browser: Browser, count: int
) -> None:
    fill(app, count)
    seen: list[str] = []
    link: str | None = "/"
    pages = 0
    while link:
        page = browser.get(link)
        assert page.status == 200
        seen += shown(page)
        link = next_link(page)
        pages += 1
    assert seen == [f"topic {number}" for number in range(count, 0, -1)]
    assert pages == max(1, -(-count // 20))


def test_a_page_stays_what_it_is_when_somebody_posts_meanwhile(
    app: Flask, browser: Browser
) -> None:
    fill(app, 30)
    link = next_link(browser.get("/")) or ""
    before = shown(browser.get(link))
    browser.submit("/", {"comment": "meanwhile"})
    assert shown(browser.get(link)) == before
    assert "?before=" in link


@pytest.mark.parametrize(
    "before", ["x", "-1", "", "1.5", "٣", "9" * 5000, str(2**63), "1%00", "%ff"]
)
def test_a_mistyped_page_is_the_first_page(app: Flask, browser: Browser, before: str) -> None:
    first = shown(browser.get("/"))
    answer = browser.get(f"/?before={before}")
    assert answer.status == 200
    assert shown(answer) == first


def test_an_empty_board_invites(app: Flask, browser: Browser) -> None:
    fill(app, 0)
    assert "Be the first to write" in browser.get("/").words


def test_a_page_costs_the_same_number_of_statements_however_much_is_on_it(
    app: Flask, browser: Browser, statements: Callable[[], int]
) -> None:
    browser.get("/")
    fill(app, 1)
    statements()
    browser.get("/")
    few = statements()
    fill(app, 60)
    statements()
    browser.get("/")
    assert statements() == few <= 4


@pytest.fixture
def statements(app: Flask) -> Callable[[], int]:
    """Return a function that tells how many statements ran since it was last asked."""
    ran: list[str] = []

    def count() -> int:
        number = len(ran)
        ran.clear()
        return number

    with app.app_context():

        @event.listens_for(db.engine, "before_cursor_execute")
        def note(_conn: Any, _cursor: Any, statement: str, *_: Any) -> None:
            if not statement.startswith(("BEGIN", "PRAGMA")):
                ran.append(statement)

    return count


# --- what is shown --------------------------------------------------------------------------

# That Jinja escapes is Jinja's promise; where a text stands, and what becomes a link, is ours.
PAYLOADS = (
    "<script>alert(1)</script>",
    "</textarea><script>alert(1)</script>",
    """'"><b onmouseover="alert(1)">""",
    "javascript:alert(1)",
    'https://a.example/"onclick="alert(1)',
    "www.a.example/<img src=x onerror=alert(1)>",
    "{{ 7*7 }}&lt;script&gt;",
    "<scr\x00ipt>alert(1)</scr\x00ipt>",
)


@on_sqlite
@pytest.mark.parametrize("payload", PAYLOADS)
def test_no_html_comes_through(browser: Browser, payload: str) -> None:
    browser.submit("/", {"comment": payload, "name": payload[:40]})
    browser.submit("/topics/1/replies", {"comment": payload, "name": payload[:40]})
    failed = browser.submit("/", {"comment": payload, "name": payload + "n" * 40})
    stale = browser.post("/", {"comment": payload, "name": payload, payload: payload})
    pages = [browser.get("/"), browser.get("/topics/1"), browser.get("/topics/4"), failed, stale]
    assert [page.status for page in pages] == [200, 200, 200, 422, 400]
    for page in pages:
        for tag, attrs in tags(page.text):
            assert tag not in ("script", "img", "svg", "b", "iframe", "style"), (tag, attrs)
            assert not [name for name in attrs if name.startswith(("on", "style"))], (tag, attrs)
            for name in ("href", "src", "action"):
                address = (attrs.get(name) or "/").lower()
                assert address.startswith(("/", "#", "?", "http://", "https://", "mailto:")), attrs
    assert tidy(payload) in shown_text(browser.get("/topics/4"))


def shown_text(answer: Answer) -> str:
    return unescape(" ".join(shown(answer)))


@on_sqlite
def test_links_are_live_and_vouched_for_by_nobody(browser: Browser) -> None:
    browser.submit(
        "/", {"comment": "See https://a.example/x?y=1&z=2, or www.b.example. (http://c.example)"}
    )
    made = [
        attrs
        for tag, attrs in tags(browser.get("/").text)
        if tag == "a" and "nofollow" in (attrs.get("rel") or "")
    ]
    ours = [attrs for attrs in made if "example.com" not in (attrs["href"] or "")]
    assert [attrs["href"] for attrs in ours] == [
        "https://a.example/x?y=1&z=2",
        "https://www.b.example",
        "http://c.example",
    ]
    for attrs in ours:
        assert set((attrs["rel"] or "").split()) == {"nofollow", "ugc", "noopener"}


def test_line_breaks_stay_in_the_text(browser: Browser) -> None:
    browser.submit("/", {"comment": "one\ntwo\n\nthree"})
    assert shown(browser.get("/"))[0] == "one\ntwo\n\nthree"


def test_a_text_in_any_script_is_shown_as_it_was_written(browser: Browser) -> None:
    text = "在庫はありますか？ 👩‍👩‍👧‍👦 שלום é e\u0301"
    browser.submit("/", {"comment": text, "name": "綾"})
    assert shown(browser.get("/"))[0] == text


def test_times_are_told_in_the_shops_zone_and_to_programs_in_full(browser: Browser) -> None:
    with time_machine.travel("2026-01-01T16:30:00Z", tick=False):
        browser.submit("/", {"comment": "new year"})
    page = browser.get("/")
    assert 'datetime="2026-01-01T16:30:00+00:00"' in page.text
    assert "Jan 2, 2026" in page.words
    browser.get("/?lang=ja")
    assert "2026年1月2日 1:30" in browser.get("/").words


@on_sqlite
def test_posting_works_in_japanese(browser: Browser) -> None:
    page = browser.get("/", Accept_Language="ja-JP,ja;q=0.9")
    assert '<html lang="ja">' in page.text
    assert browser.submit("/", {"comment": "こんにちは"}).status == 303
