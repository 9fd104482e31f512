"""What a customer of the sandbox sees and can do."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from werkzeug.exceptions import NotFound
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.test import Client

from tests.sandbox.helpers import SESSION, SandboxClient, flat

JAPANESE = {"Accept-Language": "ja,en;q=0.5"}


def test_the_checkout_shows_the_order(sandbox: SandboxClient) -> None:
    session = sandbox.create(customer_email="taro@example.com")
    page = sandbox.http.get(session["url"])
    assert page.status_code == 200
    for text in ("T-shirt", "× 2", "¥4,000", "Pay ¥4,000", "taro@example.com", "no money moves"):
        assert text in page.text
    for name in ("email", "method", "number", "expiry", "cvc"):
        assert f'name="{name}"' in page.text
    assert 'href="https://shop.test/cart"' in page.text
    assert "4242 4242 4242 4242" in page.text
    assert "<script" not in page.text


def test_the_page_is_guarded(sandbox: SandboxClient) -> None:
    page = sandbox.http.get(sandbox.create()["url"])
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "form-action 'self' https://shop.test" in policy
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    assert page.headers["Cache-Control"] == "no-store"


def test_japanese(sandbox: SandboxClient) -> None:
    session = sandbox.create()
    assert "¥4,000を支払う" in sandbox.http.get(session["url"], headers=JAPANESE).text
    assert 'lang="ja"' in sandbox.http.get(sandbox.create(locale="ja")["url"]).text
    assert (
        'lang="en"' in sandbox.http.get(sandbox.create(locale="en")["url"], headers=JAPANESE).text
    )
    assert 'lang="en"' in sandbox.http.get(sandbox.create(locale="fr")["url"]).text


def test_paying(sandbox: SandboxClient) -> None:
    session = sandbox.create()
    answer = sandbox.pay(session)
    assert answer.status_code == 303
    assert answer.location == f"https://shop.test/done?session_id={session['id']}"
    assert sandbox.receiver.types == [
        "charge.succeeded",
        "payment_intent.succeeded",
        "checkout.session.completed",
    ]
    again = sandbox.pay(session)
    assert (again.status_code, again.location) == (303, answer.location)
    assert sandbox.http.get(f"/checkout/{session['id']}").location == answer.location
    assert len(sandbox.snapshot()["charges"]) == 1


@pytest.mark.parametrize(
    ("number", "words"),
    [
        ("4000000000000002", "declined this card"),
        ("4000000000000341", "declined this card"),
        ("4000000000009995", "not enough money"),
        ("4000000000009987", "reported lost"),
        ("4000000000009979", "reported stolen"),
        ("4000000000000069", "has expired"),
        ("4000000000000127", "security code is not right"),
        ("4000000000000119", "could not answer"),
        ("4000000000006975", "reached its limit"),
        ("4100000000000019", "was blocked"),
        ("4111111111111111", "use a test card"),
    ],
)
def test_declines_say_why(sandbox: SandboxClient, number: str, words: str) -> None:
    session = sandbox.create()
    answer = sandbox.pay(session, number, cvc="654")
    assert answer.status_code == 402
    assert words in answer.text
    assert 'role="alert"' in answer.text
    assert "Nothing was charged" in answer.text
    assert 'value="taro@example.com"' in answer.text
    assert 'value="654"' not in answer.text
    after = sandbox.session(session, "payment_intent")
    assert (after["status"], after["payment_status"]) == ("open", "unpaid")
    assert after["payment_intent"]["last_payment_error"]["code"]
    assert "payment_intent.payment_failed" in sandbox.receiver.types
    assert sandbox.pay(session).status_code == 303
    assert sandbox.session(session)["payment_intent"] == after["payment_intent"]["id"]


@pytest.mark.parametrize(
    ("form", "field"),
    [
        ({"email": ""}, "email"),
        ({"email": "taro"}, "email"),
        ({"email": "taro@example.com\r\nBcc: x@example.com"}, "email"),
        ({"email": "a" * 300 + "@example.com"}, "email"),
        ({"number": ""}, "number"),
        ({"number": "4242 4242 4242 4241"}, "number"),
        ({"number": "<script>"}, "number"),
        ({"expiry": ""}, "expiry"),
        ({"expiry": "13/30"}, "expiry"),
        ({"expiry": "01/20"}, "expiry"),
        ({"cvc": ""}, "cvc"),
        ({"cvc": "12"}, "cvc"),
        ({"method": "alipay"}, "method"),
    ],
)
def test_mistakes_are_shown_beside_their_fields(
    sandbox: SandboxClient, form: dict[str, str], field: str
) -> None:
    session = sandbox.create()
    number = form.pop("number", "4242424242424242")
    answer = sandbox.pay(session, number, **form)
    assert answer.status_code == 422
    assert f'id="{field}-error"' in answer.text
    assert answer.text.count('class="error"') == 1
    assert "<script" not in answer.text
    assert sandbox.snapshot()["events"] == []


def test_what_was_typed_is_kept_but_the_code(sandbox: SandboxClient) -> None:
    answer = sandbox.pay(sandbox.create(), "4242 4242 4242 4241", cvc="654")
    for kept in ("taro@example.com", "4242 4242 4242 4241", "12/39"):
        assert f'value="{kept}"' in answer.text
    assert 'value="654"' not in answer.text


def test_full_width_typing(sandbox: SandboxClient) -> None:
    typed = {"expiry": "１２／３９", "cvc": "１２３", "email": "taro＠example.com"}
    assert (
        sandbox.pay(sandbox.create(), "４２４２ ４２４２ ４２４２ ４２４２", **typed).status_code
        == 303
    )


def test_a_double_submit_pays_once(sandbox: SandboxClient) -> None:
    session = sandbox.create()
    form = {"email": "a@example.com", "number": "4242424242424242", "expiry": "12/39", "cvc": "123"}

    def submit(_: int) -> int:
        return sandbox.app.test_client().post(f"/checkout/{session['id']}", data=form).status_code

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(submit, range(8))) == {303}
    assert len(sandbox.snapshot()["charges"]) == 1
    assert sandbox.receiver.types.count("checkout.session.completed") == 1


def test_closed_and_unknown_checkouts(sandbox: SandboxClient) -> None:
    session = sandbox.create()
    sandbox.api("POST", f"/checkout/sessions/{session['id']}/expire")
    for answer in (sandbox.pay(session), sandbox.http.get(f"/checkout/{session['id']}")):
        assert answer.status_code == 410
        assert "https://shop.test/cart" in answer.text
    assert sandbox.http.get("/checkout/cs_test_none").status_code == 404
    assert sandbox.http.post("/checkout/cs_test_none/challenge").status_code == 404
    assert sandbox.http.get("/checkout/cs_test_none/voucher", headers=JAPANESE).status_code == 404


def test_time_closes_a_checkout(sandbox: SandboxClient) -> None:
    session = sandbox.create()
    with sandbox.state.store.write() as tx:
        tx.set({"clock_offset": 24 * 3600})
    assert sandbox.pay(session).status_code == 410
    assert sandbox.session(session)["status"] == "expired"


# The bank's question


@pytest.mark.parametrize(
    ("number", "result", "status", "charges"),
    [
        ("4000000000003220", "complete", 303, 1),
        ("4000002500003155", "complete", 303, 1),
        ("4000002760003184", "complete", 303, 1),
        ("4000000000003220", "fail", 402, 0),
        ("4000008260003178", "complete", 402, 1),
        ("4000008400001629", "complete", 402, 1),
        ("4000000000003220", "nonsense", 422, 0),
    ],
)
def test_authentication(
    sandbox: SandboxClient, number: str, result: str, status: int, charges: int
) -> None:
    session = sandbox.create()
    asked = sandbox.pay(session, number)
    assert (asked.status_code, asked.location) == (303, f"/checkout/{session['id']}/challenge")
    intent = sandbox.session(session, "payment_intent")["payment_intent"]
    assert intent["status"] == "requires_action"
    assert "3220" in sandbox.http.get(asked.location).text or number[-4:] != "3220"
    answer = sandbox.http.post(asked.location, data={"result": result})
    assert answer.status_code == status
    assert len(sandbox.snapshot()["charges"]) == charges
    paid = sandbox.session(session, "payment_intent.latest_charge")
    if status == 303:
        card = paid["payment_intent"]["latest_charge"]["payment_method_details"]["card"]
        assert card["three_d_secure"]["result"] == "authenticated"
    if status == 402:
        assert paid["payment_status"] == "unpaid"
        assert 'value="taro@example.com"' in answer.text
        assert sandbox.http.get(asked.location).location == f"/checkout/{session['id']}"


def test_an_answer_without_a_question(sandbox: SandboxClient) -> None:
    session = sandbox.create()
    answer = sandbox.http.post(f"/checkout/{session['id']}/challenge", data={"result": "complete"})
    assert (answer.status_code, answer.location) == (303, f"/checkout/{session['id']}")
    assert sandbox.session(session)["payment_status"] == "unpaid"


# Konbini


@pytest.mark.parametrize(
    ("unit_amount", "currency", "offered"),
    [(59, "jpy", False), (60, "jpy", True), (150_000, "jpy", True), (150_001, "jpy", False),
     (1000, "usd", False)],
)  # fmt: skip
def test_konbini_is_offered_where_it_can_be(
    sandbox: SandboxClient, unit_amount: int, currency: str, offered: bool
) -> None:
    data = {"currency": currency, "unit_amount": unit_amount, "product_data": {"name": "Mug"}}
    session = sandbox.create(line_items=[{"quantity": 2, "price_data": data}])
    assert ('value="konbini"' in sandbox.http.get(session["url"]).text) == offered
    assert (sandbox.pay(session, method="konbini").status_code == 303) == offered


@pytest.mark.parametrize(
    ("name", "waits", "event", "payment_status"),
    [
        ("taro", 180, "async_payment_succeeded", "paid"),
        ("succeed_immediately", 0, "async_payment_succeeded", "paid"),
        ("expire_immediately", 0, "async_payment_failed", "unpaid"),
        ("expire_with_delay", 180, "async_payment_failed", "unpaid"),
        ("fill_never", 4 * 86400, "async_payment_failed", "unpaid"),
    ],
)
def test_konbini_is_paid_or_not(
    sandbox: SandboxClient, name: str, waits: int, event: str, payment_status: str
) -> None:
    session = sandbox.create()
    answer = sandbox.pay(session, "", method="konbini", email=f"{name}@example.com")
    assert (answer.status_code, answer.location) == (303, f"/checkout/{session['id']}/voucher")
    assert sandbox.receiver.types == [
        "payment_intent.requires_action",
        "checkout.session.completed",
    ]
    completed = sandbox.receiver.events[-1]["data"]["object"]
    assert (completed["status"], completed["payment_status"]) == ("complete", "unpaid")
    if waits:
        assert "11111111110" in sandbox.http.get(answer.location).text
        intent = sandbox.session(session, "payment_intent")["payment_intent"]
        details = intent["next_action"]["konbini_display_details"]
        assert details["hosted_voucher_url"] == f"http://localhost{answer.location}"
        sandbox.control("clock", advance=waits - 10)
        assert len(sandbox.receiver.events) == 2 or name == "fill_never"
    sandbox.control("clock", advance=10)
    assert sandbox.receiver.types[-1] == f"checkout.session.{event}"
    after = sandbox.session(session, "payment_intent.latest_charge")
    assert (after["status"], after["payment_status"]) == ("complete", payment_status)
    paid = payment_status == "paid"
    assert bool(after["payment_intent"]["latest_charge"]) == paid
    assert ("This slip is paid" in sandbox.http.get(answer.location).text) == paid
    assert sandbox.pay(session).location == answer.location


# PayPay


def test_paypay_pays_at_once(sandbox: SandboxClient) -> None:
    session = sandbox.create()
    asked = sandbox.pay(session, method="paypay")
    assert (asked.status_code, asked.location) == (303, f"/checkout/{session['id']}/paypay")
    intent = sandbox.session(session, "payment_intent")["payment_intent"]
    target = intent["next_action"]["redirect_to_url"]["url"]
    assert target == f"http://localhost{asked.location}"
    assert "Pay ¥4,000 with PayPay?" in sandbox.http.get(asked.location).text
    assert sandbox.http.get(f"/checkout/{session['id']}/challenge").status_code == 303
    answer = sandbox.http.post(asked.location, data={"result": "complete"}, buffered=True)
    assert answer.location == f"https://shop.test/done?session_id={session['id']}"
    assert sandbox.receiver.types == [
        "payment_intent.requires_action",
        "charge.succeeded",
        "payment_intent.succeeded",
        "checkout.session.completed",
    ]
    paid = sandbox.session(session, "payment_intent.latest_charge")
    charge = paid["payment_intent"]["latest_charge"]
    assert charge["payment_method_details"] == {"type": "paypay", "paypay": {}}
    refund = sandbox.api("POST", "/refunds", {"charge": charge["id"]}).json
    assert (refund["status"], refund["amount"]) == ("succeeded", 4000)


def test_a_refused_paypay_leaves_the_checkout_open(sandbox: SandboxClient) -> None:
    session = sandbox.create()
    asked = sandbox.pay(session, method="paypay")
    assert sandbox.http.post(asked.location, data={"result": "?"}).status_code == 422
    answer = sandbox.http.post(asked.location, data={"result": "fail"})
    assert answer.status_code == 402
    assert "PayPay did not pay" in answer.text
    assert 'value="paypay" checked' in answer.text
    assert 'value="taro@example.com"' in answer.text
    assert sandbox.session(session)["status"] == "open"
    assert sandbox.pay(session).status_code == 303


@pytest.mark.parametrize(
    ("change", "methods"),
    [
        ({}, ["card", "konbini", "paypay"]),
        ({"excluded_payment_method_types": ["konbini"]}, ["card", "paypay"]),
        ({"allowed_payment_method_types": ["paypay"]}, ["paypay"]),
    ],
)
def test_ways_to_pay_can_be_chosen(
    sandbox: SandboxClient, change: dict[str, list[str]], methods: list[str]
) -> None:
    session = sandbox.create(**change)
    assert session["payment_method_types"] == methods
    assert ('value="paypay"' in sandbox.http.get(session["url"]).text) == ("paypay" in methods)


# Every page


def test_below_a_path(sandbox: SandboxClient) -> None:
    http = Client(DispatcherMiddleware(NotFound(), {"/app/sandbox": sandbox.app}))
    headers = {"Authorization": "Bearer sk_test_x"}
    session = http.post(
        "/app/sandbox/v1/checkout/sessions", data=dict(flat(SESSION)), headers=headers
    ).json
    url = f"http://localhost/app/sandbox/checkout/{session['id']}"
    assert session["url"] == url
    page = http.get(url).text
    assert 'href="/app/sandbox/static/sandbox.css"' in page
    assert f'action="/app/sandbox/checkout/{session["id"]}"' in page
    form = {"email": "a@example.com", "number": "4000000000003220", "expiry": "1/39", "cvc": "123"}
    assert http.post(url, data=form).location == f"/app/sandbox/checkout/{session['id']}/challenge"
    assert http.get("/app/sandbox", follow_redirects=True).status_code == 200


def test_no_page_has_an_outside_link_or_style(sandbox: SandboxClient) -> None:
    session = sandbox.create()
    for url in (session["url"], "/", "/static/sandbox.css"):
        text = sandbox.http.get(url, buffered=True).text
        outside = set(re.findall(r"(?:https?:)?//[\w.]+", text)) - {"https://shop.test"}
        assert outside <= {"http://localhost"}
        assert "style=" not in text
