"""The owner with a phone in one hand."""

import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.catalog.test_pictures import drawn
from tests.e2e.conftest import ROOT, Shop, Visit, Visitor
from tests.e2e.test_access import hindrances

PASSWORD = "a long enough password"


@pytest.fixture(scope="module")
def owner_of_shop(shop: Shop) -> str:
    """The address of an owner."""
    subprocess.run(
        [sys.executable, "-m", "flask", "--app", "shop", "shop", "owner", "add",
         "hana@shop.example", "--password-stdin"],
        cwd=ROOT, env=shop.environ, check=True, input=f"{PASSWORD}\n", text=True,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    return "hana@shop.example"


def sign_in(visitor: Visitor, email: str) -> None:
    visitor.go("owner/goods")
    visitor.page.locator("[name=email]").fill(email)
    visitor.page.locator("[name=password]").fill(PASSWORD)
    visitor.press("main form .btn-primary")


def test_a_shelf_is_filled_on_a_phone_and_somebody_buys(
    visit: Visit, owner_of_shop: str, tmp_path: Path
) -> None:
    file = tmp_path / "cup.jpg"
    file.write_bytes(drawn())
    owner = visit("phone")
    page = owner.page
    sign_in(owner, owner_of_shop)
    owner.press("text=Add a product")
    page.get_by_label("What is it called?").fill("Cup")
    page.get_by_label("Price", exact=True).fill("1,500")
    page.get_by_label("Picture", exact=False).set_input_files(file)
    owner.press("text=Put it on the shelf")
    expect(page.get_by_text("“Cup” is on the shelf")).to_be_visible()
    for size, stock in (("Small", "3"), ("Large", "")):
        page.locator("#variant-name").fill(size)
        page.locator("#variant-stock").fill(stock)
        owner.press("#variants .card button")
    buyer = visit("phone")
    buyer.go("shop/cup")
    expect(buyer.page.locator("article picture img")).to_be_visible()
    assert buyer.page.evaluate("document.querySelector('article img').naturalWidth") > 0
    buyer.page.get_by_label("Small").check()
    buyer.press("article form .btn-primary")
    buyer.pay()
    expect(buyer.page.get_by_text("Cup, Small")).to_be_visible()
    owner.go("owner/goods")
    stock = page.locator(".shelf-variants li", has_text="Small").locator("[name=stock]").last
    expect(stock).to_have_value("2")


def test_axe_finds_nothing_in_the_back_office(
    visit: Visit, owner_of_shop: str, tmp_path: Path
) -> None:
    visitor = visit("small", bypass_csp=True)
    page, found = visitor.page, []

    def look(name: str) -> None:
        found.extend(hindrances(page, name))

    visitor.go("owner/")
    look("login")
    visitor.press("main form .btn-primary")
    look("wrong password")
    sign_in(visitor, owner_of_shop)
    for path in ("owner/", "owner/goods", "owner/goods?q=nothing", "owner/goods/1",
                 "owner/goods/5", "owner/goods/6", "owner/goods/new", "owner/orders",
                 "owner/orders/1", "owner/delivery", "owner/details", "owner/mail", "owner/books",
                 "owner/connect", "owner/check", "owner/account", "owner/data",
                 "owner/data/audit", "owner/goods/import", "owner/orders/tracking"):  # fmt: skip
        visitor.go(path)
        page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        look(path)
    visitor.go("owner/goods/new")
    visitor.press(".good-edit form .btn-primary")
    look("new product with errors")
    visitor.go("owner/delivery")
    visitor.press("main > form .btn-primary")
    look("new delivery with errors")
    visitor.go("owner/details")
    page.locator("[name=email]").fill("nobody")
    visitor.press("main form .btn-primary:not(.rooms *)")
    look("details with errors")
    for email in ("nobody@example.com", "aya@example.com"):
        visitor.go("owner/data")
        page.locator("#email").fill(email)
        visitor.press("#erase .btn-outline-primary")
        look(f"erase {email}")
    assert page.get_by_text("This cannot be taken back").is_visible()
    for rows in ("bag,Bag,900,4\nt-shirt,T-shirt,2000,9\n", "bag,Bag,x,4\nbox,,1,\n"):
        file = tmp_path / "goods.csv"
        file.write_text(f"slug,name,price,stock,colour\n{rows}")
        visitor.go("owner/goods/import")
        page.locator("#file").set_input_files(file)
        visitor.press("main form .btn-outline-primary")
        look(f"import {rows}")
    assert found == []
