"""Events, their deliveries, the clock and the switches."""

import http.server
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import stripe

from shop.sandbox import create_app, create_sandbox
from shop.sandbox.dispatcher import http_deliver
from tests.sandbox.helpers import SECRET, SESSION, SandboxClient, client


def test_events_are_signed_and_whole(sandbox: SandboxClient) -> None:
    session = sandbox.create()
    sandbox.pay(session)
    event = sandbox.receiver.events[-1]
    assert event["type"] == "checkout.session.completed"
    assert event["data"]["object"]["id"] == session["id"]
    assert event["data"]["object"]["payment_status"] == "paid"
    assert event["livemode"] is False
    assert event["api_version"] == "2026-10-28.endive"
    assert sandbox.get(f"/events/{event['id']}")["pending_webhooks"] == 0
    listed = sandbox.get("/events", type="checkout.session.completed")["data"]
    assert [e["id"] for e in listed] == [event["id"]]
    types = ["charge.succeeded", "payment_intent.succeeded"]
    assert len(sandbox.get("/events", types=types)["data"]) == 2


def test_an_event_names_the_request_that_raised_it(sandbox: SandboxClient) -> None:
    path = f"/checkout/sessions/{sandbox.create()['id']}/expire"
    answer = sandbox.api("POST", path, headers={"Idempotency-Key": "expire-1"})
    (event,) = sandbox.receiver.events
    assert event["request"] == {
        "id": answer.headers["Request-Id"],
        "idempotency_key": "expire-1",
    }


def test_signatures_hold_while_the_clock_runs_ahead(sandbox: SandboxClient) -> None:
    sandbox.control("clock", advance=90 * 86400)
    sandbox.pay(sandbox.create())
    assert len(sandbox.receiver.events) == 3
    assert sandbox.receiver.events[0]["created"] > time.time() + 80 * 86400


def test_in_process_calls_leave_the_delivery_to_the_caller(sandbox: SandboxClient) -> None:
    path = f"/checkout/sessions/{sandbox.create()['id']}/expire"
    sandbox.api("POST", path, environ_overrides={"shop.in_process": True})
    assert sandbox.receiver.events == []
    assert sandbox.state.deliver_due() == 1
    assert sandbox.receiver.types == ["checkout.session.expired"]
    assert sandbox.state.deliver_due() == 0


def test_a_delivery_inside_a_delivery_waits_for_the_outer_one(tmp_path: Path) -> None:
    seen: list[str] = []

    def deliver(body: bytes, header: str) -> int:
        event = stripe.Webhook.construct_event(body, header, SECRET)
        seen.append(event.type)
        if event.type == "checkout.session.completed":
            intent = event.data.object["payment_intent"]
            sandbox.api("POST", "/refunds", {"payment_intent": intent})
            assert seen[-1] == "checkout.session.completed"
        return 200

    sandbox = SandboxClient(tmp_path, deliver=deliver)
    sandbox.pay(sandbox.create())
    sandbox.state.deliver_due()
    assert seen[3:] == ["refund.created", "charge.refunded"]


def test_failed_deliveries_are_tried_again_and_then_no_more(sandbox: SandboxClient) -> None:
    sandbox.receiver.status = 302
    sandbox.api("POST", f"/checkout/sessions/{sandbox.create()['id']}/expire")
    (delivery,) = sandbox.snapshot()["deliveries"]
    assert (delivery["status"], delivery["attempts"], delivery["response_code"]) == (
        "pending",
        1,
        302,
    )
    assert sandbox.control("clock", advance=5)["offset"] == 5
    assert sandbox.snapshot()["deliveries"][0]["attempts"] == 1
    for attempts in range(2, 7):
        sandbox.control("clock", advance=11000)
        assert sandbox.snapshot()["deliveries"][0]["attempts"] == attempts
    sandbox.control("clock", advance=100_000)
    (delivery,) = sandbox.snapshot()["deliveries"]
    assert (delivery["status"], delivery["attempts"]) == ("failed", 6)
    assert len({event["id"] for event in sandbox.receiver.events}) == 1


def test_a_retry_succeeds(sandbox: SandboxClient) -> None:
    sandbox.receiver.status = 503
    sandbox.pay(sandbox.create())
    assert {d["status"] for d in sandbox.snapshot()["deliveries"]} == {"pending"}
    sandbox.receiver.status = 200
    sandbox.control("clock", advance=10)
    assert {d["status"] for d in sandbox.snapshot()["deliveries"]} == {"delivered"}
    assert len(sandbox.receiver.events) == 6


def test_a_receiver_that_breaks_is_a_failed_delivery(tmp_path: Path) -> None:
    def deliver(body: bytes, header: str) -> int:
        raise ConnectionRefusedError("nobody there")

    sandbox = SandboxClient(tmp_path, deliver=deliver)
    assert sandbox.pay(sandbox.create()).status_code == 303
    assert "nobody there" in sandbox.snapshot()["deliveries"][0]["error"]


def test_a_receiver_that_hangs_keeps_the_customer_waiting_once(tmp_path: Path) -> None:
    tries: list[str] = []

    def deliver(body: bytes, header: str) -> int:
        tries.append(header)
        raise TimeoutError("timed out")

    sandbox = SandboxClient(tmp_path, deliver=deliver)
    assert sandbox.pay(sandbox.create()).status_code == 303
    assert len(tries) == 1
    assert {d["status"] for d in sandbox.snapshot()["deliveries"]} == {"pending"}


def test_without_a_receiver_nothing_is_queued(tmp_path: Path) -> None:
    sandbox = SandboxClient(tmp_path, deliver=None)
    sandbox.pay(sandbox.create())
    snapshot = sandbox.snapshot()
    assert snapshot["deliveries"] == []
    assert len(snapshot["events"]) == 3


def test_what_falls_due_leaves_when_somebody_looks(
    sandbox: SandboxClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox.control("webhooks", mode="delay", seconds=60)
    sandbox.pay(sandbox.create())
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 61)
    sandbox.http.get("/control/state", buffered=True)
    assert len(sandbox.receiver.events) == 3


def test_nothing_is_sent_again_where_nobody_receives(tmp_path: Path) -> None:
    sandbox = SandboxClient(tmp_path, deliver=None)
    sandbox.pay(sandbox.create())
    event = sandbox.snapshot()["events"][0]["id"]
    refused = sandbox.http.post(f"/control/events/{event}/resend", json={})
    assert refused.status_code == 409
    assert "SANDBOX_WEBHOOK_URL" in refused.json["error"]["message"]


# Switches


def test_drop_and_resend(sandbox: SandboxClient) -> None:
    sandbox.control("webhooks", mode="drop")
    sandbox.pay(sandbox.create())
    sandbox.control("clock", advance=86400)
    assert sandbox.receiver.events == []
    event = sandbox.snapshot()["events"][0]
    delivery = sandbox.control(f"events/{event['id']}/resend")
    assert (delivery["event"], delivery["status"]) == (event["id"], "delivered")
    assert sandbox.receiver.types == [event["type"]]


def test_duplicate(sandbox: SandboxClient) -> None:
    sandbox.control("webhooks", mode="duplicate")
    sandbox.pay(sandbox.create())
    ids = [event["id"] for event in sandbox.receiver.events]
    assert len(ids) == 6
    assert len(set(ids)) == 3


def test_delay(sandbox: SandboxClient) -> None:
    sandbox.control("webhooks", mode="delay", seconds=120)
    sandbox.pay(sandbox.create())
    sandbox.control("clock", advance=110)
    assert sandbox.receiver.events == []
    sandbox.control("clock", advance=10)
    assert len(sandbox.receiver.events) == 3


def test_reorder(sandbox: SandboxClient) -> None:
    sandbox.control("webhooks", mode="reorder")
    sandbox.pay(sandbox.create())
    assert sandbox.receiver.types[0] == "checkout.session.completed"
    assert sandbox.receiver.types[-1] == "charge.succeeded"


def test_reordered_events_do_not_overtake_each_other(tmp_path: Path) -> None:
    seen: list[str] = []

    def deliver(body: bytes, header: str) -> int:
        seen.append(json.loads(body)["type"])
        # Another visitor's thread would deliver, too, while this one waits for the answer.
        with ThreadPoolExecutor(1) as other:
            assert other.submit(sandbox.state.deliver_due).result() == 0
        return 200

    sandbox = SandboxClient(tmp_path, deliver=deliver)
    sandbox.control("webhooks", mode="reorder")
    sandbox.pay(sandbox.create())
    assert seen == [
        "checkout.session.completed",
        "payment_intent.succeeded",
        "charge.succeeded",
    ]
    assert {d["attempts"] for d in sandbox.snapshot()["deliveries"]} == {1}
    assert {d["error"] for d in sandbox.snapshot()["deliveries"]} == {None}


@pytest.mark.parametrize(
    ("switch", "values"),
    [
        ("clock", {}),
        ("clock", {"advance": "soon"}),
        ("clock", {"advance": "-5"}),
        ("clock", {"advance": "9" * 30}),
        ("webhooks", {}),
        ("webhooks", {"mode": "eat"}),
        ("webhooks", {"mode": "delay", "seconds": "x"}),
        ("api", {"mode": "eat"}),
        ("api", {"mode": "slow", "seconds": "100000"}),
    ],
)
def test_switches_refuse_nonsense(
    sandbox: SandboxClient, switch: str, values: dict[str, str]
) -> None:
    assert sandbox.http.post(f"/control/{switch}", data=values).status_code == 422
    assert sandbox.http.post(f"/control/{switch}", json=values).status_code == 422
    assert sandbox.http.post(f"/control/{switch}", json=[1]).status_code == 422


def test_broken_requests_to_the_switches(sandbox: SandboxClient) -> None:
    assert sandbox.http.post("/control/events/evt_none/resend").status_code == 404
    assert sandbox.http.get("/control/clock").status_code == 405
    asked = sandbox.http.post("/control/clock", headers={"Accept": "application/json"})
    assert "whole number" in asked.json["error"]["message"]
    for kind in ("application/json", "multipart/form-data; boundary=x", "text/plain"):
        answer = sandbox.http.post("/control/clock", data=b"\xff{", content_type=kind)
        assert answer.status_code == 422


def test_switches_for_people_lead_back_to_the_page(sandbox: SandboxClient) -> None:
    sandbox.pay(sandbox.create())
    for switch, values in (
        ("clock", {"advance": "60"}),
        ("webhooks", {"mode": "deliver"}),
        ("api", {"mode": "ok"}),
        (f"events/{sandbox.snapshot()['events'][0]['id']}/resend", {}),
    ):
        headers = {"Accept": "text/html,*/*;q=0.8"}
        answer = sandbox.http.post(f"/control/{switch}", data=values, headers=headers)
        assert (answer.status_code, answer.location) == (303, "/")
    page = sandbox.http.get("/")
    assert page.status_code == 200
    for text in ("complete", "charge.succeeded", "delivered", "taro@example.com", "¥4,000"):
        assert text in page.text


def test_an_empty_page_invites(sandbox: SandboxClient) -> None:
    assert "Nothing here yet" in sandbox.http.get("/").text


def test_only_who_may_sees_and_moves_the_switches(tmp_path: Path) -> None:
    def allowed(environ: Mapping[str, Any]) -> bool:
        return environ.get("HTTP_X_OWNER") == "yes"

    sandbox = SandboxClient(tmp_path, control_allowed=allowed)
    session = sandbox.create()
    for path in ("/", "/control/state"):
        assert sandbox.http.get(path).status_code == 403
        assert sandbox.http.get(path, headers={"X-Owner": "yes"}).status_code == 200
    for path in ("clock", "webhooks", "api", "events/evt_1/resend"):
        answer = sandbox.http.post(f"/control/{path}", data={"mode": "drop", "advance": "60"})
        assert answer.status_code == 403
        assert "owner" in answer.text
    assert sandbox.pay(session).status_code == 303


def test_other_sites_cannot_move_the_switches(sandbox: SandboxClient) -> None:
    headers = {"Sec-Fetch-Site": "cross-site"}
    answer = sandbox.http.post("/control/clock", data={"advance": "60"}, headers=headers)
    assert answer.status_code == 403


# Standing alone


@pytest.fixture
def receiver() -> Iterator[tuple[str, list[dict[str, str]]]]:
    """Serve a webhook; yield its URL and the headers it was sent."""
    seen: list[dict[str, str]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            stripe.WebhookSignature.verify_header(body, self.headers["Stripe-Signature"], SECRET)
            seen.append(dict(self.headers))
            self.send_response(303 if self.path == "/moved" else 204)
            self.send_header("Location", "/")
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", seen
    server.shutdown()
    thread.join()
    server.server_close()


def test_delivery_over_http(tmp_path: Path, receiver: tuple[str, list[dict[str, str]]]) -> None:
    url, seen = receiver
    sandbox = SandboxClient(tmp_path, deliver=http_deliver(f"{url}/hook"))
    sandbox.pay(sandbox.create())
    assert len(seen) == 3
    assert {d["response_code"] for d in sandbox.snapshot()["deliveries"]} == {204}
    sandbox = SandboxClient(tmp_path / "second", deliver=http_deliver(f"{url}/moved"))
    sandbox.pay(sandbox.create())
    assert len(seen) == 6
    assert {d["status"] for d in sandbox.snapshot()["deliveries"]} == {"pending"}


def test_nobody_at_the_webhook(tmp_path: Path) -> None:
    sandbox = SandboxClient(tmp_path, deliver=http_deliver("http://127.0.0.1:9/hook"))
    assert sandbox.pay(sandbox.create()).status_code == 303
    assert "ConnectionRefusedError" in sandbox.snapshot()["deliveries"][0]["error"]


def test_settings_of_one_that_stands_alone(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    receiver: tuple[str, list[dict[str, str]]],
) -> None:
    url, seen = receiver
    monkeypatch.setenv("SANDBOX_DATABASE", str(tmp_path / "alone.sqlite3"))
    monkeypatch.setenv("SANDBOX_WEBHOOK_URL", url)
    with pytest.raises(SystemExit, match="SANDBOX_WEBHOOK_SECRET"):
        create_app()
    monkeypatch.setenv("SANDBOX_WEBHOOK_SECRET", SECRET)
    app = create_app()
    assert not (tmp_path / "alone.sqlite3").exists()
    headers = {"Authorization": "Bearer sk_test_x"}
    params = {"amount": "500", "currency": "jpy", "source": "tok_visa"}
    app.test_client().post("/v1/charges", data=params, headers=headers, buffered=True)
    assert len(seen) == 1


def test_it_runs_by_itself(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "flask", "--app", "shop.sandbox", "run", "--port", "0"],
        cwd=Path(__file__).parents[2],
        env={"SANDBOX_DATABASE": str(tmp_path / "alone.sqlite3"), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            assert process.stdout
            line = next(line for line in process.stdout if "Running on" in line)
            sdk = client(line.split()[-1])
            assert sdk.v1.checkout.sessions.create(SESSION).status == "open"
        finally:
            process.terminate()


def test_several_processes_share_a_file(tmp_path: Path) -> None:
    first, second = (SandboxClient(tmp_path) for _ in range(2))
    session = first.create()
    assert second.pay(session).status_code == 303
    assert first.session(session)["payment_status"] == "paid"


def test_importing_and_making_one_is_cheap(tmp_path: Path) -> None:
    code = (
        "import sys; from shop.sandbox import create_sandbox;"
        f"create_sandbox({str(tmp_path / 'never.sqlite3')!r}, webhook_secret='x');"
        "print([m for m in ('stripe', 'requests', 'pydantic') if m in sys.modules])"
    )
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, check=True,
                            cwd=Path(__file__).parents[2])  # fmt: skip
    assert result.stdout.strip() == "[]"
    assert not (tmp_path / "never.sqlite3").exists()


def test_the_database_is_made_in_a_new_folder(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "sandbox.sqlite3"
    app = create_sandbox(path, webhook_secret=SECRET)
    assert not path.exists()
    assert app.test_client().get("/control/state").status_code == 200
    assert path.exists()
