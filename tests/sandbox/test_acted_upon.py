"""Nothing is silently ignored: what the sandbox does not act upon it refuses."""

from operator import attrgetter
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

import pytest
import stripe.params

from shop import sandbox as package
from shop.sandbox import contract
from shop.sandbox.data import load
from tests.sandbox.helpers import SESSION, SandboxClient

CARD = {"number": "4242424242424242", "exp_month": "12", "exp_year": "39"}
CHARGE = {"amount": 500, "currency": "jpy", "source": "tok_visa"}
LINE = SESSION["line_items"][0]


def inside(hint: Any) -> dict[str, Any]:
    """Return the fields of a TypedDict, of a list of them, or of a union that has one."""
    if hasattr(hint, "__required_keys__"):
        return contract._fields(hint)[0]
    if get_origin(hint) in (list, Union, UnionType):
        return {name: one for arg in get_args(hint) for name, one in inside(arg).items()}
    return {}


@pytest.mark.parametrize("endpoint", load("acted_upon"))
def test_every_declared_name_is_one_of_the_sdk(endpoint: str) -> None:
    resource, action = endpoint.split(".")
    kind = f"{contract.CLASSES[resource]}{action.title()}Params"
    for path in contract.acted_upon(endpoint):
        hint = attrgetter(kind)(stripe.params)
        for name in path.split("."):
            assert name in inside(hint), path
            hint = inside(hint)[name]


def table() -> str:
    """Return what every endpoint acts upon as the README says it."""
    rows = ["| Call | Acts upon |", "|---|---|"]
    for endpoint, entries in load("acted_upon").items():
        rows.append(f"| `{endpoint}` | {', '.join(f'`{entry}`' for entry in entries)} |")
    return "\n".join(rows)


def test_the_readme_has_the_table() -> None:
    readme = Path(package.__file__).with_name("README.md").read_text(encoding="utf-8")
    assert f"\n\n{table()}\n\n" in readme, f"put this into the README:\n{table()}"


@pytest.mark.parametrize(
    ("method", "path", "params", "param"),
    [
        ("POST", "/checkout/sessions", {**SESSION, "consent_collection": {"promotions": "auto"}},
         "consent_collection[promotions]"),
        ("POST", "/checkout/sessions", {**SESSION, "adaptive_pricing": {"enabled": True}},
         "adaptive_pricing[enabled]"),
        ("POST", "/checkout/sessions", {**SESSION, "line_items": [{**LINE, "tax_rates": ["t"]}]},
         "line_items[0][tax_rates][0]"),
        ("POST", "/checkout/sessions", {**SESSION, "discounts": [{"coupon": "half"}]},
         "discounts[0][coupon]"),
        ("POST", "/checkout/sessions", {**SESSION, "submit_type": "donate"},
         "submit_type"),
        ("POST", "/tokens", {"card": {**CARD, "name": "Taro"}}, "card[name]"),
        ("POST", "/tokens", {"pii": {"id_number": "1"}}, "pii[id_number]"),
        ("POST", "/charges", {**CHARGE, "capture": False}, "capture"),
        ("POST", "/charges", {**CHARGE, "application_fee": 5}, "application_fee"),
        ("POST", "/refunds", {"charge": "ch_1", "reverse_transfer": True}, "reverse_transfer"),
        ("POST", "/webhook_endpoints", {"url": "https://shop.test/hook", "enabled_events": ["*"],
                                        "connect": True}, "connect"),
        ("GET", "/events", {"delivery_success": True}, "delivery_success"),
        ("GET", "/checkout/sessions/cs_1/line_items", {"ending_before": "li_1"}, "ending_before"),
        ("GET", "/payment_intents/pi_1", {"client_secret": "pi_1_secret"}, "client_secret"),
    ],
)  # fmt: skip
def test_what_would_be_ignored_is_refused(
    sandbox: SandboxClient, method: str, path: str, params: dict[str, Any], param: str
) -> None:
    answer = sandbox.api(method, path, params)
    assert answer.status_code == 400
    assert answer.json["error"]["param"] == param
    assert answer.json["error"]["message"].startswith(f"The sandbox does not act upon {param}")


def test_values_that_change_nothing_are_taken(sandbox: SandboxClient) -> None:
    session = sandbox.create(
        ui_mode="hosted_page",
        submit_type="pay",
        automatic_tax={"enabled": False},
        payment_intent_data={"capture_method": "automatic"},
    )
    assert session["status"] == "open"
    assert sandbox.api("POST", "/charges", {**CHARGE, "capture": True}).status_code == 200


def test_several_or_foreign_shipping_options_are_refused(sandbox: SandboxClient) -> None:
    def option(currency: str) -> dict[str, Any]:
        fixed = {"amount": 500, "currency": currency}
        return {"shipping_rate_data": {"display_name": "Parcel", "fixed_amount": fixed}}

    for options in ([option("jpy"), option("jpy")], [option("usd")]):
        params = {**SESSION, "shipping_options": options}
        assert sandbox.api("POST", "/checkout/sessions", params).status_code == 400


def test_what_the_payment_is_told_reaches_its_objects(sandbox: SandboxClient) -> None:
    told = {
        "description": "Order 7",
        "receipt_email": "hanako@example.com",
        "statement_descriptor_suffix": "MUGS",
        "metadata": {"order": "7"},
    }
    sandbox.pay(session := sandbox.create(payment_intent_data=told))
    intent = sandbox.session(session, "payment_intent.latest_charge")["payment_intent"]
    address = {"line1": "1-1", "city": "Chiyoda", "country": "JP"}
    shipping = {"name": "Taro", "phone": "090", "address": address}
    charge = sandbox.api("POST", "/charges", {**CHARGE, **told, "shipping": shipping}).json
    for holder in (intent, intent["latest_charge"], charge):
        assert {name: holder[name] for name in told} == told
    assert charge["shipping"]["name"] == "Taro"
    assert charge["shipping"]["address"]["line1"] == "1-1"
    assert charge["shipping"]["address"]["state"] is None
