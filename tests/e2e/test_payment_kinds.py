"""Other ways to pay than a card on Stripe's page, in a real browser."""

import re

import pytest
from playwright.sync_api import expect

from tests.e2e.conftest import Visit, Visitor


def order(visitor: Visitor) -> None:
    """Go to the hosted page with one T-shirt."""
    visitor.go("shop/t-shirt")
    visitor.page.get_by_role("button", name="Buy now").click()
    expect(visitor.page.locator("[name=number]")).to_be_visible()


def type_card(visitor: Visitor, number: str) -> None:
    page = visitor.page
    page.locator("[name=email]").fill("aya@example.com")
    page.get_by_label("Card number").fill(number)
    page.get_by_label("Expiry").fill("12/40")
    page.get_by_label("Security code").fill("123")
    page.get_by_role("button", name="Pay ¥2,000").click()


@pytest.mark.parametrize("device", ["phone", "desktop"])
def test_the_legacy_card_page_declines_and_then_pays(visit: Visit, device: str) -> None:
    visitor = visit(device)
    page = visitor.page
    visitor.go("shop/t-shirt")
    page.get_by_role("button", name="Add to cart").click()
    page.get_by_role("link", name="Type in your card here instead").click()
    expect(page.get_by_label("Card number")).to_be_visible()
    page.get_by_role("button", name="Pay ¥2,000").click()
    expect(page.locator("#card-error")).to_contain_text("incomplete")
    type_card(visitor, "4000 0000 0000 0002")
    expect(page.get_by_role("alert").first).to_contain_text("Nothing was charged")
    expect(page.locator("[name=email]")).to_have_value("aya@example.com")
    type_card(visitor, "4242 4242 4242 4242")
    expect(page.get_by_role("status")).to_contain_text("Paid. Thank you")
    visitor.go("cart")
    expect(page.get_by_text("Your cart is empty")).to_be_visible()


def test_a_bank_that_wants_to_ask_is_asked(visit: Visit) -> None:
    visitor = visit("phone")
    page = visitor.page
    order(visitor)
    visitor.pay("4000 0027 6000 3184")
    page.locator("button[value=complete]").click()
    expect(page.get_by_role("status")).to_contain_text("Paid. Thank you")


def test_a_konbini_order_says_where_and_until_when(visit: Visit) -> None:
    visitor = visit("phone")
    page = visitor.page
    order(visitor)
    session = page.url
    page.locator("[name=email]").fill("fill_never@example.com")
    page.locator("[name=method][value=konbini]").check()
    page.locator("form:has([name=number]) button").click()
    expect(page).to_have_url(re.compile(r"/voucher$"))
    session_id = session.rpartition("/")[2]
    visitor.go(f"payments/success?session_id={session_id}")
    expect(page.get_by_role("status")).to_contain_text("Please pay by")
    expect(page.get_by_role("link", name="Where to pay")).to_be_visible()
