"""Every page for everybody: screen readers, keyboards, small phones, light and dark."""

from collections.abc import Callable

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from tests.e2e.conftest import Shop, Visit, Visitor
from tests.e2e.test_journeys import buy_shirt

AXE = Axe()
STATES = (
    "pending",
    "awaiting_payment",
    "cancelled",
    "needs_review",
    "partially_refunded",
    "refunded",
)


def each_page(visitor: Visitor, shop: Shop, look: Callable[[str], None]) -> None:
    """Bring the visitor to every page of the shop, and look at each."""
    page = visitor.page
    for path in (
        "./",
        "topics/1",
        "shop/",
        "shop/t-shirt",
        "shop/last-mugs",
        "shop/tea-towel",
        "shop/hoodie",
        "legal",
        "privacy",
    ):
        visitor.go(path)
        look(path)
    visitor.go("./")
    visitor.post("", "x" * 50)
    look("board with errors")
    for path in ("nowhere", "orders/nobodys", "orders", "orders?asked=yes"):
        visitor.go(path)
        look(path)
    visitor.go("orders")
    page.locator("[name=email]").fill("aya")
    visitor.press("form:has([name=email]) button")
    look("orders of no address")
    visitor.go("cart")
    look("empty cart")
    for slug in ("postcards", "last-mugs"):
        visitor.go(f"shop/{slug}")
        visitor.press("[formaction]")
    look("cart")
    page.locator("#delivery [name=delivery]").last.check()
    visitor.press("#delivery button")
    look("cart with a parcel")
    visitor.go("payments/card")
    look("card page with an address")
    buy_and_return(visitor)
    look("cart with an order that waits")
    visitor.press(".notice a")
    token = page.url.rpartition("/")[2]
    look("order")
    visitor.go(f"payments/card?order={token}")
    look("card page")
    for state in STATES:
        shop.sql("UPDATE orders SET state = ? WHERE token = ?", state, token)
        visitor.go(f"orders/{token}")
        look(f"{state} order")
    shop.sql("UPDATE orders SET state = 'pending' WHERE token = ?", token)
    buy_and_return(visitor, pay=True)
    look("paid order")
    visitor.go(f"orders/{token}/receipt?name=Hana")
    look("receipt")
    visitor.go("./")
    page.locator("[name=comment]").fill("kept")
    visitor.context.clear_cookies()
    visitor.press("form:has([name=comment]) button")
    look("stale form")


def buy_and_return(visitor: Visitor, pay: bool = False) -> None:
    visitor.go("shop/t-shirt")
    visitor.press("article form .btn-primary")
    if pay:
        visitor.pay()
    else:
        visitor.press(".summary a")


def test_axe_finds_nothing_and_a_small_phone_shows_all(visit: Visit, shop: Shop) -> None:
    # Only for axe may a script run that is not the shop's own.
    visitor = visit("small", bypass_csp=True)
    found: list[str] = []
    each_page(visitor, shop, lambda name: found.extend(hindrances(visitor.page, name)))
    assert found == []


def test_a_small_phone_shows_all_in_japanese(visit: Visit, shop: Shop) -> None:
    visitor = visit("small", locale="ja-JP")
    found: list[str] = []
    each_page(visitor, shop, lambda name: found.extend(misfits(visitor.page, name)))
    assert found == []


def hindrances(page: Page, name: str) -> list[str]:
    """Return what axe finds on a page in light and dark, and what does not fit a small phone."""
    found = misfits(page, name)
    answers = {"light": AXE.run(page, options={"resultTypes": ["violations"]}).response}
    page.emulate_media(color_scheme="dark")
    answers["dark"] = page.evaluate("axe.run({runOnly: ['color-contrast']})")
    page.emulate_media(color_scheme="light")
    for theme, answer in answers.items():
        for violation in answer["violations"]:
            targets = [node["target"] for node in violation["nodes"]]
            found.append(f"{name}, {theme}: {violation['id']} {targets}")
    return found


def misfits(page: Page, name: str) -> list[str]:
    """Return what makes a page hard to use on a small phone."""
    width, header = page.evaluate(
        "[document.documentElement.scrollWidth,"
        " document.querySelector('.site-header > .shell').offsetHeight]"
    )
    found = [f"{width} px wide"] if width > 320 else []
    found += [f"a header of {header} px"] if header > 64 else []
    return [f"{name}: {what}" for what in [*found, *page.evaluate(SMALL_TARGETS)]]


# What a finger can press: links in running text and what lies off the screen do not count.
SMALL_TARGETS = """
[...document.querySelectorAll('a, button, label.variant, .form-switch, summary, '
    + 'input:not([type=hidden], [type=radio], [type=checkbox]), textarea')]
  .filter(e => !e.closest('.said, .skip, p') && !e.matches('.stretched-link, .skip'))
  .filter(e => e.getBoundingClientRect().height < 43.5)
  .map(e => `${e.tagName} “${e.innerText}” is ${e.getBoundingClientRect().height} px high`)
"""


def test_the_focus_is_visible_wherever_the_keyboard_goes(visit: Visit) -> None:
    visitor = visit("desktop")
    page = visitor.page
    buy_shirt(visitor)  # so that the cart holds the notice of an order
    for path in ("./", "topics/1", "shop/", "shop/t-shirt", "cart"):
        visitor.go(path)
        stops = 0
        page.keyboard.press("Tab")
        while page.evaluate("document.activeElement !== document.body") and stops < 60:
            assert page.evaluate(HAS_RING), (
                f"{path}: {page.evaluate('document.activeElement.outerHTML')}"
            )
            stops += 1
            page.keyboard.press("Tab")
        assert stops >= 6, path


HAS_RING = """
['', '::after'].some(part => {
  const style = getComputedStyle(document.activeElement, part || null)
  return style.outlineStyle === 'solid' && parseFloat(style.outlineWidth) >= 3
})
"""
