"""What the fault switches do, in a sandbox mounted in a shop and in one that stands alone."""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from werkzeug.test import Client
from werkzeug.wrappers import Request, Response

from shop.sandbox import create_sandbox
from shop.sandbox.dispatcher import http_deliver
from shop.sandbox.mount import Mount
from tests.conftest import Served
from tests.sandbox.helpers import SECRET

KEY = {"Authorization": "Bearer sk_test_faults"}
NO_ANSWER = (0, None)
WINS = ["updated", "closed", "funds_reinstated"]


class World:
    """A shop that receives events and calls the API during a visit; and the sandbox's switches."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []
        self.status = 200
        self.ask: Callable[..., tuple[int, Any]]
        self.visitor = Client(self)
        self.switches: Client
        self.prefix = ""
        self._answer: tuple[int, Any] = NO_ANSWER
        self._next_call: tuple[str, dict[str, Any]] = ("", {})

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """Answer as the shop does: take events, or call the API during a visit."""
        request = Request(environ)
        if request.path == "/payments/webhook":
            event = json.loads(request.get_data())
            self.seen.append((event["id"], event["type"].removeprefix("charge.dispute.")))
            # The shop calls the API while it handles an event.
            self.ask("GET", f"/v1/events/{event['id']}", {})
            return Response(status=self.status)(environ, start_response)
        self._answer = self.ask("POST", *self._next_call)
        return Response("done")(environ, start_response)

    def call(self, path: str, **params: Any) -> tuple[int, Any]:
        """Have the shop call the API during a visit; return status and body (0 for no answer)."""
        self._next_call = (f"/v1{path}", params)
        self.visitor.post("/visit", buffered=True).close()
        return self._answer

    def control(self, switch: str, **values: Any) -> Any:
        answer = self.switches.post(f"{self.prefix}/control/{switch}", json=values)
        assert answer.status_code == 200, answer.text
        return answer.json

    def state(self) -> Any:
        return self.switches.get(f"{self.prefix}/control/state", buffered=True).json

    def dispute(self) -> str:
        """Return the id of an open dispute; its events are forgotten."""
        status, charge = self.call("/charges", amount=500, currency="jpy", source="tok_visa")
        assert status == 200
        dispute = self.control(f"charges/{charge['id']}/dispute")
        assert self.settles("delivered", 1)
        self.seen.clear()
        return str(dispute["id"])

    def win(self, dispute: str) -> None:
        """Raise three events in one call of the API."""
        evidence = {"evidence[uncategorized_text]": "winning_evidence"}
        status, after = self.call(f"/disputes/{dispute}", **evidence)
        assert (status, after["status"]) == (200, "won")

    def comes(self, events: int) -> list[str]:
        """Wait until this many events have arrived; return their types."""
        for _ in range(500):
            # Reading the state would deliver events, too, so only wait.
            if len(self.seen) >= events:
                break
            time.sleep(0.02)
        return self.types

    @property
    def types(self) -> list[str]:
        return [kind for _, kind in self.seen]

    def deliveries(self) -> list[tuple[str, int]]:
        """Return state and tries of the last three deliveries."""
        return [(one["status"], one["attempts"]) for one in self.state()["deliveries"][:3]]

    def settles(self, status: str, tries: int) -> bool:
        """Wait until the last three say so; they are stored after the receiver has answered."""
        for _ in range(500):
            if self.deliveries() == [(status, tries)] * 3:
                return True
            time.sleep(0.02)
        return False


def mounted(tmp_path: Path) -> World:
    world = World()
    mount = Mount(
        world,
        tmp_path / "sandbox.sqlite3",
        webhook_secret=SECRET,
        public_url=None,
        control_allowed=lambda _: True,
        secret_keys=None,
        host_allowed=lambda _: True,
    )

    def ask(method: str, path: str, params: Mapping[str, Any]) -> tuple[int, Any]:
        try:
            body, status, _ = mount.ask(method, f"http://stripe{path}", {}, params)
        except OSError:
            return NO_ANSWER
        return status, _parsed(body)

    world.ask, world.prefix = ask, "/sandbox"
    world.visitor = world.switches = Client(mount)
    return world


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


def alone(tmp_path: Path, world: World, sandbox: Served, shop: Served) -> World:
    shop.app = world
    sandbox.app = create_sandbox(
        tmp_path / "sandbox.sqlite3",
        webhook_secret=SECRET,
        deliver=http_deliver(f"{shop.base}/payments/webhook"),
    )

    def ask(method: str, path: str, params: Mapping[str, Any]) -> tuple[int, Any]:
        try:
            answer = requests.request(
                method, f"{sandbox.base}{path}", data=params, headers=KEY, timeout=10
            )
        except requests.RequestException:
            return NO_ANSWER
        return answer.status_code, _parsed(answer.content)

    world.ask = ask
    world.switches = Client(sandbox.app)
    return world


@pytest.fixture(params=["mounted", "alone"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    if request.param == "mounted":
        yield mounted(tmp_path)
        return
    with Served() as sandbox, Served() as shop:
        yield alone(tmp_path, World(), sandbox, shop)


# Events


def test_delivered_once_and_answered(world: World) -> None:
    world.win(world.dispute())
    assert world.settles("delivered", 1)
    assert sorted(world.types) == sorted(WINS)


def test_dropped_for_good_until_sent_again(world: World) -> None:
    dispute = world.dispute()
    world.control("webhooks", mode="drop")
    world.win(dispute)
    world.control("clock", advance=86400)
    assert world.settles("dropped", 0)
    assert world.seen == []
    event = world.state()["events"][0]["id"]
    resent = world.control(f"events/{event}/resend")
    assert (resent["event"], resent["status"], resent["attempts"]) == (event, "delivered", 1)
    assert world.seen == [(event, "funds_reinstated")]


def test_duplicated(world: World) -> None:
    dispute = world.dispute()
    world.control("webhooks", mode="duplicate")
    world.win(dispute)
    assert sorted(world.comes(6)) == sorted(WINS * 2)
    assert world.settles("delivered", 1)
    assert len(set(world.seen)) == 3


def test_delayed(world: World) -> None:
    dispute = world.dispute()
    world.control("webhooks", mode="delay", seconds=3600)
    world.win(dispute)
    world.control("clock", advance=3500)
    assert world.seen == []
    world.control("clock", advance=100)
    assert sorted(world.comes(3)) == sorted(WINS)


def test_reordered_within_one_request(world: World) -> None:
    dispute = world.dispute()
    world.control("webhooks", mode="reorder")
    world.win(dispute)
    assert world.comes(3) == WINS[::-1]
    assert world.settles("delivered", 1)


def test_retried_until_answered(world: World) -> None:
    dispute = world.dispute()
    world.status = 500
    world.win(dispute)
    assert world.settles("pending", 1)
    world.status = 200
    world.control("clock", advance=10)
    assert world.settles("delivered", 2)
    assert sorted(world.types) == sorted(WINS * 2)


# The API


@pytest.mark.parametrize(
    ("mode", "status", "code", "made"),
    [
        ("rate_limit", 429, "invalid_request_error", 0),
        ("error", 500, "api_error", 0),
        ("garbage", 200, None, 0),
        ("refuse", 0, None, 0),
        ("lost", 0, None, 1),
    ],
)
def test_bad_answers(world: World, mode: str, status: int, code: str | None, made: int) -> None:
    world.control("api", mode=mode, times=1)
    params = {"amount": 500, "currency": "jpy", "source": "tok_visa"}
    answered, body = world.call("/charges", **params)
    assert answered == status
    assert (body or {}).get("error", {}).get("type") == code
    assert len(world.state()["charges"]) == made
    assert len(world.comes(made)) == made
    assert world.call("/charges", **params)[0] == 200
    assert len(world.state()["charges"]) == made + 1


def test_slow_answers(world: World) -> None:
    # In process nobody waits: what a socket would raise after its time is raised at once.
    world.control("api", mode="slow", seconds=0, times=1)
    status, _ = world.call("/charges", amount=500, currency="jpy", source="tok_visa")
    charges = len(world.state()["charges"])
    assert (status, charges) == ((0, 0) if world.prefix else (200, 1))


def test_the_switch_counts_calls_exactly(world: World) -> None:
    world.control("api", mode="error", times=3)

    def ask(_: int) -> int:
        return world.ask("GET", "/v1/charges", {})[0]

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(ask, range(16))) == [200] * 13 + [500] * 3
