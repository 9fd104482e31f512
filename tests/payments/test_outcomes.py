"""Every combination of what Stripe's types let a session say has a named outcome."""

from typing import Any, get_args

import pytest
from flask import Flask

from tests.actors import Answer, Buyer
from tests.wire import Wire

PAYING, OVER, AWAITED, PAID = "pending", "cancelled", "awaiting_payment", "paid"
FAILED = ("requires_payment_method", "canceled")
INTENTS = (
    None, "canceled", "processing", "requires_action", "requires_capture",
    "requires_confirmation", "requires_payment_method", "succeeded",
)  # fmt: skip
# By status and payment status; where money is awaited, the intent's status decides.
OUTCOMES = {
    ("open", "unpaid"): PAYING,
    ("open", "no_payment_required"): PAYING,
    ("open", "paid"): PAYING,
    ("complete", "unpaid"): AWAITED,
    ("complete", "no_payment_required"): OVER,
    ("complete", "paid"): PAID,
    ("expired", "unpaid"): OVER,
    ("expired", "no_payment_required"): OVER,
    ("expired", "paid"): PAID,
    # What Stripe adds later.
    ("complete", "brand_new"): AWAITED,
    ("brand_new", "unpaid"): PAYING,
    ("brand_new", "paid"): PAID,
    (None, "unpaid"): PAYING,
    (None, "paid"): PAID,
}


def literals(annotation: Any) -> set[str]:
    """Return the values of the literals in one of the SDK's annotations."""
    found = get_args(annotation)
    texts = {one for one in found if isinstance(one, str)}
    return texts.union(*(literals(one) for one in found if not isinstance(one, str)))


def test_the_table_knows_all_that_the_sdk_knows() -> None:
    import stripe

    session = stripe.checkout.Session.__annotations__
    pairs = {
        (status, payment)
        for status in literals(session["status"])
        for payment in literals(session["payment_status"])
    }
    assert len(pairs) == 9
    assert pairs <= set(OUTCOMES)
    assert literals(stripe.PaymentIntent.__annotations__["status"]) == set(INTENTS) - {None}


def changed(app: Flask, status: Any, payment: Any, intent: Any, **more: Any) -> tuple[Buyer, Any]:
    """Return a buyer, and the order whose session Stripe describes like that."""
    buyer = Buyer(app)
    order = buyer.order()
    fields = {"status": status, "payment_status": payment, **more}
    fields["payment_intent"] = intent and {"id": "pi_1", "object": "payment_intent", **intent}
    Wire(app).change = lambda found: (
        found | fields if found.get("object") == "checkout.session" else found
    )
    return buyer, order


def back(buyer: Buyer, order: dict[str, str]) -> Answer:
    return buyer.get(f"/payments/success?session_id={order['id']}")


@pytest.mark.parametrize("intent", INTENTS)
@pytest.mark.parametrize(("status", "payment"), OUTCOMES)
def test_each_combination_ends_in_a_state_and_in_words(
    app: Flask, status: str | None, payment: str, intent: str | None
) -> None:
    buyer, order = changed(app, status, payment, {"status": intent} if intent else None)
    outcome = OUTCOMES[status, payment]
    if outcome == AWAITED and intent in FAILED:
        outcome = OVER
    assert back(buyer, order).status == (303 if outcome == PAID else 200)
    assert buyer.see(order["order"])["state"] == outcome
    again = buyer.submit("/payments/session", {"order": order["order"]})
    assert again.status == 303, again.words


def test_a_session_that_cost_nothing_is_given_up_and_can_be_ordered_again(app: Flask) -> None:
    buyer, order = changed(app, "complete", "no_payment_required", None, amount_total=0)
    page = back(buyer, order)
    assert "nothing was charged" in page.words.lower()
    assert "Order it again" in page.words
    assert buyer.submit("/payments/session", {"order": order["order"]}).status == 303
    assert buyer.submit("/payments/session", {"product_id": 1, "quantity": 1}).status == 303


WAITING = [
    # a bank that is at work
    ({"status": "processing"}, "bank is still working", None, False),
    # counters
    (
        {"status": "requires_action", "next_action": {"type": "konbini_display_details",
         "konbini_display_details": {"expires_at": 1900000000, "hosted_voucher_url": "https://pay.example/k"}}},
        "Please pay by", "https://pay.example/k", True,
    ),
    (
        {"status": "requires_action", "next_action": {"type": "oxxo_display_details",
         "oxxo_display_details": {"expires_after": 1900000000, "hosted_voucher_url": "https://pay.example/o"}}},
        "Please pay by", "https://pay.example/o", True,
    ),
    (
        {"status": "requires_action", "next_action": {"type": "display_bank_transfer_instructions",
         "display_bank_transfer_instructions": {"hosted_instructions_url": "https://pay.example/b"}}},
        "Where to pay", "https://pay.example/b", False,
    ),
    # anything else
    ({"status": "requires_action", "next_action": {"type": "brand_new", "brand_new": {"x": 1}}},
     "one more step", None, False),
    ({"status": "requires_action", "next_action": "fish"}, "one more step", None, False),
    (None, "one more step", None, False),
]  # fmt: skip


@pytest.mark.parametrize(("intent", "said", "link", "has_end"), WAITING)
def test_money_that_is_awaited_is_told_as_what_it_is(
    mailing: Flask, intent: Any, said: str, link: str | None, has_end: bool, office: Any
) -> None:
    details = {"customer_details": {"email": "aya@example.com"}}
    buyer, order = changed(mailing, "complete", "unpaid", intent, **details)
    assert back(buyer, order).status == 200
    mailing.test_cli_runner().invoke(args=["shop", "mail", "send"])
    (letter,) = office.received
    mail = " ".join(letter.get_body(("plain",)).get_content().split())
    page = buyer.get(f"/orders/{order['order']}")
    for text in (page.words, mail):
        assert said in text
        assert "convenience store" not in text
        assert ("Please pay by" in text) == has_end
    assert link is None or (link in page.text and link in mail)
    assert "checkout" not in page.text
