"""A sandbox on the sandbox: its pages, its API, its switches, and a receiver for its events."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import stripe
from werkzeug.serving import make_server
from werkzeug.test import TestResponse

from shop.sandbox import create_sandbox
from tests import canaries

SECRET = canaries.WEBHOOK_SECRET
SESSION: dict[str, Any] = {
    "mode": "payment",
    "success_url": "https://shop.test/done?session_id={CHECKOUT_SESSION_ID}",
    "cancel_url": "https://shop.test/cart",
    "client_reference_id": "order-1",
    "metadata": {"order": "1"},
    "payment_intent_data": {"metadata": {"order": "1"}},
    "line_items": [
        {
            "quantity": 2,
            "price_data": {
                "currency": "jpy",
                "unit_amount": 2000,
                "product_data": {"name": "T-shirt"},
            },
        }
    ],
}

# What a shop asks for that sends goods, and a customer's answers.
DELIVERY: dict[str, Any] = {
    "shipping_address_collection": {"allowed_countries": ["JP", "US", "HK"]},
    "phone_number_collection": {"enabled": True},
    "shipping_options": [
        {
            "shipping_rate_data": {
                "display_name": "Parcel",
                "type": "fixed_amount",
                "fixed_amount": {"amount": 500, "currency": "jpy"},
            }
        }
    ],
}
ADDRESS = {
    "line1": "千代田1-1",
    "line2": "201号室",
    "city": "千代田区",
    "state": "東京都",
    "postal_code": "100-0001",
    "country": "JP",
}
LOOKS: dict[str, Any] = {
    "branding_settings": {"display_name": "Mug & Co", "button_color": "#ffdd00"},
    "custom_text": {
        "submit": {"message": "See our [terms](https://shop.test/legal?a=1&b=2).\n<b>Thanks</b>"},
        "shipping_address": {"message": "We send on Mondays."},
        "after_submit": {"message": "First.\n\nSecond."},
        "terms_of_service_acceptance": {"message": "[No](javascript:alert(1))"},
    },
}
RECIPIENT = {"name": "山田 太郎", "phone": "090-1234-5678", **ADDRESS}


class Receiver:
    """Takes events, checks every signature and answers with `status`."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.headers: list[str] = []
        self.status = 200

    def __call__(self, body: bytes, header: str) -> int:
        stripe.WebhookSignature.verify_header(body, header, SECRET, tolerance=300)
        self.events.append(json.loads(body))
        self.headers.append(header)
        return self.status

    @property
    def types(self) -> list[str]:
        return [event["type"] for event in self.events]


class SandboxClient:
    """A sandbox with its own database, and a test client for it."""

    def __init__(self, tmp_path: Path, **options: Any) -> None:
        self.receiver = Receiver()
        options = {"deliver": self.receiver, "webhook_secret": SECRET, **options}
        self.app = create_sandbox(tmp_path / "bench" / "sandbox.sqlite3", **options)
        self.state = self.app.extensions["sandbox"]
        self.http = self.app.test_client()

    def api(
        self, method: str, path: str, params: dict[str, Any] | None = None, **options: Any
    ) -> TestResponse:
        """Call the API and wait until its events are delivered."""
        pairs = dict(flat(params or {}))
        place = {"query_string": pairs} if method == "GET" else {"data": pairs}
        headers = {"Authorization": f"Bearer {canaries.STRIPE_KEY}", **options.pop("headers", {})}
        return self.http.open(
            f"/v1{path}", method=method, headers=headers, buffered=True, **place, **options
        )

    def get(self, path: str, **params: Any) -> Any:
        return self.api("GET", path, params).json

    def create(self, **params: Any) -> Any:
        """Open a session and return it."""
        answer = self.api("POST", "/checkout/sessions", {**SESSION, **params})
        assert answer.status_code == 200, answer.text
        return answer.json

    def session(self, session: Any, *expand: str) -> Any:
        return self.get(f"/checkout/sessions/{session['id']}", expand=list(expand))

    def pay(self, session: Any, number: str = "4242 4242 4242 4242", **form: Any) -> TestResponse:
        """Send the hosted form."""
        typed = {"email": "taro@example.com", "number": number, "expiry": "12/39", "cvc": "123"}
        url = f"/checkout/{session['id']}"
        return self.http.post(url, data={**typed, **form}, buffered=True)

    def control(self, switch: str, **values: Any) -> Any:
        answer = self.http.post(
            f"/control/{switch}", data=values, headers={"Accept": "application/json"}
        )
        assert answer.status_code == 200, answer.text
        return answer.json

    def snapshot(self) -> Any:
        return self.http.get("/control/state").json

    @contextmanager
    def serve(self, **options: Any) -> Iterator[stripe.StripeClient]:
        """Serve on a free loopback port and yield the SDK's client for it."""
        server = make_server("127.0.0.1", 0, self.app, threaded=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{server.port}"
        try:
            yield client(url, **options)
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


def charged(sandbox: SandboxClient, number: str = "4242424242424242", **form: Any) -> str:
    """Sell something and return the charge's id; the receiver forgets the events so far."""
    sandbox.pay(sandbox.create(), number, **form)
    sandbox.receiver.events.clear()
    return str(sandbox.snapshot()["charges"][0]["id"])


def client(url: str, key: str = canaries.STRIPE_KEY, **options: Any) -> stripe.StripeClient:
    """Return the SDK's client for a sandbox at the URL."""
    stripe.enable_telemetry = False
    return stripe.StripeClient(key, base_addresses={"api": url}, **options)


def flat(params: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the parameters as Stripe's clients encode them."""
    for key, value in params.items():
        name = f"{prefix}[{key}]" if prefix else str(key)
        if isinstance(value, dict):
            yield from flat(value, name)
        elif isinstance(value, list):
            yield from flat(dict(enumerate(value)), name)
        elif value is not None:
            yield name, str(value).lower() if isinstance(value, bool) else str(value)
