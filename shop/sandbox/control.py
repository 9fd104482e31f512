"""The switches, for people (`GET /`) and for programs (JSON)."""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Response, jsonify, redirect, render_template, request, url_for
from werkzeug.exceptions import Conflict, Forbidden, NotFound, UnprocessableEntity
from werkzeug.wrappers import Response as BaseResponse

from . import charges, clock, disputes, events, faults
from .api import render
from .money import written
from .state import State, current_state, deliver_afterwards
from .texts import words

bp = Blueprint("control", __name__)
# Whoever looks makes what fell due happen: a sandbox that stands alone has no other pulse.
bp.after_request(deliver_afterwards)
KINDS = {
    "sessions": "checkout.session",
    "payment_intents": "payment_intent",
    "charges": "charge",
    "refunds": "refund",
    "disputes": "dispute",
    "events": "event",
}
MOST = 1000
SHOWN = 20


@bp.before_request
def guard() -> None:
    """Turn away who may not touch the switches, and forms that other sites send."""
    allowed = current_state().control_allowed
    if allowed and not allowed(request.environ):
        raise Forbidden("Only the shop's owner may see and move the sandbox's switches.")
    if request.method == "POST" and not _is_own_form():
        raise Forbidden("Another site sent this form.")
    clock.tick(current_state().store)


def _is_own_form() -> bool:
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = request.headers.get("Origin")
    return origin is None or origin == f"{request.scheme}://{request.host}"


@bp.get("/")
def page() -> str:
    """Show the sandbox: clock, switches, and what it knows, newest first."""
    state = current_state()
    snapshot = _snapshot(state, SHOWN)
    with state.store.read() as tx:
        paid = snapshot["charges"]
        refundable = {one["id"] for one in paid if charges.why_no_refund(tx, one) is None}
        disputable = {one["id"] for one in paid if disputes.why_not(tx, one) is None}
    return render_template(
        "control.html",
        snapshot=snapshot,
        refundable=refundable,
        disputable=disputable,
        closed=disputes.CLOSED,
        modes=events.MODES,
        api_modes=faults.MODES,
        text=words("en"),
        money=written,
        time=lambda moment: f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M:%S}",
    )


@bp.get("/control/state")
def read_state() -> Response:
    """Return everything the sandbox knows, newest first."""
    return jsonify(_snapshot(current_state(), MOST))


@bp.post("/control/clock")
def move_clock() -> BaseResponse:
    """Move the clock forward by `advance` seconds; do and deliver what falls due."""
    state = current_state()
    clock.advance(state.store, number("advance", clock.FARTHEST))
    state.deliver_due()
    with state.store.read() as tx:
        return done({"now": tx.now, "offset": tx.setting("clock_offset", 0)})


@bp.post("/control/webhooks")
def switch_webhooks() -> BaseResponse:
    """Choose what becomes of events raised from now on; `seconds` is the wait of `delay`."""
    mode = choice("mode", events.MODES)
    settings = {"webhooks_mode": mode, "webhooks_delay": number("seconds", clock.FARTHEST, 60)}
    with current_state().store.write() as tx:
        tx.set(settings)
    return done({"mode": mode})


@bp.post("/control/api")
def switch_api() -> BaseResponse:
    """Choose the API's weather: `seconds` is how slow, `times` after how many calls it clears."""
    mode = choice("mode", faults.MODES)
    settings = {
        "api_mode": mode,
        "api_seconds": number("seconds", faults.LONGEST_SECONDS, 30),
        "api_times": number("times", MOST, 0),
    }
    with current_state().store.write() as tx:
        tx.set(settings)
    return done({"mode": mode})


@bp.post("/control/events/<event_id>/resend")
def resend(event_id: str) -> BaseResponse:
    """Deliver the event once more, at once, whatever the switch says."""
    state = current_state()
    with state.store.write() as tx:
        event = tx.get(event_id, "event")
        if event is None:
            raise NotFound("There is no such event.")
        if not tx.delivers:
            raise Conflict("Nobody receives events: set SANDBOX_WEBHOOK_URL and start again.")
        added = events.add_delivery(tx, event, "pending", tx.now)
    state.dispatcher.deliver_due([event_id])
    with state.store.read() as tx:
        rows = events.delivery_rows(tx, MOST)
    return done(next((row for row in rows if row["id"] == added), {}))


def _snapshot(state: State, limit: int) -> dict[str, Any]:
    with state.store.read() as tx:
        found: dict[str, Any] = {
            name: [render(doc, request.url_root) for doc in tx.find(kind, limit=limit)]
            for name, kind in KINDS.items()
        }
        found["deliveries"] = events.delivery_rows(tx, limit)
        found["clock"] = {"now": tx.now, "offset": tx.setting("clock_offset", 0)}
        found["webhooks"] = tx.setting("webhooks_mode", "deliver")
        found["api"] = tx.setting("api_mode", "ok")
    return found


def _given() -> Mapping[str, Any]:
    body = request.get_json(silent=True) if request.is_json else request.form
    return body if isinstance(body, Mapping) else {}


def number(name: str, most: int, default: int | None = None) -> int:
    """Return a whole number of the form or JSON; raises 422 without one or a default."""
    value = _given().get(name)
    given = "" if value is None else str(value).strip()
    if not given and default is not None:
        return default
    if not (given.isascii() and given.isdecimal() and len(given) < 12 and int(given) <= most):
        raise UnprocessableEntity(f"{name} must be a whole number from 0 to {most}.")
    return int(given)


def choice(name: str, choices: Collection[str]) -> str:
    """Return one of the choices from the form or JSON; raises 422 for anything else."""
    given = str(_given().get(name, ""))
    if given not in choices:
        raise UnprocessableEntity(f"{name} must be one of {', '.join(choices)}.")
    return given


def done(result: Mapping[str, Any]) -> BaseResponse:
    """Answer a program with the result and a browser with the page."""
    return jsonify(result) if wants_json() else redirect(url_for("control.page"), 303)


def wants_json() -> bool:
    """Return whether a program is asking."""
    accepts = request.accept_mimetypes
    return request.is_json or accepts["application/json"] > accepts["text/html"]
