"""The sandbox's API, through the real SDK and by hand."""

import base64
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import stripe

from tests.sandbox.helpers import SESSION, SandboxClient, client


def wait_for(found: Callable[[], Any]) -> Any:
    """Wait for what happens after an answer is out."""
    for _ in range(100):
        if result := found():
            return result
        time.sleep(0.02)
    raise AssertionError("it never came")


# Sessions


def test_a_session_through_the_sdk(sandbox: SandboxClient, sdk: stripe.StripeClient) -> None:
    session = sdk.v1.checkout.sessions.create(SESSION)
    assert session.id.startswith("cs_test_")
    assert (session.status, session.payment_status) == ("open", "unpaid")
    assert (session.amount_total, session.currency) == (4000, "jpy")
    assert session.payment_intent is None
    assert session.customer is None
    assert session.payment_method_types == ["card", "konbini", "paypay"]
    assert session.url
    assert session.url.startswith("http://127.0.0.1")
    assert session.url.endswith(f"/checkout/{session.id}")
    assert session.livemode is False
    sandbox.pay(session)
    paid = sdk.v1.checkout.sessions.retrieve(
        session.id, {"expand": ["line_items", "payment_intent.latest_charge"]}
    )
    assert (paid.status, paid.payment_status, paid.url) == ("complete", "paid", None)
    assert paid.customer_details
    assert paid.customer_details.email == "taro@example.com"
    assert paid.client_reference_id == "order-1"
    intent = paid.payment_intent
    assert isinstance(intent, stripe.PaymentIntent)
    assert (intent.status, intent.amount_received) == ("succeeded", 4000)
    assert intent.metadata["order"] == "1"
    charge = intent.latest_charge
    assert isinstance(charge, stripe.Charge)
    assert charge.paid
    assert paid.line_items
    assert paid.line_items.data[0].quantity == 2
    assert sdk.v1.charges.retrieve(charge.id).payment_intent == intent.id
    assert [i.id for i in sdk.v1.payment_intents.list().data] == [intent.id]


def test_the_url_belongs_to_the_reader(sandbox: SandboxClient) -> None:
    session = sandbox.create()
    path = f"/checkout/sessions/{session['id']}"
    for base in ("http://shop.test", "https://shop.test/app/sandbox"):
        read = sandbox.api("GET", path, base_url=base).json
        assert read["url"] == f"{base}/checkout/{session['id']}"


def test_expire_and_again(sandbox: SandboxClient, sdk: stripe.StripeClient) -> None:
    session = sdk.v1.checkout.sessions.create(SESSION)
    expired = sdk.v1.checkout.sessions.expire(session.id)
    assert (expired.status, expired.payment_status, expired.url) == ("expired", "unpaid", None)
    with pytest.raises(stripe.InvalidRequestError, match="expired"):
        sdk.v1.checkout.sessions.expire(session.id)
    wait_for(lambda: sandbox.receiver.types == ["checkout.session.expired"])


def test_lists_are_paged(sandbox: SandboxClient, sdk: stripe.StripeClient) -> None:
    made = [sandbox.create()["id"] for _ in range(5)]
    page = sdk.v1.checkout.sessions.list({"limit": 2})
    assert [s.id for s in page.data] == made[:2:-1]
    assert page.has_more
    assert [s.id for s in page.auto_paging_iter()] == made[::-1]
    before = sdk.v1.checkout.sessions.list({"limit": 2, "ending_before": made[0]})
    assert [s.id for s in before.data] == made[2:0:-1]
    sandbox.api("POST", f"/checkout/sessions/{made[1]}/expire")
    expired = sdk.v1.checkout.sessions.list({"status": "expired"})
    assert [s.id for s in expired.data] == [made[1]]
    assert sdk.v1.checkout.sessions.list({"created": {"lt": 1000}}).data == []
    lines = sdk.v1.checkout.sessions.line_items.list(made[0])
    assert [line.description for line in lines.data] == ["T-shirt"]
    path = f"/checkout/sessions/{made[0]}/line_items"
    assert sandbox.get(path, starting_after=lines.data[0].id)["data"] == []
    assert sandbox.api("GET", path, {"starting_after": "li_none"}).status_code == 404


@pytest.mark.parametrize("span", [29 * 60, 24 * 3600 + 60])
def test_expiry_has_bounds(sandbox: SandboxClient, span: int) -> None:
    params = {**SESSION, "expires_at": int(time.time()) + span}
    assert sandbox.api("POST", "/checkout/sessions", params).json["error"]["param"] == "expires_at"


def test_a_client_keeps_its_span_when_the_clock_was_moved(sandbox: SandboxClient) -> None:
    sandbox.control("clock", advance=7200)
    session = sandbox.create(expires_at=int(time.time()) + 35 * 60)
    sandbox.control("clock", advance=34 * 60)
    assert sandbox.session(session)["status"] == "open"
    sandbox.control("clock", advance=2 * 60)
    assert sandbox.session(session)["status"] == "expired"


def test_line_items_may_be_expanded_and_nothing_else(sandbox: SandboxClient) -> None:
    session = sandbox.create()
    assert sandbox.session(session, "line_items")["line_items"]["data"][0]["amount_total"] == 4000
    assert "line_items" not in sandbox.session(session)
    assert "expanded" in sandbox.session(session, "currency")["error"]["message"]
    assert "expanded" in sandbox.session(session, "nonsense.more")["error"]["message"]


# Who may ask


@pytest.mark.parametrize("key", ["", "sk_live_12345", "pk_test_12345", "sk_test_", "naïve"])
def test_wrong_keys(sandbox: SandboxClient, key: str) -> None:
    answer = sandbox.http.get("/v1/events", headers={"Authorization": f"Bearer {key}"})
    assert answer.status_code == 401
    assert answer.json["error"]["type"] == "invalid_request_error"
    assert answer.headers["Request-Id"].startswith("req_")


def test_no_key_and_garbled_keys(sandbox: SandboxClient) -> None:
    for header in (
        {},
        {"Authorization": "Basic %%%"},
        {"Authorization": "Basic é"},
        {"Authorization": "Bearer"},
    ):
        assert sandbox.http.get("/v1/events", headers=header).status_code == 401


def test_basic_and_restricted_keys(sandbox: SandboxClient) -> None:
    basic = base64.b64encode(b"sk_test_basic:").decode()
    for value in (f"Basic {basic}", "Bearer rk_test_restricted"):
        assert sandbox.http.get("/v1/events", headers={"Authorization": value}).status_code == 200


def test_own_keys_only(tmp_path: Path) -> None:
    sandbox = SandboxClient(tmp_path, secret_keys=["sk_test_own"])
    for key, status in (("sk_test_own", 200), ("sk_test_other", 401)):
        headers = {"Authorization": f"Bearer {key}"}
        assert sandbox.http.get("/v1/events", headers=headers).status_code == status


def test_a_publishable_key_makes_tokens_only(sandbox: SandboxClient) -> None:
    headers = {"Authorization": "Bearer pk_test_page"}
    card = {"number": "4242 4242 4242 4242", "exp_month": "12", "exp_year": "2039", "cvc": "123"}
    answer = sandbox.api("POST", "/tokens", {"card": card}, headers=headers)
    assert answer.json["card"]["last4"] == "4242"
    assert sandbox.api("GET", "/charges", headers=headers).status_code == 401


# Broken requests


@pytest.mark.parametrize(
    ("method", "path", "body", "kind", "status"),
    [
        ("GET", "/v1/nowhere", b"", None, 404),
        ("DELETE", "/v1/charges", b"", None, 404),
        ("POST", "/v1/charges", b'{"amount": 5}', "application/json", 400),
        ("POST", "/v1/charges", b"\xff\xfe=%ff&a[b=1&[]=2", None, 400),
        ("POST", "/v1/charges", b"amount=1&amount[x]=2", None, 400),
        ("POST", "/v1/charges", b"metadata" + b"[a]" * 50 + b"=1", None, 400),
        ("POST", "/v1/charges", b"amount=" + b"9" * 5000, None, 400),
        ("POST", "/v1/charges", b"--x\r\nContent-Disposition: broken", "multipart/form-data", 400),
        ("POST", "/v1/charges", b"a" * 2_000_000, None, 413),
        ("GET", "/v1/charges?limit=0", b"", None, 400),
        ("GET", "/v1/charges?limit=101", b"", None, 400),
        ("GET", "/v1/charges?created[gt]=99999999999999999999", b"", None, 400),
        ("GET", "/v1/charges?starting_after=ch_nowhere", b"", None, 404),
        ("GET", "/v1/charges/%00%ff", b"", None, 404),
        ("GET", "/v1/checkout/sessions/cs_none", b"", None, 404),
        ("GET", "/v1/payment_intents/ch_none", b"", None, 404),
    ],
)
def test_broken_requests_are_refused(
    sandbox: SandboxClient, method: str, path: str, body: bytes, kind: str | None, status: int
) -> None:
    answer = sandbox.http.open(
        path,
        method=method,
        data=body,
        content_type=kind or "application/x-www-form-urlencoded",
        headers={"Authorization": "Bearer sk_test_bench"},
    )
    assert answer.status_code == status
    assert answer.json["error"]["message"]


def test_the_sdk_raises_its_own_errors(sdk: stripe.StripeClient) -> None:
    with pytest.raises(stripe.InvalidRequestError) as unknown:
        sdk.v1.checkout.sessions.retrieve("cs_test_none")
    assert (unknown.value.http_status, unknown.value.code) == (404, "resource_missing")
    with pytest.raises(stripe.CardError) as declined:
        sdk.v1.charges.create(
            {"amount": 500, "currency": "jpy", "source": "tok_chargeDeclinedInsufficientFunds"}
        )
    assert declined.value.error
    assert declined.value.error.decline_code == "insufficient_funds"
    assert sdk.v1.charges.retrieve(declined.value.error.charge or "").status == "failed"


# Idempotency


def test_the_same_key_has_one_effect(sandbox: SandboxClient, sdk: stripe.StripeClient) -> None:
    first = sdk.v1.checkout.sessions.create(SESSION, {"idempotency_key": "checkout-1"})
    again = sdk.v1.checkout.sessions.create(SESSION, {"idempotency_key": "checkout-1"})
    assert again.id == first.id
    assert again.url == first.url
    assert again.last_response
    assert again.last_response.headers["Idempotent-Replayed"] == "true"
    assert len(sandbox.snapshot()["sessions"]) == 1
    with pytest.raises(stripe.IdempotencyError):
        sdk.v1.checkout.sessions.create(
            {**SESSION, "client_reference_id": "other"}, {"idempotency_key": "checkout-1"}
        )
    with pytest.raises(stripe.IdempotencyError):
        sdk.v1.checkout.sessions.expire(first.id, {}, {"idempotency_key": "checkout-1"})


def test_declines_replay_and_bad_parameters_do_not(sandbox: SandboxClient) -> None:
    headers = {"Idempotency-Key": "charge-1"}
    params = {"amount": 500, "currency": "jpy", "source": "tok_chargeDeclined"}
    wrong = sandbox.api("POST", "/charges", {**params, "amount": "x"}, headers=headers)
    assert wrong.status_code == 400
    answers = [sandbox.api("POST", "/charges", params, headers=headers) for _ in range(2)]
    assert [a.status_code for a in answers] == [402, 402]
    assert answers[0].json == answers[1].json
    assert len(sandbox.snapshot()["charges"]) == 1


def test_a_key_in_use(sandbox: SandboxClient) -> None:
    sandbox.api("POST", "/checkout/sessions", SESSION, headers={"Idempotency-Key": "busy"})
    with sandbox.state.store.write() as tx:
        tx.execute("update idempotency set status = null, doc = null")
    answer = sandbox.api("POST", "/checkout/sessions", SESSION, headers={"Idempotency-Key": "busy"})
    assert answer.status_code == 409
    assert answer.json["error"]["code"] == "idempotency_key_in_use"
    with sandbox.state.store.write() as tx:
        tx.execute("update idempotency set claimed_at = 0")
    answer = sandbox.api("POST", "/checkout/sessions", SESSION, headers={"Idempotency-Key": "busy"})
    assert answer.status_code == 200


def test_keys_have_a_length_and_an_end(sandbox: SandboxClient) -> None:
    headers = {"Idempotency-Key": "k" * 256}
    assert sandbox.api("POST", "/checkout/sessions", SESSION, headers=headers).status_code == 400
    headers = {"Idempotency-Key": "k" * 255}
    first = sandbox.api("POST", "/checkout/sessions", SESSION, headers=headers).json
    sandbox.control("clock", advance=25 * 3600)
    assert (
        sandbox.api("POST", "/checkout/sessions", SESSION, headers=headers).json["id"]
        != first["id"]
    )


def test_many_at_once_make_one(sandbox: SandboxClient) -> None:
    def create(_: int) -> Any:
        fresh = sandbox.app.test_client()
        headers = {"Authorization": "Bearer sk_test_x", "Idempotency-Key": "rush"}
        params = {"amount": "500", "currency": "jpy", "source": "tok_visa"}
        return fresh.post("/v1/charges", data=params, headers=headers, buffered=True)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(create, range(16)))
    assert {a.status_code for a in answers} <= {200, 409}
    assert len({a.json["id"] for a in answers if a.status_code == 200}) == 1
    assert len(sandbox.snapshot()["charges"]) == 1


# Charges, refunds, disputes


def test_a_token_is_spent_once(sandbox: SandboxClient) -> None:
    card = {"number": "4242424242424242", "exp_month": "12", "exp_year": "2039", "cvc": "123"}
    token = sandbox.api("POST", "/tokens", {"card": card}).json
    params = {"amount": 500, "currency": "jpy", "source": token["id"], "metadata": {"order": "7"}}
    charge = sandbox.api("POST", "/charges", params).json
    assert (charge["paid"], charge["metadata"]) == (True, {"order": "7"})
    again = sandbox.api("POST", "/charges", params).json["error"]
    assert again["code"] == "token_already_used"
    assert sandbox.get(f"/tokens/{token['id']}")["used"] is True


@pytest.mark.parametrize(
    ("card", "code"),
    [
        ({"number": "4242424242424241"}, "incorrect_number"),
        ({"number": "4242"}, "incorrect_number"),
        ({"exp_month": "13"}, "invalid_expiry_month"),
        ({"exp_year": "2020"}, "invalid_expiry_year"),
        ({"cvc": "12"}, "invalid_cvc"),
    ],
)
def test_cards_that_cannot_be(sandbox: SandboxClient, card: dict[str, str], code: str) -> None:
    good = {"number": "4242424242424242", "exp_month": "12", "exp_year": "2039", "cvc": "123"}
    answer = sandbox.api("POST", "/tokens", {"card": {**good, **card}})
    assert (answer.status_code, answer.json["error"]["code"]) == (402, code)


@pytest.mark.parametrize(
    ("source", "code", "decline_code"),
    [
        ("tok_visa_chargeDeclined", "card_declined", "generic_decline"),
        ("tok_chargeDeclined", "card_declined", "generic_decline"),
        ("tok_visa_chargeDeclinedLostCard", "card_declined", "lost_card"),
        ("tok_visa_chargeDeclinedStolenCard", "card_declined", "stolen_card"),
        ("tok_chargeDeclinedExpiredCard", "expired_card", "expired_card"),
        ("tok_chargeDeclinedIncorrectCvc", "incorrect_cvc", "incorrect_cvc"),
        ("tok_chargeDeclinedProcessingError", "processing_error", "processing_error"),
        ("tok_chargeCustomerFail", "card_declined", "generic_decline"),
        ("tok_threeDSecure2Required", "card_declined", "authentication_required"),
    ],
)
def test_named_tokens_decline(
    sandbox: SandboxClient, source: str, code: str, decline_code: str
) -> None:
    params = {"amount": 500, "currency": "jpy", "source": source}
    answer = sandbox.api("POST", "/charges", params)
    error = answer.json["error"]
    assert answer.status_code == 402
    assert (error["type"], error["code"]) == ("card_error", code)
    assert error["decline_code"] == decline_code
    assert sandbox.get(f"/charges/{error['charge']}")["failure_code"] == code
    assert sandbox.receiver.types == ["charge.failed"]


@pytest.fixture
def intent(sandbox: SandboxClient) -> str:
    session = sandbox.create()
    sandbox.pay(session)
    return str(sandbox.session(session)["payment_intent"])


def test_refunds_never_go_beyond_the_charge(sandbox: SandboxClient, intent: str) -> None:
    def refund(**params: Any) -> Any:
        return sandbox.api("POST", "/refunds", {"payment_intent": intent, **params}).json

    part = refund(amount=1500, reason="requested_by_customer", metadata={"refund": "1"})
    assert (part["status"], part["amount"], part["metadata"]) == (
        "succeeded",
        1500,
        {"refund": "1"},
    )
    assert "greater than" in refund(amount=2501)["error"]["message"]
    assert refund(amount=0)["error"]["param"] == "amount"
    charge = sandbox.get(f"/charges/{part['charge']}")
    assert (charge["amount_refunded"], charge["refunded"]) == (1500, False)
    assert refund()["amount"] == 2500
    charge = sandbox.get(f"/charges/{part['charge']}")
    assert (charge["amount_refunded"], charge["refunded"]) == (4000, True)
    assert refund()["error"]["code"] == "charge_already_refunded"
    assert len(sandbox.get("/refunds", payment_intent=intent)["data"]) == 2
    assert sandbox.receiver.types.count("charge.refunded") == 2


def test_refunds_at_once_never_go_beyond_the_charge(sandbox: SandboxClient, intent: str) -> None:
    def refund(_: int) -> int:
        return sandbox.api(
            "POST", "/refunds", {"payment_intent": intent, "amount": 1500}
        ).status_code

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(refund, range(6))) == [200, 200, 400, 400, 400, 400]


def test_refunds_need_a_charge(sandbox: SandboxClient) -> None:
    for params, code in (
        ({}, "parameter_missing"),
        ({"charge": "ch_none"}, "resource_missing"),
        ({"payment_intent": "pi_none"}, "resource_missing"),
    ):
        assert sandbox.api("POST", "/refunds", params).json["error"]["code"] == code


@pytest.mark.parametrize(
    ("number", "first", "last", "refunded"),
    [
        ("4000000000005126", "succeeded", "failed", 0),
        ("4000000000007726", "pending", "succeeded", 4000),
    ],
)
def test_refunds_that_change_later(
    sandbox: SandboxClient, number: str, first: str, last: str, refunded: int
) -> None:
    session = sandbox.create()
    sandbox.pay(session, number)
    params = {"payment_intent": sandbox.session(session)["payment_intent"]}
    refund = sandbox.api("POST", "/refunds", params).json
    assert refund["status"] == first
    assert sandbox.get(f"/charges/{refund['charge']}")["amount_refunded"] == 4000
    sandbox.control("clock", advance=60)
    assert sandbox.get(f"/refunds/{refund['id']}")["status"] == last
    assert sandbox.get(f"/charges/{refund['charge']}")["amount_refunded"] == refunded
    assert ("refund.failed" in sandbox.receiver.types) == (last == "failed")
    assert "refund.updated" in sandbox.receiver.types


# Faults


@pytest.mark.parametrize(
    ("mode", "error"),
    [
        ("rate_limit", stripe.RateLimitError),
        ("error", stripe.APIError),
        ("garbage", stripe.APIError),
        ("refuse", stripe.APIConnectionError),
        ("lost", stripe.APIConnectionError),
    ],
)
def test_faults_over_http(
    sandbox: SandboxClient, sdk: stripe.StripeClient, mode: str, error: type[stripe.StripeError]
) -> None:
    sandbox.control("api", mode=mode, times=1)
    with pytest.raises(error):
        sdk.v1.checkout.sessions.create(SESSION, {"idempotency_key": "retry"})
    assert len(sandbox.snapshot()["sessions"]) == (1 if mode == "lost" else 0)
    sdk.v1.checkout.sessions.create(SESSION, {"idempotency_key": "retry"})
    assert len(sandbox.snapshot()["sessions"]) == 1


def test_slow_answers_over_http(sandbox: SandboxClient) -> None:
    http = stripe.RequestsClient(timeout=0.3)
    sandbox.control("api", mode="slow", seconds=1)
    with sandbox.serve(http_client=http) as sdk, pytest.raises(stripe.APIConnectionError):
        sdk.v1.events.list()


@pytest.mark.parametrize(
    ("mode", "error", "made"),
    [
        ("refuse", ConnectionRefusedError, 0),
        ("slow", TimeoutError, 0),
        ("lost", ConnectionError, 1),
    ],
)
def test_faults_in_process(
    sandbox: SandboxClient, mode: str, error: type[Exception], made: int
) -> None:
    sandbox.control("api", mode=mode)
    with pytest.raises(error):
        sandbox.api(
            "POST", "/checkout/sessions", SESSION, environ_overrides={"shop.in_process": True}
        )
    sandbox.control("api", mode="ok")
    assert len(sandbox.snapshot()["sessions"]) == made


def test_the_sdk_is_refused_with_a_live_key(sandbox: SandboxClient) -> None:
    with sandbox.serve() as sdk:
        url = sdk._requestor._options.base_addresses["api"]  # type: ignore[typeddict-item]
        with pytest.raises(stripe.AuthenticationError):
            client(str(url), "sk_live_123456").v1.events.list()
