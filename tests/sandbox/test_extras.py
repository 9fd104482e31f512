"""Promotion codes and custom fields."""

from typing import Any

import pytest

from tests.sandbox.helpers import DELIVERY, SESSION, SandboxClient

FIELDS: list[dict[str, Any]] = [
    {"key": "card", "label": {"type": "custom", "custom": "Words for the card"}, "type": "text",
     "optional": True, "text": {"maximum_length": 20}},
    {"key": "age", "label": {"type": "custom", "custom": "Your age"}, "type": "numeric",
     "numeric": {"minimum_length": 2}},
    {"key": "wrap", "label": {"type": "custom", "custom": "Wrapping"}, "type": "dropdown",
     "dropdown": {"options": [{"value": "no", "label": "None"}, {"value": "red", "label": "Red"}],
                  "default_value": "no"}},
]  # fmt: skip


# Promotion codes


@pytest.mark.parametrize(
    ("code", "discount"), [("TAKE10", 400), ("take10", 400), ("LESS500", 500), ("", 0)]
)
def test_a_code_lowers_the_amount(sandbox: SandboxClient, code: str, discount: int) -> None:
    delivery = DELIVERY["shipping_options"]
    session = sandbox.create(allow_promotion_codes=True, shipping_options=delivery)
    assert sandbox.pay(session, promotion_code=code).status_code == 303
    paid = sandbox.session(session, "payment_intent.latest_charge", "line_items")
    assert (paid["amount_subtotal"], paid["amount_total"]) == (4000, 4500 - discount)
    assert paid["total_details"]["amount_discount"] == discount
    assert paid["payment_intent"]["amount"] == 4500 - discount
    assert paid["payment_intent"]["latest_charge"]["amount"] == 4500 - discount
    line = paid["line_items"]["data"][0]
    assert (line["amount_discount"], line["amount_total"]) == (discount, 4000 - discount)
    used = [{"coupon": None, "promotion_code": f"promo_{code.upper()}"}]
    assert paid["discounts"] == (used if code else None)


def test_a_code_is_applied_before_paying(sandbox: SandboxClient) -> None:
    session = sandbox.create(allow_promotion_codes=True)
    typed = {"email": "taro@", "promotion_code": "LESS500", "apply": "1"}
    page = sandbox.http.post(session["url"], data=typed)
    assert page.status_code == 200
    for shown in ("Pay ¥3,500", "Discount (LESS500)", "−¥500", 'value="taro@"'):
        assert shown in page.text
    assert sandbox.session(session)["amount_total"] == 3500
    assert 'value="LESS500"' in sandbox.http.get(session["url"]).text
    sandbox.pay(session, "4000000000000002", promotion_code="LESS500")
    sandbox.pay(session, promotion_code="TAKE10")
    assert sandbox.snapshot()["charges"][0]["amount"] == 3600


def test_discounts_are_shared_among_the_lines(sandbox: SandboxClient) -> None:
    lines = [
        {"price_data": {"currency": "jpy", "unit_amount": amount, "product_data": {"name": "Mug"}}}
        for amount in (333, 0, 334, 334)
    ]
    session = sandbox.create(line_items=lines, allow_promotion_codes=True)
    sandbox.pay(session, promotion_code="LESS500")
    made = sandbox.session(session, "line_items")["line_items"]["data"]
    assert sum(line["amount_discount"] for line in made) == 500
    assert sum(line["amount_total"] for line in made) == 501


@pytest.mark.parametrize(
    ("unit_amount", "code", "words"),
    [(2000, "NOSUCH", "not known"), (270, "LESS500", "too small for this code")],
)
def test_codes_that_cannot_be_used(
    sandbox: SandboxClient, unit_amount: int, code: str, words: str
) -> None:
    data = {"currency": "jpy", "unit_amount": unit_amount, "product_data": {"name": "Mug"}}
    lines = [{"quantity": 2, "price_data": data}]
    session = sandbox.create(line_items=lines, allow_promotion_codes=True)
    for form in ({}, {"apply": "1"}):
        answer = sandbox.pay(session, promotion_code=code, **form)
        assert answer.status_code == 422
        assert 'id="promotion_code-error"' in answer.text
        assert words in answer.text
        assert f'value="{code}"' in answer.text
    assert sandbox.session(session)["amount_total"] == 2 * unit_amount


def test_codes_count_only_where_they_are_allowed(sandbox: SandboxClient) -> None:
    session = sandbox.create()
    assert "promotion_code" not in sandbox.http.get(session["url"]).text
    sandbox.pay(session, promotion_code="TAKE10")
    assert sandbox.session(session)["amount_total"] == 4000


# Custom fields


def test_custom_fields_are_asked_and_stored(sandbox: SandboxClient) -> None:
    session = sandbox.create(custom_fields=FIELDS)
    assert [one["optional"] for one in session["custom_fields"]] == [True, False, False]
    page = sandbox.http.get(session["url"]).text
    for shown in ("Words for the card", "optional", 'value="no" selected', 'name="custom_age"'):
        assert shown in page
    answer = sandbox.pay(session, custom_age="４２", custom_wrap="red", custom_card="")
    assert answer.status_code == 303
    card, age, wrap = sandbox.receiver.events[-1]["data"]["object"]["custom_fields"]
    assert (card["text"]["value"], age["numeric"]["value"]) == (None, "42")
    assert wrap["dropdown"]["value"] == "red"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"custom_age": ""}, "custom_age"),
        ({"custom_age": "4"}, "custom_age"),
        ({"custom_age": "young"}, "custom_age"),
        ({"custom_wrap": "blue"}, "custom_wrap"),
        ({"custom_wrap": ""}, "custom_wrap"),
        ({"custom_card": "x" * 21}, "custom_card"),
    ],
)
def test_answers_that_do_not_fit(
    sandbox: SandboxClient, change: dict[str, str], field: str
) -> None:
    session = sandbox.create(custom_fields=FIELDS)
    answer = sandbox.pay(session, **{"custom_age": "42", "custom_wrap": "no", **change})
    assert answer.status_code == 422
    assert f'id="{field}-error"' in answer.text
    assert answer.text.count('class="error"') == 1


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ([*FIELDS, {**FIELDS[0], "key": "more"}], "custom_fields"),
        ([FIELDS[0], FIELDS[0]], "custom_fields"),
        ([{**FIELDS[0], "key": "a b"}], "custom_fields[0][key]"),
        ([{**FIELDS[0], "type": "numeric"}], "custom_fields[0][text]"),
        ([{**FIELDS[2], "dropdown": None}], "custom_fields[0][dropdown][options]"),
        ([{**FIELDS[0], "label": {"type": "custom", "custom": "x" * 51}}],
         "custom_fields[0][label][custom]"),
    ],
)  # fmt: skip
def test_what_stripe_refuses(
    sandbox: SandboxClient, fields: list[dict[str, Any]], param: str
) -> None:
    params = {**SESSION, "custom_fields": fields}
    answer = sandbox.api("POST", "/checkout/sessions", params)
    assert (answer.status_code, answer.json["error"]["param"]) == (400, param)
