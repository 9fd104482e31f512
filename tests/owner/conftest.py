"""An owner who is signed in."""

from collections.abc import Callable

import pytest
from flask import Flask

from shop.owner import owners
from tests.actors import Answer, Browser

EMAIL = "hana@shop.example"
PASSWORD = "a long enough password"


@pytest.fixture(autouse=True)
def _quick_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spend no time on hashes."""
    monkeypatch.setattr(owners, "METHOD", "pbkdf2:sha256:1")


def sign_in(browser: Browser, email: str = EMAIL, password: str = PASSWORD, **more: str) -> Answer:
    return browser.submit("/owner/login", {"email": email, "password": password, **more})


@pytest.fixture
def make_owner(app: Flask) -> Callable[..., None]:
    """Return a function that makes an owner."""

    def make(email: str = EMAIL, password: str = PASSWORD) -> None:
        with app.app_context():
            owners.add(email, password)

    return make


@pytest.fixture
def owner(app: Flask, make_owner: Callable[..., None]) -> Browser:
    """A browser in which the owner is signed in."""
    make_owner()
    browser = Browser(app)
    assert sign_in(browser).status == 303
    return browser
