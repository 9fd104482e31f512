"""The card page without Stripe's script: said in words, and Checkout is one press away."""

import pytest
from playwright.sync_api import Page, Route, expect

from tests.e2e.conftest import Visit, Visitor

# A script that is there and does not do what Stripe's does.
FIELD = "mount() {}, on() { return this; }"
BROKEN = {
    "blocked": None,
    "empty": "",
    "unreadable": "window.Stripe = (",
    "refusing": "window.Stripe = () => { throw new Error('This is no key'); };",
    "without a field": "window.Stripe = () => ({ elements() { throw new Error('No field'); } });",
}
SILENT = f"window.Stripe = () => ({{ elements: () => ({{ create: () => ({{ {FIELD} }}) }}) }});"


def keep_out(page: Page, script: str | None) -> None:
    """Answer for Stripe's script with this one, None: not at all."""

    def answer(route: Route) -> None:
        if script is None:
            route.abort("blockedbyclient")
        else:
            route.fulfill(body=script, content_type="text/javascript")

    page.route("**/stripe.js", answer)


def open_card_page(visitor: Visitor) -> None:
    visitor.go("shop/t-shirt")
    visitor.press("[formaction]")
    visitor.go("payments/card")


def pay_at_checkout(visitor: Visitor) -> None:
    visitor.press("main form:last-of-type button")
    visitor.pay()
    expect(visitor.page.get_by_role("status")).to_contain_text("Paid. Thank you")


@pytest.mark.parametrize("how", BROKEN)
def test_a_script_that_is_kept_out_is_said_in_words(visit: Visit, how: str) -> None:
    visitor = visit("phone")
    keep_out(visitor.page, BROKEN[how])
    open_card_page(visitor)
    said = visitor.page.get_by_role("alert")
    expect(said).to_contain_text("The field for your card does not appear")
    expect(said).to_contain_text("Nothing was charged")
    expect(visitor.page.locator("#card-pay")).not_to_be_visible()
    if how == "unreadable":
        assert [text for text in visitor.troubles if "Unexpected end" in text]
        visitor.troubles.clear()
    pay_at_checkout(visitor)


def test_a_field_whose_frame_never_loads_is_said_in_words(visit: Visit) -> None:
    visitor = visit("phone")
    visitor.page.clock.install()
    keep_out(visitor.page, SILENT)
    open_card_page(visitor)
    expect(visitor.page.locator("#card-pay")).to_be_enabled()
    expect(visitor.page.locator("#card-missing")).not_to_be_visible()
    visitor.page.clock.run_for(11_000)
    expect(visitor.page.locator("#card-missing")).to_contain_text("Nothing was charged")
    pay_at_checkout(visitor)


def test_a_card_that_does_not_reach_stripe_can_be_sent_again(visit: Visit) -> None:
    visitor = visit("phone")
    page = visitor.page
    page.route("**/v1/tokens", lambda route: route.abort())
    open_card_page(visitor)
    page.get_by_label("Card number").fill("4242 4242 4242 4242")
    page.get_by_label("Expiry").fill("12/40")
    page.get_by_label("Security code").fill("123")
    page.locator("#card-pay").click()
    expect(page.locator("#card-error")).to_contain_text("Nothing was charged")
    page.unroute("**/v1/tokens")
    visitor.press("#card-pay")
    expect(page.get_by_role("status")).to_contain_text("Paid. Thank you")


def test_without_javascript_the_page_says_what_to_do(visit: Visit) -> None:
    visitor = visit("phone", java_script_enabled=False)
    open_card_page(visitor)
    expect(visitor.page.locator("noscript p")).to_contain_text("only with JavaScript")
    expect(visitor.page.locator("#card-pay")).to_be_disabled()
    pay_at_checkout(visitor)
