"""Who uses the shop in the tests: a browser, a buyer, and the hand on the sandbox's switches."""

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import unescape
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from flask import Flask

CARD = "4242424242424242"
DECLINED = "4000000000000002"


@dataclass(frozen=True)
class Answer:
    """What came back, the same from Flask's test client and over a socket."""

    status: int
    headers: Mapping[str, str]
    text: str
    elsewhere: str = ""

    @property
    def location(self) -> str:
        """Where a redirect leads: in full, if the answer is not from the shop itself."""
        return urljoin(self.elsewhere, self.headers["Location"])

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def words(self) -> str:
        """The page as a person reads it, without its tags."""
        return " ".join(unescape(re.sub(r"<[^>]+>", " ", self.text)).split())


class Browser:
    """A visitor's browser: keeps cookies, follows no redirect unless told, fills in form tokens."""

    def __init__(
        self,
        app: Flask | None = None,
        base: str = "http://127.0.0.1:5000",
        after_post: Callable[[], None] | None = None,
    ) -> None:
        self.base = base
        self._after_post = after_post
        self._app = app
        # Of the page last asked for it; kept for as long as the session stays as it is.
        self._token = ""
        self._client = app.test_client() if app else None
        self._session = None if app else requests.Session()

    def get(self, url: str, **headers: str) -> Answer:
        return self._request("GET", url, None, headers)

    def post(self, url: str, data: Any = None, **headers: str) -> Answer:
        """Send the form as it is, without a token."""
        answer = self._request("POST", url, data, headers)
        if self._after_post:
            self._after_post()
        return answer

    def submit(self, url: str, data: Mapping[str, Any], **headers: str) -> Answer:
        """Send the form with the token of a page that this browser has seen."""
        return self.post(url, {"csrf_token": self.token(), **data}, **headers)

    def token(self) -> str:
        if not self._token:
            found = re.search(r'name="csrf_token" value="([^"]+)"', self.get("/orders").text)
            assert found
            self._token = unescape(found[1])
        return self._token

    def _request(self, method: str, url: str, data: Any, headers: Mapping[str, str]) -> Answer:
        answer = self._answer(method, url, data, headers)
        if "Set-Cookie" in answer.headers:
            self._token = ""
        return answer

    def _answer(self, method: str, url: str, data: Any, headers: Mapping[str, str]) -> Answer:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        full = url if "://" in url else self.base + url
        if self._client is not None:
            parts = urlsplit(full)
            response = self._client.open(
                parts.path or "/", query_string=parts.query, method=method, data=data,
                headers=sent, base_url=f"{parts.scheme}://{parts.netloc}",
            )  # fmt: skip
            # Reading to the end and closing is what a server does: mail and events leave then.
            text = response.get_data(as_text=True)
            response.close()
            return Answer(response.status_code, response.headers, text)
        assert self._session is not None
        answer = self._session.request(
            method, full, data=data, headers=sent, allow_redirects=False, timeout=40
        )
        elsewhere = "" if full.startswith(self.base) else full
        return Answer(answer.status_code, answer.headers, answer.text, elsewhere)


class Buyer(Browser):
    """A visitor who buys."""

    def order(self, product_id: int = 1, quantity: int = 1) -> dict[str, str]:
        """Order one product and return the JSON: order, id and url of the session."""
        answer = self.submit(
            "/payments/session",
            {"product_id": product_id, "quantity": quantity},
            Accept="application/json",
        )
        assert answer.status == 201, answer.text
        return dict(answer.json)

    def pay(self, url: str, number: str = CARD, email: str = "aya@example.com") -> Answer:
        """Fill in Stripe's page and press Pay."""
        return self.post(
            url,
            {"email": email, "method": "card", "number": number, "expiry": "12/40", "cvc": "123"},
        )

    def buy(self, product_id: int = 1, quantity: int = 1) -> str:
        """Order, pay, come back; return the order's token."""
        order = self.order(product_id, quantity)
        paid = self.pay(order["url"])
        assert paid.status == 303, paid.words
        back = self.get(paid.location)
        assert back.status == 303, back.words
        return order["order"]

    def see(self, token: str) -> dict[str, Any]:
        """Return the order as JSON."""
        answer = self.get(f"/orders/{token}", Accept="application/json")
        assert answer.status == 200, answer.text
        return dict(answer.json)


class Switches:
    """The sandbox's control addresses."""

    def __init__(self, browser: Browser, root: str) -> None:
        self._browser = browser
        self._root = root

    @property
    def state(self) -> dict[str, Any]:
        return dict(self._browser.get(f"{self._root}/control/state").json)

    def webhooks(self, mode: str) -> None:
        self.press("webhooks", mode=mode)

    def api(self, mode: str, **more: Any) -> None:
        self.press("api", mode=mode, **more)

    def clock(self, advance: int) -> None:
        self.press("clock", advance=advance)

    def resend(self, event_id: str) -> None:
        self.press(f"events/{event_id}/resend")

    def events(self, type_: str) -> list[dict[str, Any]]:
        return [event for event in self.state["events"] if event["type"] == type_]

    def call(self, path: str, **params: Any) -> dict[str, Any]:
        """Post to Stripe's API as another program with the shop's key does."""
        key = {"Authorization": "Bearer sk_test_standalone"}
        answer = self._browser.post(f"{self._root}/v1/{path}", params, **key)
        assert answer.status == 200, answer.text
        self.await_deliveries()
        return dict(answer.json)

    def await_deliveries(self) -> None:
        """Wait for what was raised: over sockets it is delivered after the answer."""
        for _ in range(200):
            state = self.state
            if not [
                delivery
                for delivery in state["deliveries"]
                if delivery["status"] == "pending"
                and not delivery["attempts"]
                and delivery["next_attempt_at"] <= state["clock"]["now"]
            ]:
                return
            time.sleep(0.05)
        raise AssertionError("events are still under way")

    def press(self, name: str, **fields: Any) -> None:
        answer = self._browser.post(
            f"{self._root}/control/{name}", fields, Accept="application/json"
        )
        assert answer.status < 400, answer.text
        self.await_deliveries()
