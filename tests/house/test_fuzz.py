"""Whatever is sent gets an answer below 500, or one of the 503s that say what to do.

Hypothesis makes the requests: the same ones each time where everything must be there, new ones
elsewhere. On the servers known troubles are enough; `make deep` makes more requests on each.
"""

import json
import os
import re
from collections import Counter
from collections.abc import Callable
from math import ceil
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask import Flask
from hypothesis import HealthCheck, Phase, given, seed, settings
from sqlalchemy import delete

from shop.db import changed_rows, write
from shop.throttle import Throttle
from tests import databases
from tests.actors import Answer
from tests.fuzz_world import World, live_in
from tests.knocks import Knock, events, knocks, known_troubles
from tests.pages import send

MOST = 3000
# Nobody else uses the database here: "busy" and "database" would be mistakes of ours.
DOCUMENTED = {
    "buying_off",
    "being_confirmed",
    "stripe_unreachable",
    "not just now, please send it again",
    "no webhook secret is set",
}
IS_STRICT = bool(os.environ.get("TEST_STRICT"))
FAIR = settings(
    # Few at once: after the first ten of a run Hypothesis mostly varies what it sent already.
    max_examples=11,
    database=None,
    deadline=None,
    print_blob=True,
    report_multiple_bugs=False,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)
# What the sandbox's API says while its switch stands on bad weather.
WEATHER = ("An unknown error occurred", "Too many requests hit", "<html>It works!")
PAGE_HEADERS = (
    "X-Frame-Options",
    "Permissions-Policy",
    "Cross-Origin-Opener-Policy",
    "Cross-Origin-Resource-Policy",
)
OWN_HOSTS = (None, "127.0.0.1", "localhost", "::1", "shop.test")

# Werkzeug leaves the file of an upload that is cut short to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def test_no_request_breaks_the_shop(
    app: Flask, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    break_in(app, tmp_path, MOST)
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("database", databases.SERVERS, indirect=True)
def test_no_known_trouble_breaks_a_shop_over_a_server(
    app: Flask, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world = live_in(app, tmp_path)
    # The sandbox has its own database, which is SQLite everywhere.
    world.rules[:] = [rule for rule in world.rules if rule.is_of_shop]
    troubles = sum(1 for rule in world.rules for _ in known_troubles(world, rule))
    assert knock_at(app, world, 0)["troubles"] == troubles > 400
    assert "Traceback" not in caplog.text


def break_in(
    app: Flask, folder: Path, most: int, progress: Callable[[str], None] = lambda line: None
) -> None:
    """Knock so often at a shop, and see to it that the requests get behind its first guards."""
    world = live_in(app, folder)
    counts = knock_at(app, world, most, progress)
    assert counts["sent"] >= most
    # Requests that all stop at the first guard would prove nothing.
    for rule in world.rules:
        if rule.is_guarded:
            forms, taken = counts[rule, "form"], counts[rule, "form taken for ours"]
            assert taken > forms / 2 > 10, (rule, counts)
    assert counts["signed, taken"] > counts["signed"] / 2 > 100, counts


def test_no_request_breaks_a_shop_that_does_not_sell(
    make_app: Callable[..., Flask], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app(SHOP_SANDBOX="off", SHOP_LEGACY_CHARGE="on", SHOP_PROXY="for=1,proto=1,prefix=1")
    counts = knock_at(app, live_in(app, tmp_path), MOST // 10)
    assert counts["buying_off"] >= 1
    assert counts["no webhook secret is set"] >= 1
    assert "Traceback" not in caplog.text


def knock_at(
    app: Flask, world: World, most: int, progress: Callable[[str], None] = lambda line: None
) -> Counter[Any]:
    """Send known troubles and so many requests, or some more, to all addresses; count them."""
    counts: Counter[Any] = Counter()
    weather = ["ok"]

    def knock_once(knock: Knock) -> None:
        if knock.weather != weather[0] or knock.path.startswith("/sandbox/control"):
            change_weather(app, knock.weather)
            weather[0] = knock.weather
        answer = knock.send(app, app.config["STRIPE_WEBHOOK_SECRET"] or "whsec_none")
        if answer.status == 429:
            forget_tries(app)
        check(knock, answer)
        count(counts, knock, answer)

    for rule in world.rules:
        for trouble in known_troubles(world, rule):
            knock_once(trouble)
    counts["troubles"], counts["sent"] = counts["sent"], 0
    plans = [
        (knocks(world, rule), 6 if rule.is_guarded else 2 if rule.is_of_shop else 1)
        for rule in world.rules
    ]
    if world.objects:
        plans.append((events(world), 12))
    share = most / sum(weight for _, weight in plans)
    for plan, (requests, weight) in enumerate(plans):
        progress(f"{counts['sent']} of {most} requests")
        for run in range(ceil(share * weight / FAIR.max_examples)):
            fuzz = FAIR(given(requests)(knock_once))
            (seed(100 * plan + run)(fuzz) if IS_STRICT else fuzz)()
    return counts


def change_weather(app: Flask, mode: str) -> None:
    """Set the sandbox's switches: how its API answers, and that its events are delivered."""
    if app.config["SHOP_MODE"] == "sandbox":
        for switch, form in (("webhooks", {"mode": "deliver"}), ("api", {"mode": mode})):
            assert send(app, f"/sandbox/control/{switch}", method="POST", form=form).status == 303


def forget_tries(app: Flask) -> None:
    """Let everybody try again, or most requests would be too many."""
    with app.app_context():
        write(lambda: changed_rows(delete(Throttle)))


def check(knock: Knock, answer: Answer) -> None:
    is_weather = "/v1/" in knock.path and any(words in answer.text for words in WEATHER)
    is_weather |= "/v1/" in knock.path and answer.status == 503 and not answer.text
    assert 200 <= answer.status < 500 or is_weather or error_code(answer) in DOCUMENTED, answer
    assert "Traceback (most recent" not in answer.text
    if not is_weather:
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    if knock.rule.is_of_shop:
        assert not [name for name in PAGE_HEADERS if name not in answer.headers]
    location = answer.headers.get("Location", "/")
    assert urlsplit(location).hostname in OWN_HOSTS, location
    assert not re.match(r"[/\\]{2}|[/\\]*\\|\s", location), location
    assert not re.search(r"[\r\n]", "".join(map(str, answer.headers.values())))


def error_code(answer: Answer) -> str:
    """Return the code of an error, on a page or in JSON, and of the webhook its words."""
    if answer.headers.get("Content-Type") == "application/json":
        error: Any = json.loads(answer.text).get("error", "")
        return str(error.get("code") if isinstance(error, dict) else error)
    found = re.search(r'data-error="(\w+)"', answer.text)
    return found[1] if found else ""


def count(counts: Counter[Any], knock: Knock, answer: Answer) -> None:
    rule = knock.rule
    counts["sent"] += 1
    counts[answer.status] += 1
    if answer.status == 503:
        counts[error_code(answer)] += 1
    if knock.method == "POST" and rule.is_guarded:
        counts[rule, "form"] += 1
        counts[rule, "form taken for ours"] += answer.status not in (400, 405)
    if knock.seal is not None:
        counts["signed"] += 1
        counts["signed, taken"] += answer.status == 200
