"""What the sandbox answers fits the SDK's own types and has the keys of Stripe's examples."""

import json
import types
from collections.abc import Iterator
from decimal import Decimal
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin, get_type_hints

import pytest
import stripe
from pydantic import AfterValidator, TypeAdapter
from stripe._stripe_object import StripeObject, UntypedStripeObject

from tests.sandbox.helpers import DELIVERY, LOOKS, RECIPIENT, SESSION, SandboxClient
from tests.sandbox.test_extras import FIELDS

KEY_SETS = json.loads(Path(__file__).with_name("stripe_key_sets.json").read_text())
CLASSES: dict[str, type[StripeObject]] = {
    "card": stripe.Card,
    "charge": stripe.Charge,
    "checkout.session": stripe.checkout.Session,
    "dispute": stripe.Dispute,
    "event": stripe.Event,
    "item": stripe.LineItem,
    "payment_intent": stripe.PaymentIntent,
    "price": stripe.Price,
    "product": stripe.Product,
    "refund": stripe.Refund,
    "token": stripe.Token,
    "webhook_endpoint": stripe.WebhookEndpoint,
}


class SdkNames(dict[str, Any]):
    """The names that the SDK imports for type checkers only."""

    def __missing__(self, name: str) -> Any:
        found = getattr(stripe, name.removesuffix("Resource"), None)
        if not isinstance(found, type):
            raise KeyError(name)
        return found


@cache
def fields(cls: type[StripeObject]) -> dict[str, tuple[bool, TypeAdapter[Any]]]:
    """Return a class's fields: whether each must be there, and what it may hold."""
    hints = get_type_hints(cls, localns=SdkNames())
    return {
        name: (type(None) not in get_args(hint), TypeAdapter(wire(hint)))
        for name, hint in hints.items()
        if not name.startswith("_") and get_origin(hint) is not ClassVar
    }


def wire(hint: Any) -> Any:
    """Return the type that a hint stands for in JSON, closed where the SDK leaves it open."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        closed = any(get_origin(arg) is Literal for arg in args)
        kept = tuple(wire(arg) for arg in args if not (closed and arg is str))
        return Union[kept]  # noqa: UP007
    if origin is list:
        return list[wire(args[0])]  # type: ignore[misc]
    if origin is UntypedStripeObject:
        return dict[str, wire(args[0])]  # type: ignore[misc]
    if origin is stripe.ListObject:
        return Annotated[dict[str, Any], AfterValidator(partial(fits_list, args[0]))]
    if isinstance(hint, type) and issubclass(hint, StripeObject):
        return Annotated[dict[str, Any], AfterValidator(partial(fits, hint))]
    return str if hint is Decimal else hint


def fits(cls: type[StripeObject], doc: dict[str, Any]) -> dict[str, Any]:
    """Return the object; raises ValueError where it does not fit the SDK's class."""
    known = fields(cls)
    unknown = doc.keys() - known.keys() - {"object"} if known else set()
    if unknown:
        raise ValueError(f"{cls.__name__} has no {sorted(unknown)}")
    for name, (required, adapter) in known.items():
        if name in doc:
            adapter.validate_python(doc[name], strict=True)
        elif required:
            raise ValueError(f"{cls.__name__} needs {name}")
    return doc


def fits_list(cls: type[StripeObject], doc: dict[str, Any]) -> dict[str, Any]:
    if doc["object"] != "list" or not isinstance(doc["has_more"], bool) or not doc["url"]:
        raise ValueError("not a list object")
    for item in doc["data"]:
        fits(cls, item)
    return doc


def lacking(keys: dict[str, Any], doc: dict[str, Any], path: str = "") -> Iterator[str]:
    """Yield the keys of Stripe's example (a card's) that the object does not have."""
    for key, inner in keys.items():
        if key not in doc:
            yield f"{path}{key}"
        elif isinstance(inner, dict) and isinstance(doc[key], dict):
            if key.endswith("_details") and doc[key].get("type", "card") != "card":
                continue
            yield from lacking(inner, doc[key], f"{path}{key}.")


def check(doc: dict[str, Any]) -> None:
    if doc["object"] == "list":
        for item in doc["data"]:
            check(item)
        return
    fits(CLASSES[doc["object"]], doc)
    assert list(lacking(KEY_SETS.get(doc["object"], {}), doc)) == []
    if doc["object"] == "event":
        check(doc["data"]["object"])


def test_the_checker_itself_sees_faults(sandbox: SandboxClient) -> None:
    session = sandbox.create()
    check(session)
    for fault in (
        {"amount_total": "4000"},
        {"status": "shut"},
        {"news": 1},
        {"metadata": {"a": 1}},
    ):
        with pytest.raises(ValueError, match=r"."):
            fits(stripe.checkout.Session, {**session, **fault})
    del session["created"]
    with pytest.raises(ValueError, match="created"):
        fits(stripe.checkout.Session, session)


def live_through_everything(sandbox: SandboxClient) -> None:
    """Have every kind of object in every state that the sandbox knows."""
    sandbox.create()
    endpoint = {"url": "https://shop.test/hook", "enabled_events": ["*"]}
    check(sandbox.api("POST", "/webhook_endpoints", endpoint).json)
    version, about = stripe.api_version, {"description": "Mugs", "metadata": {"a": "b"}}
    more = {**endpoint, **about, "api_version": version}
    made = sandbox.api("POST", "/webhook_endpoints", more).json
    check(made)
    check(sandbox.api("POST", f"/webhook_endpoints/{made['id']}", {"disabled": True}).json)
    shipped = sandbox.create(customer_email="hanako@example.com", **DELIVERY, **LOOKS)
    assert shipped["amount_total"] == 4500
    sandbox.api("POST", f"/checkout/sessions/{shipped['id']}/expire")
    for number in ("4000000000000002", "4242424242424242"):
        sandbox.pay(sandbox.create(**DELIVERY, **LOOKS), number, **RECIPIENT)
    sandbox.pay(sandbox.create(**DELIVERY), method="konbini", **RECIPIENT)
    extras = sandbox.create(custom_fields=FIELDS, allow_promotion_codes=True)
    sandbox.pay(extras, custom_age="42", custom_wrap="red", promotion_code="TAKE10")
    for number in ("4000000000003220", "4000008260003178"):
        asked = sandbox.create()
        sandbox.pay(asked, number)
        sandbox.http.post(f"/checkout/{asked['id']}/challenge", data={"result": "complete"})
    sandbox.pay(refused := sandbox.create(), "4000000000003220")
    sandbox.http.post(f"/checkout/{refused['id']}/challenge", data={"result": "fail"})
    sandbox.pay(sandbox.create(), "4000000000000259")
    for number in ("4000000000005126", "4000000000007726", "4242424242424242"):
        sandbox.pay(paid := sandbox.create(), number)
        intent = sandbox.session(paid)["payment_intent"]
        sandbox.api("POST", "/refunds", {"payment_intent": intent, "amount": 100})
    for result in ("complete", "fail"):
        asked = sandbox.pay(sandbox.create(), method="paypay")
        sandbox.http.post(asked.location, data={"result": result})
    for name in ("succeed_immediately", "expire_immediately", "any"):
        sandbox.pay(sandbox.create(), method="konbini", email=f"{name}@example.com")
    token = sandbox.api(
        "POST",
        "/tokens",
        {"card": {"number": "4242424242424242", "exp_month": "1", "exp_year": "39"}},
    ).json
    for source in (token["id"], "tok_visa_chargeDeclined"):
        sandbox.api("POST", "/charges", {"amount": 500, "currency": "jpy", "source": source})
    sandbox.control("clock", advance=3600)
    slip = next(
        c for c in sandbox.snapshot()["charges"] if "konbini" in c["payment_method_details"]
    )
    wallet = next(
        c for c in sandbox.snapshot()["charges"] if "paypay" in c["payment_method_details"]
    )
    for charge in (slip, wallet):
        sandbox.api("POST", "/refunds", {"charge": charge["id"]})
    check(sandbox.get(f"/tokens/{token['id']}"))
    argue(sandbox)


def argue(sandbox: SandboxClient) -> None:
    """Answer disputes and inquiries in every way, and check each answer."""
    texts = ("winning_evidence", "losing_evidence", "escalate_inquiry_evidence", "a receipt")
    for token in ("createDispute", "createDisputeProductNotReceived", "createDisputeInquiry"):
        params = {"amount": 500, "currency": "jpy", "source": f"tok_{token}"}
        about = [sandbox.api("POST", "/charges", params).json["id"] for _ in (*texts, "none")]
        sandbox.control("clock", advance=60)
        disputes = [sandbox.get("/disputes", charge=charge)["data"][0]["id"] for charge in about]
        for dispute, text in zip(disputes, texts, strict=False):
            params = {"evidence": {"uncategorized_text": text}, "metadata": {"case": "7"}}
            params["intended_submission_method"] = "manual"
            check(sandbox.api("POST", f"/disputes/{dispute}", params).json)
        check(sandbox.api("POST", f"/disputes/{disputes[-1]}/close").json)
    statuses = {dispute["status"] for dispute in sandbox.snapshot()["disputes"]}
    assert statuses >= {"needs_response", "under_review", "won", "lost", "warning_closed"}
    assert "warning_under_review" in statuses


def test_everything_fits(sandbox: SandboxClient) -> None:
    live_through_everything(sandbox)
    for kind in (
        "checkout/sessions",
        "payment_intents",
        "charges",
        "refunds",
        "disputes",
        "events",
        "webhook_endpoints",
    ):
        page = sandbox.get(f"/{kind}", limit=100)
        assert page["data"]
        assert page["url"] == f"/v1/{kind}"
        check(page)
        check(sandbox.get(f"/{kind}/{page['data'][0]['id']}"))
    for event in sandbox.receiver.events:
        check(event)
    snapshot = sandbox.snapshot()
    for name in ("deliveries", "clock", "webhooks", "api"):
        del snapshot[name]
    assert len(snapshot) == 7
    for docs in snapshot.values():
        for doc in docs:
            check(doc)


def test_expanded_answers_fit(sandbox: SandboxClient) -> None:
    paid = sandbox.create()
    sandbox.pay(paid)
    session = sandbox.session(paid, "line_items.data.price.product", "payment_intent.latest_charge")
    check(session)
    line = session["line_items"]["data"][0]
    assert line["price"]["product"]["name"] == "T-shirt"
    check(line["price"]["product"])
    charge = session["payment_intent"]["latest_charge"]
    check(charge)
    assert "refunds" in sandbox.get(f"/charges/{charge['id']}", expand=["refunds"])


@pytest.mark.parametrize(
    ("change", "param", "code"),
    [
        ({"payment_method_types": ["card"]}, "payment_method_types", "parameter_unknown"),
        ({"metdata": {"a": "b"}}, "metdata", "parameter_unknown"),
        ({"line_items": [{"prize": 1}]}, "line_items[0][prize]", "parameter_unknown"),
        ({"ui_mode": "hosted"}, "ui_mode", None),
        ({"ui_mode": "elements"}, "ui_mode", None),
        ({"mode": "subscription"}, "mode", None),
        ({"mode": None}, "mode", "parameter_missing"),
        ({"success_url": None}, "success_url", "parameter_missing"),
        ({"success_url": "javascript:alert(1)"}, "success_url", "url_invalid"),
        ({"cancel_url": "https://shop.test/\r\nX: 1"}, "cancel_url", "url_invalid"),
        ({"line_items": None}, "line_items", "parameter_missing"),
        ({"line_items": [{"price": "price_1"}]}, "line_items[0][price]", "resource_missing"),
        ({"customer": "cus_1"}, "customer", "resource_missing"),
        ({"customer_email": "nobody"}, "customer_email", "email_invalid"),
        ({"expires_at": 1}, "expires_at", None),
        (
            {"payment_method_options": {"konbini": {"expires_after_days": 61}}},
            "payment_method_options[konbini][expires_after_days]",
            None,
        ),
        ({"expires_at": "soon"}, "expires_at", "parameter_invalid_integer"),
        ({"metadata": {"k" * 41: "v"}}, "metadata", None),
        ({"metadata": {"k": "v" * 501}}, "metadata[k]", None),
        ({"metadata": {str(n): "v" for n in range(51)}}, "metadata", None),
        ({"metadata": "text"}, "metadata", None),
        ({"client_reference_id": "x" * 201}, "client_reference_id", None),
        ({"payment_intent_data": {"capture_method": "manual"}},
         "payment_intent_data[capture_method]", None),
        ({"allowed_payment_method_types": ["alipay"]}, "allowed_payment_method_types", None),
    ],
)  # fmt: skip
def test_what_stripe_refuses(
    sandbox: SandboxClient, change: dict[str, Any], param: str, code: str | None
) -> None:
    answer = sandbox.api("POST", "/checkout/sessions", {**SESSION, **change})
    error = answer.json["error"]
    assert answer.status_code == (404 if code == "resource_missing" else 400)
    assert error["type"] == "invalid_request_error"
    assert (error["param"], error.get("code")) == (param, code)
    assert error["message"]


@pytest.mark.parametrize(
    ("currency", "unit_amount", "quantity", "code"),
    [
        ("jpy", 49, 1, "amount_too_small"),
        ("jpy", 50, 1, None),
        ("jpy", 0, 1, "amount_too_small"),
        ("usd", 49, 1, "amount_too_small"),
        ("usd", 25, 2, None),
        ("jpy", 99_999_999, 2, "amount_too_large"),
        ("jpy", -5, 1, "parameter_invalid_integer"),
        ("jpy", 500, 0, "parameter_invalid_integer"),
        ("jpy", "9.5", 1, "parameter_invalid_integer"),
    ],
)
def test_amounts(
    sandbox: SandboxClient, currency: str, unit_amount: Any, quantity: int, code: str | None
) -> None:
    data = {"currency": currency, "unit_amount": unit_amount, "product_data": {"name": "Mug"}}
    lines = [{"quantity": quantity, "price_data": data}]
    answer = sandbox.api("POST", "/checkout/sessions", {**SESSION, "line_items": lines})
    assert answer.json.get("error", {}).get("code") == code
