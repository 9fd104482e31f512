"""What people do in the shop, in a real browser."""

import re
from uuid import uuid4

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.conftest import Shop, Visit, Visitor

DECLINED = "4000 0000 0000 0002"


@pytest.mark.parametrize("device", ["phone", "desktop"])
def test_writing_buying_and_paying_after_a_declined_card(visit: Visit, device: str) -> None:
    visitor = visit(device)
    write_buy_and_pay(visitor)
    page = visitor.page
    expect(page.locator("h1")).to_have_text(re.compile(r"^Order \d+$"))
    expect(page.get_by_role("status")).to_contain_text("Paid. Thank you")
    expect(page.locator("tfoot")).to_contain_text("¥2,000")
    expect(page.get_by_text("aya@example.com").first).to_be_visible()


def test_everything_works_without_javascript(visit: Visit) -> None:
    visitor = visit("phone", java_script_enabled=False)
    write_buy_and_pay(visitor)
    expect(visitor.page.get_by_role("status")).to_contain_text("Paid. Thank you")


def test_everything_works_in_japanese(visit: Visit) -> None:
    visitor = visit("phone", locale="ja-JP")
    write_buy_and_pay(
        visitor, words=("カードが拒否されました", "請求は行われていません"), buy="今すぐ購入"
    )
    page = visitor.page
    expect(page.locator("html")).to_have_attribute("lang", "ja")
    expect(page.locator("h1")).to_have_text(re.compile(r"^ご注文番号 \d+$"))
    expect(page.get_by_role("status")).to_contain_text("ありがとうございます")


def test_a_shop_in_a_folder_of_its_address(visit_at: Visit, shop_below: Shop) -> None:
    visitor = visit_at(shop_below, "phone")
    write_buy_and_pay(visitor)
    expect(visitor.page.get_by_role("status")).to_contain_text("Paid. Thank you")
    assert visitor.page.url.startswith(f"{shop_below.url}orders/")


def test_pressing_back_on_the_payment_page_and_paying_after_all(visit: Visit) -> None:
    visitor = visit("phone")
    page = visitor.page
    buy_shirt(visitor)
    first = page.url
    page.go_back()
    page.get_by_role("button", name="Buy now").click()
    expect(page.locator("[name=number]")).to_be_visible()
    assert page.url == first, "the same wish is the same payment"
    visitor.pay()
    expect(page.get_by_role("status")).to_contain_text("Paid. Thank you")


def test_turning_back_at_the_payment_page_and_paying_from_the_cart(visit: Visit) -> None:
    visitor = visit("phone")
    page = visitor.page
    buy_shirt(visitor)
    page.get_by_role("link", name=re.compile("back", re.IGNORECASE)).click()
    expect(page.get_by_text("Nothing is lost: your order is kept for you")).to_be_visible()
    page.get_by_role("button", name="Pay ¥2,000").click()
    visitor.pay()
    expect(page.get_by_role("status")).to_contain_text("Paid. Thank you")


def test_a_stale_form_keeps_the_text_and_can_be_sent(visit: Visit) -> None:
    visitor = visit("phone")
    page, text = visitor.page, f"Two lines,\nof {uuid4()}"
    visitor.go("")
    page.locator("[name=comment]").fill(text)
    page.locator("[name=name]").fill("Aya")
    visitor.context.clear_cookies()
    page.get_by_role("button", name="Post").click()
    expect(page.get_by_role("alert")).to_contain_text("Nothing was saved")
    expect(page.locator("[name=comment]")).to_have_value(text)
    page.get_by_role("button", name="Post").click()
    expect(page.locator(".topic").filter(has_text=text)).to_contain_text("Aya")


def test_a_stale_purchase_can_go_on(visit: Visit) -> None:
    visitor = visit("phone")
    visitor.go("shop/t-shirt")
    visitor.context.clear_cookies()
    visitor.page.get_by_role("button", name="Buy now").click()
    visitor.page.get_by_role("button", name="Continue").click()
    visitor.pay()
    expect(visitor.page.get_by_role("status")).to_contain_text("Paid. Thank you")


def test_the_cart_is_filled_changed_paid_and_empty(visit: Visit) -> None:
    visitor = visit("phone")
    page = visitor.page
    for slug in ("t-shirt", "postcards"):
        visitor.go(f"shop/{slug}")
        page.get_by_role("button", name="Add to cart").click()
    expect(page.get_by_role("link", name="Cart (2)")).to_be_visible()
    shirt, postcards = page.locator(".cart-lines > li").all()
    shirt.get_by_label("Quantity").fill("3")
    shirt.get_by_role("button", name="Change").click()
    expect(page.get_by_role("link", name="Cart (4)")).to_be_visible()
    postcards.get_by_role("button", name="Remove").click()
    page.get_by_role("button", name="Pay ¥6,000").click()
    visitor.pay()
    expect(page.locator("tfoot")).to_contain_text("¥6,000")
    page.get_by_role("link", name="Cart", exact=True).click()
    expect(page.get_by_text("Your cart is empty.")).to_be_visible()


def test_mistakes_are_told_beside_the_field_and_the_first_has_the_focus(visit: Visit) -> None:
    visitor = visit("phone")
    page = visitor.page
    visitor.go("")
    visitor.post("", "a name that goes on and on, far longer than names do")
    comment = page.locator("[name=comment]")
    expect(comment).to_be_focused()
    expect(comment).to_have_accessible_description("Please write something first.")
    expect(page.locator("[name=name]")).to_have_attribute("aria-invalid", "true")


def test_a_reply_by_keyboard_alone(visit: Visit) -> None:
    visitor = visit()
    page, text = visitor.page, f"Typed, not clicked: {uuid4()}"
    visitor.go("")
    tab_to(page, "document.activeElement.name === 'comment'")
    page.keyboard.type(text)
    page.keyboard.press("Tab")
    page.keyboard.type("Kei")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator(".topic").filter(has_text=text)).to_contain_text("Kei")


def write_buy_and_pay(
    visitor: Visitor,
    words: tuple[str, str] = ("declined", "Nothing was charged"),
    buy: str = "Buy now",
) -> None:
    """Post a topic, buy the T-shirt, be declined once, and pay; ends on the order's page."""
    page, text = visitor.page, f"Hello, shop! {uuid4()}"
    visitor.go("./")
    visitor.post(text, "Aya")
    expect(page.locator(".topic").filter(has_text=text)).to_contain_text("Aya")
    buy_shirt(visitor, buy)
    visitor.pay(DECLINED)
    for word in words:
        expect(page.get_by_role("alert")).to_contain_text(word)
    visitor.pay()


def buy_shirt(visitor: Visitor, buy: str = "Buy now") -> None:
    visitor.go("shop/t-shirt")
    visitor.page.get_by_role("button", name=buy).click()
    expect(visitor.page.locator("[name=number]")).to_be_visible()


def tab_to(page: Page, condition: str) -> None:
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate(condition):
            return
    raise AssertionError(f"the keyboard never comes to where {condition}")
