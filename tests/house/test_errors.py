"""Whatever is sent gets an answer that helps: as a page, as JSON, and never as a broken server."""

from collections.abc import Callable

import pytest
from flask import Flask
from flask_babel import lazy_gettext
from sqlalchemy import exc

from shop.errors import ShopError
from tests.actors import Answer, Browser
from tests.pages import form_to, forms, send


@pytest.mark.parametrize(
    "row", ["9" * 19, str(2**63), "9" * 30, "9" * 4301, "-1", "٣", "1.0", "1%00", "x"]
)
def test_an_id_that_no_row_can_have_is_nothing_here(app: Flask, row: str) -> None:
    browser = Browser(app)
    token = browser.token()
    assert browser.get(f"/topics/{row}").status == 404
    for address in (f"/topics/{row}/replies", f"/cart/items/{row}"):
        answer = browser.post(address, {"comment": "x", "quantity": 1, "csrf_token": token})
        assert answer.status == 404


def test_the_largest_id_is_looked_for(browser: Browser) -> None:
    assert browser.get(f"/topics/{2**63 - 1}").status == 404
    assert browser.submit(f"/cart/items/{2**63 - 1}", {"quantity": 1}).status == 404


@pytest.mark.parametrize("size", [1024 * 1024 + 1, 3 * 1024 * 1024])
@pytest.mark.parametrize(
    "content_type", ["application/x-www-form-urlencoded", "multipart/form-data; boundary=cut"]
)
def test_a_body_beyond_the_limit_is_refused_on_a_page(
    app: Flask, size: int, content_type: str
) -> None:
    answer = send(app, method="POST", body=b"comment=" + b"x" * size, content_type=content_type)
    assert answer.status == 413
    assert "1 MiB" in answer.text
    assert "</html>" in answer.text


def test_a_body_within_the_limit_is_read(app: Flask) -> None:
    browser = Browser(app)
    answer = browser.submit("/", {"comment": "x" * 1_000_000})
    assert answer.status == 422
    assert "1000000 characters" in answer.words


def test_a_part_of_a_form_may_be_as_large_as_the_form(app: Flask) -> None:
    page = send(app)
    form = form_to(page.text, "/")
    assert form is not None
    part = b'--cut\r\nContent-Disposition: form-data; name="comment"\r\n\r\n%s\r\n--cut--\r\n'
    answer = send(
        app,
        method="POST",
        body=part % (b"x" * 900_000),
        content_type="multipart/form-data; boundary=cut",
        cookie=page.headers["Set-Cookie"].split(";")[0],
        x_csrftoken=form.fields["csrf_token"],
    )
    assert answer.status == 422
    assert "900000 characters" in answer.words


@pytest.mark.parametrize("path", ["/nothing", "/topics/987654", "/shop/nothing", "/topics/x", "/é"])
def test_what_is_not_there_is_said_on_a_page(browser: Browser, path: str) -> None:
    answer = browser.get(path)
    assert answer.status == 404
    assert "There is nothing here" in answer.words
    assert 'role="alert"' in answer.text


JSON_ACCEPTS = ("application/json", "application/json, text/plain, */*", "application/json;q=0.9")
PAGE_ACCEPTS = (
    None, "", "*/*", "text/html", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "text/html, application/json", "application/json;q=0.5, text/html", "application/json;q=0", "x",
)  # fmt: skip


def test_who_asks_for_json_is_told_in_json(app: Flask) -> None:
    for accept in JSON_ACCEPTS:
        answer = send(app, "/topics/987654", accept=accept)
        assert answer.status == 404
        assert answer.headers["Content-Type"] == "application/json", accept
        assert answer.json["error"]["code"] == "no_topic"
        assert answer.json["error"]["message"]
    assert send(app, "/nothing", accept="application/json").json["error"]["code"] == "not_found"


def test_everybody_else_gets_a_page(app: Flask) -> None:
    for accept in PAGE_ACCEPTS:
        answer = send(app, "/topics/987654", accept=accept)
        assert answer.status == 404
        assert answer.headers["Content-Type"].startswith("text/html"), accept


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/", {"GET", "HEAD", "OPTIONS", "POST"}),
        ("/topics/1", {"GET", "HEAD", "OPTIONS"}),
        ("/topics/1/replies", {"OPTIONS", "POST"}),
        ("/cart/items", {"OPTIONS", "POST"}),
        ("/payments/webhook", {"OPTIONS", "POST"}),
    ],
)
def test_a_wrong_method_is_told_which_are_right(
    browser: Browser, app: Flask, path: str, allowed: set[str]
) -> None:
    answer = send(app, path, method="DELETE")
    assert answer.status == 405
    assert set(answer.headers["Allow"].split(", ")) == allowed
    assert "</html>" in answer.text
    options = send(app, path, method="OPTIONS")
    assert options.status == 200
    assert set(options.headers["Allow"].split(", ")) == allowed


@pytest.mark.parametrize(
    "path", ["/", "/topics/1", "/shop/", "/cart", "/nothing", "/static/shop.css"]
)
def test_head_is_get_without_the_body(app: Flask, path: str) -> None:
    head, get = send(app, path, method="HEAD"), send(app, path)
    assert head.status == get.status
    assert head.text == ""
    assert head.headers["Content-Type"] == get.headers["Content-Type"]


@pytest.mark.parametrize(
    ("path", "query", "location"),
    [
        ("/shop", "", "/shop/"),
        ("/shop", "a=1&b=%E6%97%A5", "/shop/?a=1&b=%E6%97%A5"),
        ("//shop//", "", "/shop/"),
        ("/topics//1", "", "/topics/1"),
    ],
)
def test_an_address_that_is_nearly_right_leads_to_the_right_one(
    app: Flask, path: str, query: str, location: str
) -> None:
    answer = send(app, path, query=query)
    assert (answer.status, answer.location) == (308, location)


def test_a_mistake_of_ours_is_a_page_that_says_so(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    @app.get("/broken")
    def broken() -> str:
        raise ZeroDivisionError("our mistake")

    answer = Browser(app).get("/broken")
    assert answer.status == 500
    assert "Something broke on our side" in answer.words
    assert "ZeroDivisionError" not in answer.text
    assert "ZeroDivisionError: our mistake" in caplog.text
    assert Browser(app).get("/broken", Accept="application/json").json["error"]["code"] == (
        "internal_server_error"
    )


def raiser(error: Exception) -> Callable[[], str]:
    def view() -> str:
        raise error

    return view


@pytest.mark.parametrize(
    "error",
    [
        exc.OperationalError("SELECT 1", {}, Exception("gone away")),
        exc.InterfaceError("SELECT 1", {}, Exception("connection closed")),
        exc.TimeoutError("QueuePool limit reached"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_database_that_is_away_is_503_and_to_be_tried_again(app: Flask, error: Exception) -> None:
    app.add_url_rule("/broken", "broken", raiser(error), methods=["GET", "POST"])
    browser = Browser(app)
    for answer in (browser.get("/broken"), browser.submit("/broken", {"comment": "my words"})):
        assert answer.status == 503
        assert int(answer.headers["Retry-After"]) > 0
    form = form_to(answer.text, "/broken")
    assert form is not None
    assert form.fields["comment"] == "my words"
    assert forms(browser.get("/broken").text) == []


def test_a_statement_that_is_wrong_is_our_mistake_not_the_databases(app: Flask) -> None:
    error = exc.ProgrammingError("SELEC 1", {}, Exception("syntax"))
    app.add_url_rule("/broken", "broken", raiser(error))
    assert Browser(app).get("/broken").status == 500


class Gone(ShopError):
    message = lazy_gettext("Nothing was charged: there are not enough left of “%(name)s”. Please "
                           "choose fewer, or something else.")  # fmt: skip


def test_the_message_of_a_class_is_said_in_the_readers_language(app: Flask) -> None:
    app.add_url_rule("/gone", "gone", lambda: raiser(Gone(name="100 %"))())
    browser = Browser(app)
    assert "not enough left of “100 %”" in browser.get("/gone").words
    assert "「100 %」" in browser.get("/gone", Accept_Language="ja").words


def test_a_refusal_keeps_its_status_code_and_words(app: Flask) -> None:
    class TooFast(ShopError):
        status = 429
        code = "too_fast"

    app.add_url_rule("/fast", "fast", raiser(TooFast("Wait a <moment>.")))
    page: Answer = Browser(app).get("/fast")
    assert page.status == 429
    assert int(page.headers["Retry-After"]) > 0
    assert "Wait a <moment>." in page.words
    assert 'data-error="too_fast"' in page.text
    assert "<moment>" not in page.text
    answer = Browser(app).get("/fast", Accept="application/json")
    assert answer.json == {"error": {"code": "too_fast", "message": "Wait a <moment>."}}
