"""The sandbox's own page, on a phone: its buttons do what they say, and everybody can read it."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.e2e.conftest import Visit
from tests.e2e.test_journeys import buy_shirt


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_developer_plays_the_bank_and_the_owner(visit: Visit, scheme: str) -> None:
    # Only for axe may a script run here.
    visitor = visit("phone", color_scheme=scheme, bypass_csp=True)
    page = visitor.page
    buy_shirt(visitor)
    visitor.pay()
    page.wait_for_url("**/orders/*")
    visitor.go("sandbox/")
    charge = page.locator("section[aria-labelledby=charges] tr").nth(1)
    dispute = page.locator("section[aria-labelledby=disputes] tr").nth(1)
    refund = page.locator("section[aria-labelledby=refunds] tr").nth(1)
    charge.get_by_text("Dispute", exact=True).click()
    expect(dispute).to_contain_text("needs_response")
    expect(charge.get_by_role("button")).to_have_count(0)
    dispute.get_by_text("Won", exact=True).click()
    expect(dispute).to_contain_text("won")
    charge.get_by_text("Refund", exact=True).click()
    expect(refund).to_contain_text("succeeded")
    refund.get_by_text("Fail", exact=True).click()
    expect(refund).to_contain_text("failed")
    page.get_by_label("Mode").first.select_option("drop")
    page.locator("[aria-labelledby=webhooks] button").click()
    expect(page.get_by_label("Mode").first).to_have_value("drop")
    page.get_by_label("Mode").first.select_option("deliver")
    with page.expect_navigation():
        page.locator("[aria-labelledby=webhooks] button").click()
    assert page.evaluate("document.documentElement.scrollWidth") == 375
    assert [v["id"] for v in Axe().run(page).response["violations"]] == []
