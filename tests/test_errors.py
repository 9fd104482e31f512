"""Whatever is sent gets an answer that helps: as a page, as JSON, and never as a broken server."""

import json
import random
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from flask import Flask
from sqlalchemy import exc

from shop.errors import ShopError
from tests.actors import Answer, Browser
from tests.databases import on_all
from tests.pages import form_to, forms, send

TEXTS = [
    "", " ", "Hello", "\x00", "a\x00b", "\ud800", "x" * 3000, "💥" * 50, "日本語", "\u202e",
    "\r\n\t", "<script>alert(1)</script>", "' OR 1=1 --", "{{ 7 * 7 }}", "%s%n", "../../etc/passwd",
    "\ufffe",
]  # fmt: skip
NUMBERS = [
    "0", "1", "2", "-1", "+1", "1.0", "1e9", "٣", "１", "0x10", " 1 ", "1_000", "NaN", "9" * 18,
    str(2**63 - 1), str(2**63), "9" * 19, "9" * 30, "9" * 4301,
]  # fmt: skip
RAW = ["%00", "%FF", "%ED%A0%80", "%C3%28", "%F8%88", "%", "%zz", "%252e", "..%2f..", "%0d%0aX: y"]
JSON = [
    None, True, 0, -1, 1.5, 10**400, "", "text", "\ud800", "\x00", [], [1, 2], {}, [[]],
    {"order": []}, {"order": {}}, {"order": 1}, {"order": None}, {"order": "\ud800"},
    {"order": "\x00"}, {"product_id": []}, {"product_id": {}, "quantity": []},
    {"product_id": 1, "quantity": 10**30},
    {"product_id": True}, {"product_id": 1.0}, {"product_id": "1", "quantity": None},
    {"comment": 1}, {"comment": ["a"], "name": {}}, {"comment": "\ud800"},
]  # fmt: skip
METHODS = [
    "GET",
    "GET",
    "POST",
    "POST",
    "POST",
    "HEAD",
    "PUT",
    "PATCH",
    "DELETE",
    "OPTIONS",
    "TRACE",
]
METHODS += ["CONNECT", "PROPFIND", "get", "BREW"]


def pick_path(chance: random.Random, app: Flask) -> str:
    """Return an address of the shop with anything in its places, percent-encoded."""
    rules = [*app.url_map.iter_rules()]
    rule = chance.choice(rules).rule if chance.random() < 0.95 else "/sandbox/<x>/<y>"

    def place(_: re.Match[str]) -> str:
        kind = chance.random()
        if kind < 0.5:
            return quote(chance.choice(NUMBERS))
        if kind < 0.7:
            return chance.choice(RAW)
        return quote(chance.choice(TEXTS), errors="surrogatepass", safe="/")

    return re.sub(r"<[^>]+>", place, rule)


def pick_query(chance: random.Random) -> str:
    names = ("before", "after", "q", "lang", "session_id", "order", "x")
    pairs = []
    for _ in range(chance.randrange(3)):
        value = quote(chance.choice(NUMBERS + TEXTS), errors="surrogatepass")
        pairs.append(f"{chance.choice(names)}={chance.choice([value, *RAW])}")
    return "&".join(pairs)


def pick_fields(chance: random.Random, token: str) -> list[tuple[str, bytes]]:
    names = ("comment", "name", "product_id", "quantity", "order", "stripeToken", "email", "x\x00")
    fields = [("csrf_token", token.encode())]
    for _ in range(chance.randrange(4)):
        value = chance.choice(TEXTS + NUMBERS).encode("utf-8", "surrogatepass")
        fields.append(
            (chance.choice(names), chance.choice([value, value, b"\xff\xfe", b"\xed\xa0\x80"]))
        )
    return fields


def multipart(fields: list[tuple[str, bytes]], chance: random.Random) -> bytes:
    parts = []
    for name, value in fields:
        extra = chance.choice(
            [b"", b"", b'; filename="a.txt"', b"; filename*=utf-8''%ff", b'; x="']
        )
        head = b'Content-Disposition: form-data; name="' + name.encode() + b'"' + extra
        kind = chance.choice([b"", b"\r\nContent-Type: text/plain; charset=utf-16"])
        parts.append(b"--cut\r\n" + head + kind + b"\r\n\r\n" + value + b"\r\n")
    return b"".join(parts) + chance.choice([b"--cut--\r\n", b"--cut--\r\n", b""])


def pick_body(chance: random.Random, token: str) -> tuple[bytes, str | None]:
    """Return a body and its content type, which often fits."""
    kind = chance.randrange(5)
    if kind == 0:
        text = json.dumps(chance.choice(JSON))
        broken = chance.choice(["{", "[" * 2000, '{"a":', "\ufeff{}", "NaN"])
        return chance.choice([text, text, text, broken]).encode(), "application/json"
    if kind == 1:
        return bytes(chance.randrange(256) for _ in range(50)), chance.choice(
            ["application/x-www-form-urlencoded", "multipart/form-data", "text/plain", "é/é", None]
        )
    fields = pick_fields(chance, token)
    if kind == 2:
        return multipart(fields, chance), "multipart/form-data; boundary=cut"
    body = "&".join(f"{quote(name)}={quote(value)}" for name, value in fields)
    return body.encode(), "application/x-www-form-urlencoded"


def pick_headers(chance: random.Random) -> dict[str, str | None]:
    odd = {
        "Accept": ["application/json", "*/*;q=x", "a/b/c", "text/html;q=-1", "\x80\xff", ";;;,,,"],
        "Accept_Language": ["ja", "ja-JP;q=0.8", "x" * 500, "-", "\xe9", ";q=1,,"],
        "Cookie": ["session=\xff", "session=a.b.c", "=;=;", "session=" + "x" * 5000],
        "Content_Length": ["-1", "x", "99999999999", "0", ""],
        "Stripe_Signature": ["t=1,v1=\xe9", "t=x", "", "v1=,t="],
        "If_None_Match": ['"x"', "\xe9"],
        "Range": ["bytes=0-1", "bytes=9-1", "x"],
        "Content_Encoding": ["gzip", "x"],
        "Transfer_Encoding": ["chunked", "x"],
        "X_Forwarded_For": ["1.2.3.4", "\xe9", "x" * 500],
    }
    names = chance.sample(sorted(odd), chance.randrange(3))
    return {name: chance.choice(odd[name]) for name in names}


# Werkzeug leaves the file of an upload that is cut short to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@on_all
@pytest.mark.parametrize("seed", range(4))
def test_no_request_breaks_the_shop(
    app: Flask, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    chance = random.Random(seed)
    page = send(app)
    form = form_to(page.text, "/")
    assert form is not None
    token = form.fields["csrf_token"]
    for _ in range(150):
        body, content_type = pick_body(chance, token)
        sent: dict[str, Any] = {
            "path": pick_path(chance, app),
            "method": chance.choice(METHODS),
            "query": pick_query(chance),
            "body": body,
            "content_type": content_type,
            "cookie": page.headers["Set-Cookie"].split(";")[0],
            "x_csrftoken": token,
        } | {name.lower(): value for name, value in pick_headers(chance).items()}
        answer = send(app, **sent)
        assert answer.status < 500, sent
    assert "Traceback" not in caplog.text


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


def test_a_refusal_keeps_its_status_code_and_words(app: Flask) -> None:
    class TooFast(ShopError):
        status = 429
        code = "too_fast"

    app.add_url_rule("/fast", "fast", raiser(TooFast("Wait a <moment>.")))
    page: Answer = Browser(app).get("/fast")
    assert page.status == 429
    assert int(page.headers["Retry-After"]) > 0
    assert "Wait a <moment>." in page.words
    assert "<moment>" not in page.text
    answer = Browser(app).get("/fast", Accept="application/json")
    assert answer.json == {"error": {"code": "too_fast", "message": "Wait a <moment>."}}
