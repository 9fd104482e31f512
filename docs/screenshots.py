"""The pictures of the README, taken from a running shop with its samples: `make screenshots`."""

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

DOCS = Path(__file__).resolve().parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PHONE, DESKTOP = (375, 760), (1180, 760)
SHOTS = (
    ("board", "/", DESKTOP),
    ("goods", "/shop/", DESKTOP),
    ("product", "/shop/hoodie", PHONE),
    ("back-office", "/owner/goods", PHONE),
)


@contextmanager
def shop() -> Iterator[tuple[str, str]]:
    """Run a shop with its samples; yield its address and the demo owner's password."""
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
        keep = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        environ = keep | {"SHOP_DATA_DIR": folder, "FLASK_SKIP_DOTENV": "1", "FLASK_APP": "shop"}
        flask = [sys.executable, "-m", "flask"]
        free.close()
        subprocess.run([*flask, "shop", "init"], cwd=DOCS.parent, env=environ, check=True)
        said = subprocess.run(
            [*flask, "shop", "demo"], cwd=DOCS.parent, env=environ, check=True,
            capture_output=True, text=True,
        ).stdout  # fmt: skip
        server = subprocess.Popen(
            [*flask, "run", "--port", str(port)], cwd=DOCS.parent, env=environ,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            for _ in range(200):
                with suppress(OSError):
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz").close()
                    break
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}", re.findall(r"password +(\S+)", said)[0]
        finally:
            server.terminate()
            server.wait()


def sign_in(page: Page, address: str, password: str) -> None:
    page.goto(f"{address}/owner/login")
    page.fill("[name=email]", "owner@example.com")
    page.fill("[name=password]", password)
    page.click("main form .btn-primary")


def main() -> None:
    """Take each picture and keep it small."""
    chromium = next(filter(None, map(shutil.which, BROWSERS)))
    with shop() as (address, password), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for name, path, (width, height) in SHOTS:
            page = browser.new_page(viewport={"width": width, "height": height}, locale="en")
            if path.startswith("/owner"):
                sign_in(page, address, password)
            page.goto(address + path, wait_until="networkidle")
            file = DOCS / f"{name}.png"
            page.screenshot(path=file)
            Image.open(file).convert("RGB").quantize(128).save(file, optimize=True)
            print(f"{file.name}: {file.stat().st_size // 1024} KB")
        browser.close()


if __name__ == "__main__":
    main()
