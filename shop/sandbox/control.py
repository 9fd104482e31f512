"""The control page (`GET /`), and the same switches for programs, in JSON."""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Response, jsonify, redirect, render_template, request, url_for
from werkzeug.exceptions import Conflict, Forbidden, NotFound, UnprocessableEntity
from werkzeug.wrappers import Response as BaseResponse

from . import clock, disputes, events, faults, refunds
from .api import RESOURCES, render
from .money import format_amount
from .state import current_state, deliver_after_response
from .texts import texts
from .webhook_endpoints import receivers

bp = Blueprint("control", __name__)
# A sandbox that runs alone has no timer, so reading the page delivers what is due, too.
bp.after_request(deliver_after_response)
NOBODY = (
    "Nobody receives this event: create or enable a webhook endpoint for its type, or start the"
    " sandbox with SANDBOX_WEBHOOK_URL."
)
MOST = 1000
MOST_ON_PAGE = 20


@bp.before_request
def guard() -> None:
    """Refuse visitors who may not use the switches, and forms that other sites send."""
    allowed = current_state().control_allowed
    if allowed and not allowed(request.environ):
        raise Forbidden("Only the shop's owner may see and move the sandbox's switches.")
    if request.method == "POST":
        # Programs send neither header, old browsers only the second.
        site = request.headers.get("Sec-Fetch-Site")
        origin = request.headers.get("Origin")
        own_origin = origin is None or origin == f"{request.scheme}://{request.host}"
        if not (own_origin if site is None else site in ("same-origin", "none")):
            raise Forbidden("Another site sent this form.")
    clock.tick(current_state().store)


@bp.get("/")
def page() -> str:
    """Show the clock, the switches and the newest objects."""
    snapshot = _snapshot(MOST_ON_PAGE)
    paid = snapshot["charges"]
    with current_state().store.read() as tx:
        refundable = {one["id"] for one in paid if refunds.refund_error(tx, one) is None}
        disputable = {one["id"] for one in paid if disputes.dispute_error(tx, one) is None}
    return render_template(
        "control.html",
        snapshot=snapshot,
        refundable=refundable,
        disputable=disputable,
        closed=disputes.CLOSED,
        modes=events.MODES,
        api_modes=faults.MODES,
        text=texts("en"),
        money=format_amount,
        time=lambda moment: f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M:%S}",
    )


@bp.get("/control/state")
def read_state() -> Response:
    """Return the clock, the switches and all objects, newest first."""
    return jsonify(_snapshot(MOST))


@bp.post("/control/clock")
def move_clock() -> BaseResponse:
    """Move the clock forward by `advance` seconds; run and deliver what is due by then."""
    state = current_state()
    clock.advance(state.store, whole_number("advance", clock.FARTHEST))
    state.deliver_due()
    with state.store.read() as tx:
        return respond({"now": tx.now, "offset": tx.setting("clock_offset", 0)})


@bp.post("/control/webhooks")
def switch_webhooks() -> BaseResponse:
    """Set the `mode` of the events from now on; `seconds` is how long `delay` waits."""
    mode = choice("mode", events.MODES)
    seconds = whole_number("seconds", clock.FARTHEST, 60)
    with current_state().store.write() as tx:
        tx.set({"webhooks_mode": mode, "webhooks_delay": seconds})
    return respond({"mode": mode})


@bp.post("/control/api")
def switch_api() -> BaseResponse:
    """Set the `mode` of the API; `seconds` is how long `slow` takes, `times` for how many calls."""
    mode = choice("mode", faults.MODES)
    settings = {
        "api_mode": mode,
        "api_seconds": whole_number("seconds", faults.LONGEST_SECONDS, 30),
        "api_times": whole_number("times", MOST, 0),
    }
    with current_state().store.write() as tx:
        tx.set(settings)
    return respond({"mode": mode})


@bp.post("/control/events/<event_id>/resend")
def resend(event_id: str) -> BaseResponse:
    """Deliver the event again now, whatever the mode, and return the (first) delivery."""
    state = current_state()
    with state.store.write() as tx:
        event = tx.get(event_id, "event")
        if event is None:
            raise NotFound("There is no such event.")
        added = [
            events.add_delivery(tx, event, receiver, tx.now)
            for receiver in receivers(tx, event["type"])
        ]
        if not added:
            raise Conflict(NOBODY)
    state.dispatcher.deliver_due([event_id])
    with state.store.read() as tx:
        deliveries = events.list_deliveries(tx, MOST)
    return respond(next((one for one in deliveries if one["id"] == added[0]), {}))


def _snapshot(limit: int) -> dict[str, Any]:
    with current_state().store.read() as tx:
        found: dict[str, Any] = {
            name: [render(doc) for doc in tx.find(kind, limit=limit)]
            for _, name, kind, _ in RESOURCES
        }
        found["deliveries"] = events.list_deliveries(tx, limit)
        found["clock"] = {"now": tx.now, "offset": tx.setting("clock_offset", 0)}
        found["webhooks"] = tx.setting("webhooks_mode", "deliver")
        found["api"] = tx.setting("api_mode", "ok")
    return found


def _field(name: str) -> str | None:
    """Return a field of the form or of the JSON object, None without one."""
    try:
        body = request.get_json(silent=True) if request.is_json else request.form
    except RecursionError:  # lists in lists in lists
        return None
    value = body.get(name) if isinstance(body, Mapping) else None
    return None if value is None else str(value).strip()


def whole_number(name: str, most: int, default: int | None = None) -> int:
    """Return the field as a whole number; raises 422 where it is none or missing."""
    given = _field(name) or ""
    if not given and default is not None:
        return default
    if not (given.isascii() and given.isdecimal() and len(given) < 12 and int(given) <= most):
        raise UnprocessableEntity(f"{name} must be a whole number from 0 to {most}.")
    return int(given)


def choice(name: str, choices: Collection[str]) -> str:
    """Return the field where it is one of the choices; raises 422 otherwise."""
    given = _field(name)
    if given not in choices:
        raise UnprocessableEntity(f"{name} must be one of {', '.join(choices)}.")
    return str(given)


def respond(result: Mapping[str, Any]) -> BaseResponse:
    """Return the result to a program; send a browser back to the page."""
    return jsonify(result) if wants_json() else redirect(url_for("control.page"), 303)


def wants_json() -> bool:
    """Return whether the client is a program and not a browser."""
    accepts = request.accept_mimetypes
    return request.is_json or accepts["application/json"] > accepts["text/html"]
