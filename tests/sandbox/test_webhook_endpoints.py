"""Webhook endpoints: made through the API, and what is delivered to them."""

import json
import socket
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import stripe
from werkzeug.wrappers import Request, Response

from shop.sandbox.mount import Mount
from tests.sandbox.helpers import SECRET, SandboxClient
from tests.till import Served

PATH = "/webhook_endpoints"
HOOK = "https://shop.test/hook"
OTHER = "https://books.test/hook?v=1"


class Receivers:
    """The receivers of the endpoints: they keep what comes, and answer with `status`."""

    def __init__(self) -> None:
        self.came: list[tuple[str, dict[str, Any]]] = []
        self.secrets: dict[str, str] = {}
        self.status = 200

    def __call__(self, url: str, body: bytes, header: str) -> int:
        stripe.WebhookSignature.verify_header(body, header, self.secrets[url], tolerance=300)
        self.came.append((url, json.loads(body)))
        return self.status

    def types(self, url: str) -> list[str]:
        return [event["type"] for to, event in self.came if to == url]


@pytest.fixture
def receivers() -> Receivers:
    return Receivers()


@pytest.fixture
def sandbox(tmp_path: Path, receivers: Receivers) -> SandboxClient:
    return SandboxClient(tmp_path, deliver_to=receivers, webhook_url="http://127.0.0.1:8000/start")


def add(sandbox: SandboxClient, url: str = HOOK, *events: str, **more: Any) -> Any:
    """Make an endpoint, tell its secret to its receiver, and return it."""
    params = {"url": url, "enabled_events": list(events or ("*",)), **more}
    answer = sandbox.api("POST", PATH, params)
    assert answer.status_code == 200, answer.text
    receivers: Any = sandbox.state.dispatcher._deliver_to
    if isinstance(receivers, Receivers):
        receivers.secrets[url] = answer.json["secret"]
    return answer.json


def expire(sandbox: SandboxClient) -> None:
    """Raise one event."""
    sandbox.api("POST", f"/checkout/sessions/{sandbox.create()['id']}/expire")


# Making them


def test_an_endpoint_through_the_sdk(sdk: stripe.StripeClient) -> None:
    endpoints = sdk.v1.webhook_endpoints
    version: Any = stripe.api_version
    made = endpoints.create(
        {
            "url": HOOK,
            "enabled_events": ["charge.refunded", "checkout.session.completed"],
            "api_version": version,
            "description": "The shop",
            "metadata": {"shop": "mugs", "made": "today"},
        }
    )
    assert made.secret
    assert made.secret.startswith("whsec_")
    assert (made.url, made.status, made.api_version) == (HOOK, "enabled", version)
    kept = endpoints.retrieve(made.id)
    assert "secret" not in kept
    assert kept.enabled_events == ["charge.refunded", "checkout.session.completed"]
    second = endpoints.create({"url": "http://other.test", "enabled_events": ["*"]})
    assert (second.api_version, second.description) == (None, None)
    assert second.secret != made.secret
    assert [one.id for one in endpoints.list({"limit": 1}).data] == [second.id]
    assert [one.id for one in endpoints.list({"starting_after": second.id}).data] == [made.id]
    changed = endpoints.update(
        made.id,
        {"url": OTHER, "enabled_events": ["*"], "disabled": True, "description": "",
         "metadata": {"made": "", "by": "hand"}},
    )  # fmt: skip
    assert (changed.url, changed.enabled_events, changed.status) == (OTHER, ["*"], "disabled")
    assert "secret" not in changed
    assert changed.description is None
    assert changed.metadata.to_dict() == {"shop": "mugs", "by": "hand"}
    back = endpoints.update(made.id, {"disabled": False, "metadata": ""})
    assert (back.status, back.metadata.to_dict(), back.url) == ("enabled", {}, OTHER)
    gone = endpoints.delete(made.id)
    assert (gone.id, gone.object, gone.deleted) == (made.id, "webhook_endpoint", True)
    for call in (endpoints.retrieve, endpoints.delete, endpoints.update):
        with pytest.raises(stripe.InvalidRequestError) as missing:
            call(made.id)
        assert missing.value.code == "resource_missing"


@pytest.mark.parametrize(
    ("change", "param", "words"),
    [
        ({"url": None}, "url", "Missing required param: url."),
        ({"enabled_events": None}, "enabled_events", "Missing required param: enabled_events."),
        ({"enabled_events": ["order.paid"]}, "enabled_events[0]",
         "Invalid enabled_events[0]: must be one of *, account."),
        ({"enabled_events": ["*", "charge.refunded"]}, "enabled_events", "`*` alone"),
        ({"enabled_events": "charge.refunded"}, "enabled_events", "Invalid array"),
        ({"api_version": "2026-10-29.endive"}, "api_version", "must be one of"),
        ({"url": "shop.test/hook"}, "url", "Not a valid URL"),
        ({"url": "ftp://shop.test/hook"}, "url", "Not a valid URL"),
        ({"url": "https://shop.test/" + "x" * 2048}, "url", "2048 characters"),
        ({"description": "x" * 5001}, "description", "5000 characters"),
        ({"metadata": {"k" * 41: "v"}}, "metadata", "40 characters"),
    ],
)  # fmt: skip
def test_what_an_endpoint_cannot_be(
    sandbox: SandboxClient, change: dict[str, Any], param: str, words: str
) -> None:
    made = add(sandbox)
    params = {"url": OTHER, "enabled_events": ["*"], **change}
    for path in (PATH, *([f"{PATH}/{made['id']}"] if None not in change.values() else [])):
        if "api_version" in change and path != PATH:
            words = "Received unknown parameter: api_version"
        answer = sandbox.api("POST", path, params)
        assert answer.status_code == 400, answer.text
        assert answer.json["error"]["param"] == param
        assert words in answer.json["error"]["message"]
    assert [one["url"] for one in sandbox.get(PATH)["data"]] == [HOOK]


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost:5000", "127.0.0.1:5000", "[::1]", "10.0.0.7", "192.168.1.9",
     "169.254.169.254", "[fd00::1]", "shop.localhost", "nas.local", "intranet", "0.0.0.0"],
)  # fmt: skip
def test_an_endpoint_is_in_public(sandbox: SandboxClient, host: str) -> None:
    params = {"url": f"http://{host}/hook", "enabled_events": ["*"]}
    error = sandbox.api("POST", PATH, params).json["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", "url")
    assert error["message"].startswith("Invalid URL: URL must be publicly accessible")


def test_there_are_sixteen_at_most(sandbox: SandboxClient) -> None:
    first, *_ = (add(sandbox) for _ in range(16))
    refused = sandbox.api("POST", PATH, {"url": HOOK, "enabled_events": ["*"]})
    assert refused.status_code == 400
    assert "maximum of 16 test webhook endpoints" in refused.json["error"]["message"]
    assert sandbox.api("DELETE", f"{PATH}/{first['id']}").json["deleted"] is True
    add(sandbox)


def test_a_repeated_request_makes_one_endpoint(sandbox: SandboxClient) -> None:
    params, headers = {"url": HOOK, "enabled_events": ["*"]}, {"Idempotency-Key": "hook-1"}
    first, second = (sandbox.api("POST", PATH, params, headers=headers) for _ in range(2))
    assert first.json == second.json
    assert second.headers["Idempotent-Replayed"] == "true"
    # Stripe reads no key of a deletion.
    for status in (200, 404):
        url = f"{PATH}/{first.json['id']}"
        assert sandbox.api("DELETE", url, headers=headers).status_code == status
    assert sandbox.get(PATH)["data"] == []


def test_a_restricted_key_says_what_it_lacks(sandbox: SandboxClient) -> None:
    def refused(call: Callable[[], object]) -> str:
        with pytest.raises(stripe.PermissionError) as error:
            call()
        assert "does not have the required permissions" in str(error.value)
        assert "'rk_test_***" in str(error.value)
        assert "no_" not in str(error.value)
        return str(error.value)

    with sandbox.serve(key="rk_test_no_webhooks_123") as sdk:
        endpoints = sdk.v1.webhook_endpoints
        assert "'rak_webhook_read' permission" in refused(endpoints.list)
        assert "'rak_webhook_write' permission" in refused(lambda: endpoints.delete("we_1"))
        assert sdk.v1.events.list().data == []
    with sandbox.serve(key="rk_test_no_events_123") as sdk:
        assert "'rak_event_read' permission" in refused(sdk.v1.events.list)
        assert sdk.v1.webhook_endpoints.list().data == []


# Deliveries


def test_each_endpoint_gets_its_events_with_its_secret(
    sandbox: SandboxClient, receivers: Receivers
) -> None:
    some = add(sandbox, HOOK, "charge.succeeded", "charge.refunded", api_version="2024-06-20")
    every = add(sandbox, OTHER)
    sandbox.pay(sandbox.create())
    assert receivers.types(HOOK) == ["charge.succeeded"]
    assert receivers.types(OTHER) == sandbox.receiver.types
    assert len(sandbox.receiver.types) == 3
    versions = {url: event["api_version"] for url, event in receivers.came}
    assert versions == {HOOK: "2024-06-20", OTHER: stripe.api_version}
    assert {event["api_version"] for event in sandbox.receiver.events} == {stripe.api_version}
    assert {event["pending_webhooks"] for event in sandbox.get("/events")["data"]} == {0}
    deliveries = sandbox.snapshot()["deliveries"]
    assert {(one["endpoint"], one["url"], one["status"]) for one in deliveries} == {
        (some["id"], HOOK, "delivered"),
        (every["id"], OTHER, "delivered"),
        (None, "http://127.0.0.1:8000/start", "delivered"),
    }
    assert SECRET not in json.dumps(sandbox.snapshot())
    assert some["secret"] not in json.dumps(sandbox.snapshot())
    page = sandbox.http.get("/").text
    assert HOOK in page
    assert "<td>all</td>" in page


def test_only_the_endpoint_that_failed_is_tried_again(
    sandbox: SandboxClient, receivers: Receivers
) -> None:
    endpoint = add(sandbox)
    receivers.status = 500
    expire(sandbox)
    (event,) = sandbox.get("/events")["data"]
    assert event["pending_webhooks"] == 1
    # The next attempt goes where the endpoint is by then.
    sandbox.api("POST", f"{PATH}/{endpoint['id']}", {"url": OTHER})
    receivers.secrets[OTHER], receivers.status = endpoint["secret"], 200
    sandbox.control("clock", advance=10)
    assert receivers.types(OTHER) == ["checkout.session.expired"]
    assert len(sandbox.receiver.events) == 1
    assert sandbox.get(f"/events/{event['id']}")["pending_webhooks"] == 0
    assert sandbox.snapshot()["deliveries"][0]["url"] == OTHER


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_what_waits_for_an_endpoint_that_is_gone_has_failed(
    sandbox: SandboxClient, receivers: Receivers, method: str
) -> None:
    endpoint = add(sandbox)
    sandbox.control("webhooks", mode="delay", seconds=60)
    expire(sandbox)
    sandbox.api(method, f"{PATH}/{endpoint['id']}", {"disabled": True} if method == "POST" else {})
    sandbox.control("clock", advance=60)
    expire(sandbox)
    assert receivers.came == []
    (delivery,) = [one for one in sandbox.snapshot()["deliveries"] if one["endpoint"]]
    assert (delivery["status"], delivery["attempts"]) == ("failed", 1)
    assert "disabled or deleted" in delivery["error"]


def test_the_switches_move_deliveries_to_endpoints(
    sandbox: SandboxClient, receivers: Receivers
) -> None:
    add(sandbox)
    sandbox.control("webhooks", mode="drop")
    expire(sandbox)
    assert receivers.came == []
    event = sandbox.snapshot()["events"][0]["id"]
    assert sandbox.control(f"events/{event}/resend")["status"] == "delivered"
    assert [event["id"] for _, event in receivers.came] == [event]
    assert [event["id"] for event in sandbox.receiver.events] == [event]
    assert sandbox.get(f"/events/{event}")["pending_webhooks"] == 0
    sandbox.control("webhooks", mode="duplicate")
    expire(sandbox)
    assert len(receivers.came) == 3
    sandbox.control("webhooks", mode="reorder")
    sandbox.pay(sandbox.create())
    assert receivers.types(HOOK)[3:] == sandbox.receiver.types[3:]
    assert receivers.types(HOOK)[3] == "checkout.session.completed"


def test_the_receiver_from_the_start_steps_aside_for_an_endpoint_with_its_url(
    tmp_path: Path, receivers: Receivers
) -> None:
    sandbox = SandboxClient(tmp_path, deliver_to=receivers, webhook_url=HOOK)
    add(sandbox, OTHER)
    expire(sandbox)
    assert len(sandbox.receiver.events) == 1
    own = add(sandbox, HOOK)
    expire(sandbox)
    assert (len(sandbox.receiver.events), len(receivers.types(HOOK))) == (1, 1)
    sandbox.api("POST", f"{PATH}/{own['id']}", {"disabled": True})
    expire(sandbox)
    assert (len(sandbox.receiver.events), len(receivers.types(HOOK))) == (1, 1)
    sandbox.api("DELETE", f"{PATH}/{own['id']}")
    expire(sandbox)
    assert (len(sandbox.receiver.events), len(receivers.types(OTHER))) == (2, 4)


def test_a_sandbox_that_began_without_a_receiver_delivers_to_endpoints(
    tmp_path: Path, receivers: Receivers
) -> None:
    sandbox = SandboxClient(tmp_path, deliver=None, deliver_to=receivers)
    add(sandbox, HOOK, "charge.refunded")
    expire(sandbox)
    event = sandbox.snapshot()["events"][0]
    assert (sandbox.snapshot()["deliveries"], event["pending_webhooks"]) == ([], 0)
    refused = sandbox.http.post(f"/control/events/{event['id']}/resend", json={})
    assert refused.status_code == 409
    add(sandbox, OTHER)
    sandbox.control(f"events/{event['id']}/resend")
    assert receivers.types(OTHER) == ["checkout.session.expired"]


def test_an_endpoint_is_reached_over_http(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, str, bytes]] = []

    @Request.application
    def app(request: Request) -> Response:
        header = request.headers["Stripe-Signature"]
        seen.append((request.full_path, header, request.get_data()))
        return Response(status=204)

    found = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *rest: found("127.0.0.1", *rest[:1], 0, *rest[2:])
    )
    sandbox = SandboxClient(tmp_path, deliver=None)
    with Served() as server:
        server.app = app
        endpoint = add(sandbox, f"http://shop.test:{server.base.rpartition(':')[2]}/hook?v=1")
        expire(sandbox)
    ((path, header, body),) = seen
    assert path == "/hook?v=1"
    assert stripe.Webhook.construct_event(body, header, endpoint["secret"])


# Inside a shop


@pytest.mark.parametrize("root", ["https://shop.test", "https://shop.test/tea"])
def test_inside_a_shop_its_endpoint_is_called_without_a_socket(tmp_path: Path, root: str) -> None:
    came: list[tuple[str, str, bytes]] = []

    def shop(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        request = Request(environ)
        came.append((request.url, request.headers["Stripe-Signature"], request.get_data()))
        return Response(status=200)(environ, start_response)

    mount = Mount(
        shop,
        tmp_path / "sandbox.sqlite3",
        webhook_secret=SECRET,
        public_url=root,
        control_allowed=lambda _: True,
        secret_keys=(),
        host_allowed=lambda _: True,
    )
    state: Any = mount._sandbox.extensions["sandbox"]

    def call(path: str, **params: str) -> Any:
        answer = json.loads(mount.ask("POST", f"https://api.stripe.com/v1{path}", {}, params)[0])
        state.deliver_due()
        return answer

    charge = {"amount": "500", "currency": "jpy", "source": "tok_visa"}
    call("/charges", **charge)
    assert stripe.Webhook.construct_event(came[0][2], came[0][1], SECRET)
    wanted = {"enabled_events[]": "charge.succeeded"}
    own = call(PATH, url=f"{root}/payments/webhook", **wanted)
    call(PATH, url="https://books.test/payments/webhook", **wanted)
    call("/charges", **charge)
    assert [url for url, _, _ in came] == [f"{root}/payments/webhook"] * 2
    assert stripe.Webhook.construct_event(came[1][2], came[1][1], own["secret"])
    with state.store.read() as tx:
        rows = tx.execute("select url, status, error from deliveries order by id").fetchall()
    assert rows[1][:2] == (f"{root}/payments/webhook", "delivered")
    assert rows[2][:2] == ("https://books.test/payments/webhook", "failed")
    assert "the sandbox inside the shop delivers to this shop only" in rows[2][2]
