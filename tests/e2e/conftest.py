"""A shop under a real server, and visitors with a real browser. Nothing leaves this machine."""

import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Response,
    sync_playwright,
)

ROOT = Path(__file__).resolve().parents[2]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
DEVICES: dict[str, dict[str, Any]] = {
    "phone": {"viewport": {"width": 375, "height": 812}, "has_touch": True, "is_mobile": True},
    "small": {"viewport": {"width": 320, "height": 640}, "has_touch": True, "is_mobile": True},
    "desktop": {"viewport": {"width": 1280, "height": 800}},
}
PATIENCE = 10_000


class Shop:
    """A shop behind gunicorn, at `url`, with the database of `folder`."""

    def __init__(self, folder: Path, path: str = "") -> None:
        self.folder = folder
        self.log = folder / "server.log"
        # Bound here and handed on: no other process gets the port before the server does.
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}{path}/"
        self.environ = _environ(folder) | ({"SCRIPT_NAME": path} if path else {})

    def __enter__(self) -> "Shop":
        handle = self._socket.fileno()
        with self.log.open("wb") as log:
            self._server = subprocess.Popen(
                [sys.executable, "-m", "gunicorn", "-w", "2", "-b", f"fd://{handle}",
                 "--no-control-socket", "shop:create_app()"],
                cwd=ROOT, env=self.environ, stdout=log, stderr=log, pass_fds=[handle],
            )  # fmt: skip
        try:
            self._wait()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._server.terminate()
        self._server.wait(20)
        self._socket.close()

    def sql(self, statement: str, *values: Any) -> None:
        """Change the database behind the shop's back."""
        change(self.folder, statement, *values)

    def _wait(self) -> None:
        until = time.monotonic() + 20
        while time.monotonic() < until and self._server.poll() is None:
            try:
                urllib.request.urlopen(f"{self.url}healthz", timeout=5).close()
                return
            except OSError:
                time.sleep(0.05)
        raise AssertionError(f"the shop did not start:\n{self.log.read_text()}")


class Visitor:
    """A person with a browser, looking at `page`; `troubles` is what nobody should meet."""

    def __init__(self, context: BrowserContext) -> None:
        context.set_default_timeout(PATIENCE)
        self.context = context
        self.page: Page = context.new_page()
        self.troubles: list[str] = []
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.troubles.append(str(error)))
        self.page.on("response", self._look)

    def go(self, path: str) -> None:
        """Open an address of the shop."""
        self.page.goto(path)

    def post(self, comment: str, name: str = "") -> None:
        """Write something on the page that is open."""
        self.page.locator("[name=comment]").fill(comment)
        self.page.locator("[name=name]").fill(name)
        self.press("form:has([name=comment]) button")

    def pay(self, number: str = "4242 4242 4242 4242") -> None:
        """Fill in the payment page that is open and press its button."""
        self.page.locator("[name=email]").fill("aya@example.com")
        self.page.locator("[name=number]").fill(number)
        self.page.locator("[name=expiry]").fill("12 / 40")
        self.page.locator("[name=cvc]").fill("123")
        self.press("form:has([name=number]) button")

    def press(self, selector: str) -> None:
        """Press the first of what leads to another page, and wait until that page is there."""
        with self.page.expect_navigation():
            self.page.locator(selector).first.click()

    def _hear(self, message: ConsoleMessage) -> None:
        # A page that says no (402, 404, 422) is written into the console, too; see _look.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.troubles.append(message.text)

    def _look(self, response: Response) -> None:
        is_page = response.request.is_navigation_request()
        if response.status >= 500 or (response.status >= 400 and not is_page):
            self.troubles.append(f"{response.status} {response.url}")


Visit = Callable[..., Visitor]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """The browser of this machine."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        reason = f"no browser found: none of {', '.join(BROWSERS)} is on the PATH"
        if os.environ.get("TEST_STRICT") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def goods(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with the sample goods in it, the tea towel sold out."""
    folder = tmp_path_factory.mktemp("goods") / "data"
    for command in ("init", "demo"):
        subprocess.run(
            [sys.executable, "-m", "flask", "--app", "shop", "shop", command],
            cwd=ROOT, env=_environ(folder), check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
    change(folder, "UPDATE products SET stock = 0 WHERE slug = 'tea-towel'")
    return folder


@pytest.fixture(scope="session")
def shop(goods: Path) -> Iterator[Shop]:
    """A shop at the root of its address."""
    with Shop(shutil.copytree(goods, goods.with_name("root"))) as shop:
        yield shop


@pytest.fixture(scope="session")
def shop_below(goods: Path) -> Iterator[Shop]:
    """A shop in a folder of its address."""
    with Shop(shutil.copytree(goods, goods.with_name("below")), path="/little/shop") as shop:
        yield shop


@pytest.fixture
def visit_at(
    chromium: Browser, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Callable[..., Visitor]]:
    """Return a function that brings a visitor to a shop; whatever troubled them fails the test."""
    visitors: list[Visitor] = []

    def visit_at(shop: Shop, device: str = "desktop", **options: Any) -> Visitor:
        context = chromium.new_context(
            **{"base_url": shop.url, "locale": "en", **DEVICES[device], **options}
        )
        visitors.append(Visitor(context))
        return visitors[-1]

    yield visit_at
    for number, visitor in enumerate(visitors):
        visitor.page.screenshot(path=tmp_path / f"last-{number}.png")
        visitor.context.close()
    assert [visitor.troubles for visitor in visitors] == [[] for _ in visitors]


@pytest.fixture
def visit(visit_at: Visit, shop: Shop) -> Visit:
    """Return a function that brings a visitor to the shop."""
    return lambda *args, **options: visit_at(shop, *args, **options)


def change(folder: Path, statement: str, *values: Any) -> None:
    """Change the database of a folder."""
    connection = sqlite3.connect(folder / "shop.sqlite3", timeout=20)
    with connection:
        connection.execute(statement, values)
    connection.close()


def _environ(data: Path) -> dict[str, str]:
    ours = ("SHOP_", "STRIPE_", "FLASK_", "GUNICORN_", "SECRET_KEY", "DATABASE_URL", "MAIL_URL")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)} | {
        "SHOP_DATA_DIR": str(data),
        "SHOP_OWNER_EMAIL": "owner@shop.example",
        # A developer's own .env has no say here.
        "FLASK_SKIP_DOTENV": "1",
    }
