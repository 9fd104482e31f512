"""Whom the shop answers, what it tells browsers, and which forms it takes for its own."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.robotparser import RobotFileParser

import pytest
import time_machine
from flask import Flask, request, url_for
from werkzeug.exceptions import NotFound
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.test import Client

from shop.mail.outbox import newest
from shop.security import external_url
from tests.actors import Answer, Browser, Buyer
from tests.pages import form_to, forms, links, send

MakeApp = Callable[..., Flask]
WEB = {"SHOP_PUBLIC_URL": "https://shop.example", "SHOP_SANDBOX": "on"}
PAGES = ("/", "/topics/1", "/shop/", "/shop/t-shirt", "/cart")

# --- hosts ----------------------------------------------------------------------------------

LOOPBACK = ("127.0.0.1:5000", "localhost", "LOCALHOST:8080", "[::1]:5000", "127.0.0.2")
FORGED = (
    "evil.example",
    "127.evil.example",
    "127.0.0.1.evil.example",
    "localhost.evil.example",
    "evil.example:5000",
    "user@127.0.0.1",
    "127.0.0.1@evil.example",
    "127.0.0.1:5000@evil.example",
    "127.0.0.1/evil.example",
    "0.0.0.0",
    "[::]",
    "[2001:db8::1]",
    "[::1",
    "2130706433",
    "local host",
    "",
    ":5000",
    "127.0.0.1:port",
    "é.example",
)


def test_a_shop_without_an_address_answers_at_this_machines_names_alone(app: Flask) -> None:
    for host in LOOPBACK:
        assert send(app, host=host).status == 200, host
    for host in (*FORGED, "shop.example"):
        refused(send(app, host=host))


@pytest.mark.parametrize(
    ("public", "host"),
    [
        ("https://shop.example", "shop.example"),
        ("https://shop.example", "SHOP.example"),
        ("https://shop.example", "shop.example:443"),
        ("https://shop.example:443", "shop.example"),
        ("http://shop.example", "shop.example:80"),
        ("https://shop.example:8443", "shop.example:8443"),
        ("https://shop.example/corner", "shop.example"),
        ("http://[::1]:5000", "[::1]:5000"),
        ("https://例え.example", "xn--r8jz45g.example"),
        ("https://faß.example", "xn--fa-hia.example"),
        ("https://βόλος.example", "XN--NXASMM1C.example"),
    ],
)
def test_a_shop_with_an_address_answers_at_it(make_app: MakeApp, public: str, host: str) -> None:
    app = make_app(SHOP_PUBLIC_URL=public)
    assert send(app, host=host).status == 200
    assert send(app, host=host, environ={"wsgi.url_scheme": "https"}).status == 200


@pytest.mark.parametrize(
    ("name", "ascii_name"),
    [
        ("faß.example", "xn--fa-hia.example"),
        ("βόλος.example", "xn--nxasmm1c.example"),
        ("例え.example", "xn--r8jz45g.example"),
    ],
)
def test_a_shop_under_a_name_of_other_letters_sells(
    make_app: MakeApp, name: str, ascii_name: str
) -> None:
    own = f"http://{ascii_name}"
    app = make_app(SHOP_PUBLIC_URL=f"http://{name}", SHOP_SANDBOX="on")
    shop = app.wsgi_app
    # Werkzeug's test client, unlike the shop, reads the name by the standard of 2003.
    app.wsgi_app = lambda environ, start: shop(environ | {"HTTP_HOST": ascii_name}, start)
    buyer = Buyer(app)
    assert buyer.get("/shop?x=1").headers["Location"] == "/shop/?x=1"
    order = buyer.order()
    assert order["url"].startswith(f"{own}/sandbox/checkout/")
    paid = buyer.pay(order["url"].removeprefix(own))
    assert paid.location.startswith(f"{own}/payments/success?")
    assert buyer.get(paid.location.removeprefix(own)).status == 303
    assert buyer.see(order["order"])["state"] == "paid"
    with app.app_context():
        links = {json.loads(row.context)["link"] for row in newest()}
    assert links == {f"{own}/orders/{order['order']}"}
    assert buyer.submit("/", {"comment": "Hello"}, Origin=own).status == 303
    app.wsgi_app = shop
    for host in ("xn--fass-hia.example", "fass.example", name.encode().decode("latin-1")):
        refused(send(app, host=host))


def test_a_shop_with_an_address_answers_at_no_other(make_app: MakeApp) -> None:
    app = make_app(**WEB)
    for host in (*FORGED, *LOOPBACK, "shop.example:8888", "www.shop.example"):
        refused(send(app, host=host))


def refused(answer: Answer) -> None:
    assert answer.status == 400
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert "<" not in answer.text
    assert "Set-Cookie" not in answer.headers


def test_a_forged_host_gets_nothing_at_any_address(app: Flask) -> None:
    for path in ("/", "/shop", "/payments/webhook", "/sandbox/", "/nothing", "/static/shop.css"):
        for method in ("GET", "POST", "OPTIONS"):
            answer = send(app, path, method=method, host="evil.example")
            assert answer.status == 400
            assert "evil.example" not in answer.text


@pytest.mark.parametrize("name", ["X_Forwarded_Host", "Forwarded", "X_Original_Host", "X_Host"])
def test_a_forwarded_host_is_not_believed(app: Flask, name: str) -> None:
    answer = send(app, "/shop", **{name: "evil.example"})
    assert answer.status == 308
    assert "evil" not in str(answer.headers) + answer.text


def test_no_page_leads_elsewhere_because_of_the_address_it_was_asked_at(app: Flask) -> None:
    for path in ("//evil.example/x", "///evil.example", "/%2f/evil.example", "/.//evil.example"):
        answer = send(app, path)
        assert answer.status in (308, 404)
        found = [*links(answer.text), answer.headers.get("Location", "")]
        assert not [link for link in found if link.startswith("//") or "://evil" in link], path


def test_without_any_host_the_server_says_where_it_is(app: Flask) -> None:
    assert send(app, host=None).status == 200
    refused(send(app, host=None, environ={"SERVER_NAME": "shop.example"}))


@pytest.mark.parametrize("host", ["evil.example", "", "10.0.0.7:8000"])
def test_health_is_told_to_any_host(make_app: MakeApp, host: str) -> None:
    for app in (make_app(), make_app(**WEB)):
        assert send(app, "/healthz", host=host).json == {"status": "ok"}


def test_addresses_for_mails_and_stripe_come_from_the_public_address(make_app: MakeApp) -> None:
    app = make_app(SHOP_PUBLIC_URL="https://shop.example/corner")
    with app.app_context():
        assert external_url("catalog.index") == "https://shop.example/corner/shop/"
    with app.test_request_context("/", base_url="http://elsewhere.example"):
        assert external_url("catalog.index") == "https://shop.example/corner/shop/"


def link_in_mail(node: Flask) -> str:
    """Return the link of a mail that a command writes."""
    result = node.test_cli_runner().invoke(args=["shop", "ship", "1"])
    assert result.exit_code == 0, result.output
    with node.app_context():
        mail = next(mail for mail in newest() if mail.kind == "customer_shipped")
        return str(json.loads(mail.context)["link"])


def test_a_command_links_to_where_the_shop_was_visited(make_app: MakeApp, app: Flask) -> None:
    token = Buyer(app, "http://localhost:8123").buy()
    send(app, host="evil.example")
    send(app, "/healthz", host="evil.example")
    assert link_in_mail(make_app()) == f"http://localhost:8123/orders/{token}"


def test_a_command_links_to_the_public_address_where_there_is_one(make_app: MakeApp) -> None:
    token = Buyer(make_app(), "http://127.0.0.1:8123").buy()
    public = make_app(**WEB)
    assert link_in_mail(public) == f"https://shop.example/orders/{token}"


def test_before_the_first_visit_a_command_links_to_the_usual_port(app: Flask) -> None:
    with app.app_context():
        assert external_url("board.index") == "http://127.0.0.1:5000/"


def test_without_a_public_address_the_request_says_where_the_shop_is(app: Flask) -> None:
    with app.test_request_context("/", base_url="http://localhost:8080/corner"):
        assert external_url("catalog.index") == "http://localhost:8080/corner/shop/"
    with app.app_context():
        assert external_url("catalog.index") == "http://127.0.0.1:5000/shop/"


# --- proxies --------------------------------------------------------------------------------

FORWARDED = {
    "X_Forwarded_For": "203.0.113.9",
    "X_Forwarded_Proto": "https",
    "X_Forwarded_Host": "shop.example",
    "X_Forwarded_Prefix": "/evil",
}


def seen_by(app: Flask, **headers: str) -> dict[str, str]:
    """Return what a view sees of a request with these headers."""

    @app.get("/seen")
    def seen() -> dict[str, str]:
        link = url_for("board.index", _external=True)
        return {"address": request.remote_addr or "", "link": link}

    return dict(send(app, "/seen", **headers).json)


def test_a_proxy_is_not_believed_unless_it_is_configured(app: Flask) -> None:
    seen = seen_by(app, **FORWARDED)
    assert seen == {"address": "192.0.2.7", "link": "http://127.0.0.1:5000/"}


def test_of_a_proxy_only_what_is_named_is_believed(make_app: MakeApp) -> None:
    seen = seen_by(make_app(SHOP_PROXY="for=1,proto=1"), **FORWARDED)
    assert seen == {"address": "203.0.113.9", "link": "https://127.0.0.1:5000/"}


def test_of_two_proxies_the_farther_one_is_believed(make_app: MakeApp) -> None:
    forwarded = {"X_Forwarded_For": "198.51.100.1, 203.0.113.9, 10.0.0.1"}
    assert seen_by(make_app(SHOP_PROXY="for=2"), **forwarded)["address"] == "203.0.113.9"


def test_a_proxy_may_name_host_and_prefix_if_the_owner_says_so(make_app: MakeApp) -> None:
    settings = {
        "SHOP_PROXY": "for=1,proto=1,host=1,prefix=1",
        "SHOP_PUBLIC_URL": "https://shop.example/corner",
    }
    app = make_app(**settings, SHOP_SANDBOX="on")
    forwarded = FORWARDED | {"X_Forwarded_Prefix": "/corner"}
    assert "/corner/shop/" in links(send(app, **forwarded).text)
    refused(send(app, **forwarded | {"X_Forwarded_Host": "evil.example"}))
    refused(send(app, **forwarded | {"X_Forwarded_Prefix": "//evil.example"}))
    # The sandbox stands behind the same proxy.
    assert send(app, "/sandbox/v1/nothing", **forwarded).status == 404
    assert send(app, "/sandbox/v1/nothing", **forwarded).text.startswith("{")


# --- headers --------------------------------------------------------------------------------


def policy(answer: Answer) -> dict[str, str]:
    directives = answer.headers["Content-Security-Policy"].split("; ")
    return {name: rest for name, _, rest in (part.partition(" ") for part in directives)}


@pytest.mark.parametrize("path", [*PAGES, "/nothing", "/healthz", "/static/shop.css", "/shop"])
def test_every_answer_tells_browsers_what_they_may_do(app: Flask, path: str) -> None:
    answer = send(app, path)
    assert policy(answer) == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' data:",
        "font-src": "'self'",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "object-src": "'none'",
        "form-action": "'self' https://checkout.stripe.com",
        "frame-ancestors": "'none'",
    }
    for name, value in {
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "same-origin",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
    }.items():
        assert answer.headers[name] == value
    assert "camera=()" in answer.headers["Permissions-Policy"]
    assert "Strict-Transport-Security" not in answer.headers


def test_errors_carry_the_headers_too(app: Flask) -> None:
    @app.get("/broken")
    def broken() -> str:
        raise ZeroDivisionError

    for answer in (
        send(app, "/broken"),
        send(app, "/nothing"),
        send(app, method="PUT"),
        send(app, method="POST"),
        send(app, host="evil.example"),
    ):
        assert answer.status >= 400
        assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("settings", "origins"),
    [
        ({"STRIPE_CHECKOUT_ORIGINS": "https://pay.shop.example"}, ["https://pay.shop.example"]),
        (
            {"STRIPE_CHECKOUT_ORIGINS": "https://a.example, https://b.example:8443"},
            ["https://a.example", "https://b.example:8443"],
        ),
        (
            {"STRIPE_SECRET_KEY": "sk_test_x", "STRIPE_API_BASE": "http://127.0.0.1:5001/sandbox"},
            ["http://127.0.0.1:5001"],
        ),
    ],
)
def test_forms_may_lead_to_where_the_buyer_pays(
    make_app: MakeApp, settings: dict[str, str], origins: list[str]
) -> None:
    expected = ["'self'", "https://checkout.stripe.com", *origins]
    assert policy(send(make_app(**settings)))["form-action"].split() == expected


def test_a_shop_on_https_says_so_for_a_year(make_app: MakeApp) -> None:
    answer = send(make_app(**WEB), host="shop.example")
    assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"


NOINDEX = '<meta name="robots" content="noindex">'


@pytest.mark.parametrize("path", [path for path in PAGES if path != "/cart"])
def test_public_pages_may_be_listed_but_are_kept_by_nobody_else(app: Flask, path: str) -> None:
    answer = send(app, path)
    assert answer.headers["Cache-Control"] == "private, no-cache"
    assert "Cookie" in answer.headers["Vary"]
    assert "X-Robots-Tag" not in answer.headers
    assert 'name="robots"' not in answer.text


def test_what_is_ones_own_is_neither_kept_nor_listed(app: Flask) -> None:
    buyer = Buyer(app)
    waiting, paid = buyer.order(2), buyer.buy()
    buyer.submit("/cart/items", {"product_id": 3, "quantity": 1})
    session = f"session_id={waiting['id']}"
    for path, status in (
        ("/cart", 200), (f"/orders/{paid}", 200), (f"/orders/{waiting['order']}", 200),
        ("/orders", 200), ("/orders?asked=yes", 200), (f"/payments/success?{session}", 200),
        (f"/payments/card?order={waiting['order']}", 200), ("/payments/card", 200),
        (f"/payments/cancel?order={paid}", 303), ("/nothing", 404), ("/topics/99", 404),
        ("/shop/nothing", 404), ("/orders/nothing", 404), ("/payments/success", 404),
        ("/payments/webhook", 405), ("/sandbox/", 200), ("/sandbox/nothing", 404),
        (waiting["url"], 200), ("/healthz", 200),
    ):  # fmt: skip
        answer = buyer.get(path)
        assert answer.status == status, path
        assert answer.headers["Cache-Control"] == "no-store", path
        assert answer.headers["X-Robots-Tag"] == "noindex", path
        if answer.headers["Content-Type"].startswith("text/html") and status != 303:
            assert answer.text.count(NOINDEX) == 1, path
    typed = buyer.submit("/orders", {"email": "no address"})
    assert (typed.status, typed.headers["Cache-Control"]) == (422, "no-store")


def test_a_text_that_is_to_be_mended_is_kept_by_the_browser_that_goes_back(app: Flask) -> None:
    answer = Browser(app).submit("/", {"comment": "x" * 2001})
    assert (answer.status, answer.headers["Cache-Control"]) == (422, "private, no-cache")
    assert answer.headers["X-Robots-Tag"] == "noindex"


@pytest.mark.parametrize("at", ["", "/corner"])
def test_crawlers_are_told_where_there_is_nothing_to_read(app: Flask, at: str) -> None:
    server = mounted(app, at) if at else Client(app)
    answer = server.get(f"{at}/robots.txt", base_url="http://127.0.0.1:5000")
    assert (answer.status_code, answer.mimetype) == (200, "text/plain")
    rules = RobotFileParser()
    rules.parse(answer.text.splitlines())
    # An order's page says itself that it is not to be listed, so crawlers must be able to read it.
    for path in ("/", "/topics/1", "/shop/", "/shop/t-shirt", "/orders/x", "/static/shop.css"):
        assert rules.can_fetch("*", at + path), path
    for path in ("/cart", "/payments/success", "/payments/card", "/sandbox/"):
        assert not rules.can_fetch("*", at + path), path
        assert rules.can_fetch("*", path) or not at


# --- cookies and mounting -------------------------------------------------------------------


def mounted(app: Flask, at: str) -> Client:
    """Return a client of a server that has the shop in a folder."""
    return Client(DispatcherMiddleware(NotFound(), {at: app}))


@pytest.mark.parametrize(
    ("public", "at", "name", "path", "secure"),
    [
        (None, "", "session", "/", False),
        ("http://127.0.0.1:5000", "", "session", "/", False),
        (None, "/corner", "session", "/corner/", False),
        ("https://shop.example", "", "__Host-session", "/", True),
        ("https://shop.example/corner", "/corner", "__Secure-session", "/corner/", True),
        ("https://shop.example/a/b", "/a/b", "__Secure-session", "/a/b/", True),
    ],
)
def test_the_cookie_is_bound_as_tightly_as_the_address_allows(
    make_app: MakeApp, public: str | None, at: str, name: str, path: str, secure: bool
) -> None:
    app = make_app(SHOP_PUBLIC_URL=public, SHOP_SANDBOX="on")
    base = (public or "http://127.0.0.1:5000").removesuffix(at)
    server = mounted(app, at) if at else Client(app)
    cookies = server.get(f"{at}/", base_url=base).headers.getlist("Set-Cookie")
    assert len(cookies) == 1
    value, *flags = cookies[0].split("; ")
    assert value.startswith(f"{name}=")
    wanted = {"HttpOnly", "SameSite=Lax", f"Path={path}"} | ({"Secure"} if secure else set())
    assert set(flags) == wanted


@pytest.mark.parametrize("public", [None, "https://shop.example/corner"])
def test_in_a_folder_every_address_of_every_page_stays_in_it(
    make_app: MakeApp, public: str | None
) -> None:
    app = make_app(SHOP_PUBLIC_URL=public, SHOP_SANDBOX="on")
    base = "https://shop.example" if public else "http://127.0.0.1:5000"
    server = mounted(app, "/corner")

    def get(path: str) -> str:
        answer = server.get(f"/corner{path}", base_url=base)
        assert answer.status_code == 200
        return answer.text

    start = get("/")
    add = form_to(get("/shop/t-shirt"), "/corner/payments/session")
    assert add is not None
    added = server.post("/corner/cart/items", base_url=base, data=add.fields)
    assert added.location == "/corner/cart"
    pages = [start, *map(get, PAGES)]
    pages.append(server.get("/corner/nothing", base_url=base).text)
    pages.append(server.post("/corner/", base_url=base, data={"comment": "x"}).text)
    for address in {link for page in pages for link in links(page)}:
        if not address.startswith(("https://www.example.com/", "#", "?")):
            assert address.startswith("/corner/"), address
    assert "/corner/cart/items/1" in {link for page in pages for link in links(page)}
    for path in {link for link in links(start) if "/static/" in link}:
        with server.get(path, base_url=base) as answer:
            assert answer.status_code == 200


def test_in_a_folder_posting_paying_and_redirects_stay_in_it(make_app: MakeApp) -> None:
    server = mounted(make_app(), "/corner")
    base = "http://127.0.0.1:5000"
    form = form_to(server.get("/corner/", base_url=base).text, "/corner/")
    assert form is not None
    posted = server.post("/corner/", base_url=base, data=form.fields | {"comment": "from afar"})
    assert (posted.status_code, posted.location) == (303, "/corner/")
    assert "from afar" in server.get("/corner/", base_url=base).text
    assert server.get("/corner/shop", base_url=base).location == "/corner/shop/"
    buy = {"csrf_token": form.fields["csrf_token"], "product_id": "1", "quantity": "1"}
    pay = server.post("/corner/payments/session", base_url=base, data=buy)
    assert pay.status_code == 303
    assert pay.location.startswith(f"{base}/corner/sandbox/")
    assert server.get(pay.location, base_url=base).status_code == 200


# --- forms ----------------------------------------------------------------------------------

UNPROTECTED = {"/payments/webhook", "/tasks"}


def form_addresses(app: Flask) -> Iterator[str]:
    """Return every address that takes POST, with ids that exist."""
    for rule in app.url_map.iter_rules():
        address = re.sub(r"<[^>]*>", "1", rule.rule)
        if "POST" in (rule.methods or set()) and address not in UNPROTECTED:
            yield address


def test_the_forms_are_found(app: Flask) -> None:
    assert {"/", "/topics/1/replies", "/cart/items", "/cart/items/1", "/payments/session"} <= set(
        form_addresses(app)
    )


def test_a_form_without_a_token_of_this_browser_is_taken_nowhere(app: Flask) -> None:
    browser, stranger = Browser(app), Browser(app)
    foreign, own = stranger.token(), browser.token()
    for address in form_addresses(app):
        for token in (None, "", "stale", own + "x", own[:-1], foreign, "\x00", "é"):
            data = {"comment": "Hello", "quantity": "1", "product_id": "1"}
            answer = browser.post(address, data | ({} if token is None else {"csrf_token": token}))
            assert answer.status == 400, (address, token)
            assert "Please send that once more" in answer.words
            assert form_to(answer.text, address) is not None


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Sec_Fetch_Site": "nonsense"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:5001"},
        {"Origin": "https://127.0.0.1:5000"},
        {"Sec_Fetch_Site": "cross-site", "Origin": "http://127.0.0.1:5000"},
    ],
    ids=str,
)
def test_a_form_of_another_site_is_taken_nowhere_and_not_offered_again(
    app: Flask, headers: dict[str, str]
) -> None:
    browser = Browser(app)
    token = browser.token()
    for address in form_addresses(app):
        for data in ({"comment": "Hello"}, {"comment": "Hello", "csrf_token": token}):
            answer = browser.post(address, data, **headers)
            assert answer.status == 400, address
            assert forms(answer.text) == []
    assert "Hello" not in browser.get("/").words


@pytest.mark.parametrize(
    ("public", "headers"),
    [
        (None, {"Sec_Fetch_Site": "same-origin"}),
        (None, {"Sec_Fetch_Site": "none"}),
        (None, {"Origin": "http://127.0.0.1:5000"}),
        (None, {"Sec_Fetch_Site": "same-origin", "Origin": "null"}),
        ("https://Shop.example:443/corner", {"Origin": "https://shop.example"}),
        ("https://shop.example:8443", {"Origin": "https://shop.example:8443"}),
    ],
)
def test_a_form_of_the_shops_own_pages_is_taken(
    make_app: MakeApp, public: str | None, headers: dict[str, str]
) -> None:
    app = make_app(SHOP_PUBLIC_URL=public, SHOP_SANDBOX="on")
    base = app.config["SHOP_PUBLIC_URL"] or "http://127.0.0.1:5000"
    # TLS ends elsewhere: the shop itself is asked by http.
    host = base.partition("://")[2].removesuffix("/corner")
    page = send(app, host=host)
    form = form_to(page.text, "/")
    assert form is not None
    cookie = page.headers["Set-Cookie"].split(";")[0]
    answer = send(
        app,
        method="POST",
        form=form.fields | {"comment": "mine"},
        host=host,
        cookie=cookie,
        **headers,
    )
    assert answer.status == 303, answer.text


def test_a_token_lives_as_long_as_the_visit(app: Flask) -> None:
    browser = Browser(app)
    with time_machine.travel("2026-01-01T00:00:00Z", tick=True):
        token = browser.token()
    with time_machine.travel("2026-01-20T00:00:00Z", tick=True):
        assert browser.post("/", {"comment": "slow", "csrf_token": token}).status == 303


@pytest.mark.parametrize(
    ("address", "fields"),
    [
        ("/", {"comment": "Line one\n\n<b>two</b> 日本 💥", "name": 'A"ya'}),
        ("/", {"comment": "\n\nbegins with lines"}),
        ("/topics/1/replies", {"comment": "An answer", "name": ""}),
        ("/cart/items", {"product_id": "1", "quantity": "3"}),
        ("/cart/items/1", {"quantity": "2"}),
        ("/payments/session", {"product_id": "1", "quantity": "1"}),
    ],
)
def test_a_stale_form_comes_back_with_everything_typed_and_then_succeeds(
    app: Flask, address: str, fields: dict[str, str]
) -> None:
    browser = Browser(app)
    browser.get("/")
    stale = browser.post(address, fields | {"csrf_token": "stale"})
    assert stale.status == 400
    form = form_to(stale.text, address)
    assert form is not None
    kept = {name: value for name, value in form.fields.items() if name != "csrf_token"}
    assert kept == fields
    assert browser.post(form.action, form.fields).status == 303


def test_a_stale_form_without_fields_can_be_sent_again_too(app: Flask) -> None:
    browser = Browser(app)
    browser.submit("/cart/items", {"product_id": 1, "quantity": 1})
    stale = browser.post("/payments/session", {"csrf_token": "stale"})
    form = form_to(stale.text, "/payments/session")
    assert form is not None
    assert browser.post(form.action, form.fields).status == 303


def test_a_stale_form_gives_no_password_and_no_card_back(app: Flask) -> None:
    hidden = {"password": "my password", "stripeToken": "tok_visa"}
    answer = Browser(app).post("/", hidden | {"comment": "Hello"})
    assert "Hello" in answer.text
    assert "my password" not in answer.text
    assert "tok_visa" not in answer.text


def test_programs_are_told_of_a_missing_token_in_json(app: Flask) -> None:
    answer = Browser(app).post("/payments/session", {"product_id": 1}, Accept="application/json")
    assert answer.status == 400
    assert answer.json["error"]["code"] == "csrf"


def test_programs_may_send_the_token_in_a_header(app: Flask) -> None:
    browser = Browser(app)
    token = browser.token()
    assert browser.post("/", {"comment": "by program"}, X_CSRFToken=token).status == 303
    assert browser.post("/", {"comment": "by program"}, X_CSRFToken=token + "x").status == 400


def test_a_cookie_that_was_tampered_with_is_no_cookie(app: Flask) -> None:
    browser = Browser(app)
    browser.submit("/cart/items", {"product_id": 1, "quantity": 2})
    cookie = re.search(r"session=([^;]+)", send_cookie(browser))
    assert cookie
    payload, rest = cookie[1].split(".", 1)
    for value in (f"{payload}x.{rest}", f"{payload}.{rest[:-2]}", "", "é", "a.b.c", payload):
        answer = send(app, "/cart", cookie=f"session={value}")
        assert answer.status == 200
        assert "Your cart is empty" in answer.words
    assert "Your cart is empty" not in send(app, "/cart", cookie=f"session={cookie[1]}").words


def send_cookie(browser: Browser) -> str:
    client: Any = browser._client
    return f"session={client.get_cookie('session', domain='127.0.0.1').value}"
