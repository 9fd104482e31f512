"""The API under /v1, as Stripe's SDKs call it."""

import hmac
import json
from collections.abc import Mapping
from functools import partial
from typing import Any

from flask import Blueprint, Response, request
from werkzeug.exceptions import HTTPException

from . import charges, clock, contract, disputes, params, refunds, sessions, webhook_endpoints
from .errors import ApiError, ParameterError, ServerError
from .idempotency import Answer, fingerprint, run_once
from .lists import Operation, expand, lister, retriever
from .objects import public
from .state import State, current_state, deliver_after_response
from .store import Document, Transaction, new_id

bp = Blueprint("api", __name__, url_prefix="/v1")
bp.after_request(deliver_after_response)

# What a restricted key has in it that may not use a resource, and the permission it lacks.
RESTRICTED = {"webhook_endpoints": ("_no_webhooks", "webhook"), "events": ("_no_events", "event")}
FORBIDDEN = (
    "The provided key '{key}' does not have the required permissions for this endpoint on account"
    " 'acct_1Sandbox'. Having the '{permission}' permission would allow this request to continue."
)
WRITES = ("POST", "DELETE")
FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")
ACTIONS: list[tuple[str, str, Operation]] = [
    ("/checkout/sessions", "sessions.create", sessions.create),
    ("/checkout/sessions/<one>/expire", "sessions.expire", sessions.expire),
    ("/tokens", "tokens.create", charges.create_token),
    ("/charges", "charges.create", charges.create_charge),
    ("/refunds", "refunds.create", refunds.create),
    ("/disputes/<one>", "disputes.update", disputes.update),
    ("/disputes/<one>/close", "disputes.close", disputes.close),
    ("/webhook_endpoints", "webhook_endpoints.create", webhook_endpoints.create),
    ("/webhook_endpoints/<one>", "webhook_endpoints.update", webhook_endpoints.update),
]
# Path, endpoint, kind of object, and the parameter that Stripe names where the id is wrong.
RESOURCES = [
    ("/checkout/sessions", "sessions", "checkout.session", "session"),
    ("/payment_intents", "payment_intents", "payment_intent", "intent"),
    ("/charges", "charges", "charge", "charge"),
    ("/refunds", "refunds", "refund", "refund"),
    ("/disputes", "disputes", "dispute", "dispute"),
    ("/events", "events", "event", "id"),
    ("/webhook_endpoints", "webhook_endpoints", "webhook_endpoint", "webhook_endpoint"),
]


def _call(endpoint: str, operation: Operation, one: str | None = None) -> Response:
    """Check key and parameters, run the operation (on the object `one`) and return its answer."""
    state = current_state()
    key = request.headers.get("Idempotency-Key") if request.method == "POST" else None
    request.environ["sandbox.request"] = {"id": new_id("req", 14), "idempotency_key": key or None}
    _check_key(state, endpoint)
    if not state.dispatcher.delivering:
        clock.tick(state.store)
    given = params.parse(_pairs())
    checked = contract.check(endpoint, given)
    paths = checked.pop("expand", [])

    def run(tx: Transaction) -> Document:
        return expand(tx, operation(tx, checked, *([one] if one else [])), paths)

    if request.method in WRITES:
        mark = fingerprint(request.method, request.path, given)
        return _respond(run_once(state.store, request.environ["sandbox.request"], mark, run))
    with state.store.read() as tx:
        return _respond(Answer(200, run(tx)))


def _route(method: str, path: str, endpoint: str, operation: Operation) -> None:
    view = partial(_call, endpoint, operation)
    bp.add_url_rule(path, endpoint.replace(".", "_"), view, methods=[method])


for path, endpoint, action in ACTIONS:
    _route("POST", path, endpoint, action)
for path, endpoint, kind, param in RESOURCES:
    _route("GET", path, f"{endpoint}.list", lister(kind, f"/v1{path}"))
    _route("GET", f"{path}/<one>", f"{endpoint}.retrieve", retriever(kind, param))
_route("GET", "/checkout/sessions/<one>/line_items", "line_items.list", sessions.line_items)
_route("GET", "/tokens/<one>", "tokens.retrieve", retriever("token", "token"))
_route("DELETE", "/webhook_endpoints/<one>", "webhook_endpoints.delete", webhook_endpoints.delete)


def _check_key(state: State, endpoint: str) -> None:
    """Raise 401 unless the request has an API key, 403 where that is restricted too much.

    The shop that mounts the sandbox needs none: no request from outside can set its environ key.
    """
    if request.environ.get("shop.in_process"):
        return
    try:
        given = request.authorization
    except ValueError:  # "Basic" and something beyond ASCII
        given = None
    key = (given.token or given.username or "") if given else ""
    if not key:
        text = (
            "You did not provide an API key. You need to provide your API key in the Authorization"
            " header, using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY')."
        )
        raise ApiError(401, text)
    prefixes = ("sk_test_", "rk_test_", *(("pk_test_",) if endpoint == "tokens.create" else ()))
    known = len(key) > 8 and key.startswith(prefixes)
    if known and state.secret_keys is not None and not key.startswith("pk_test_"):
        known = any(hmac.compare_digest(key.encode(), own.encode()) for own in state.secret_keys)
    if not known:
        raise ApiError(401, f"Invalid API Key provided: {key[:8]}****")
    lacking, permission = RESTRICTED.get(endpoint.partition(".")[0], ("", ""))
    if lacking and lacking in key and key.startswith("rk_"):
        masked = f"{key[:8]}{'*' * (len(key) - 12)}{key[-4:]}"
        right = f"rak_{permission}_{'write' if request.method in WRITES else 'read'}"
        raise ApiError(403, FORBIDDEN.format(key=masked, permission=right))


def _pairs() -> list[tuple[str, str]]:
    """Return names and values of the query or the form; raises ParameterError for other bodies."""
    if request.method != "POST":
        return list(request.args.items(multi=True))
    if request.get_data(cache=True) and request.mimetype not in FORMS:
        text = f"Invalid request (check that your POST content type is {FORMS[0]})."
        raise ParameterError(text)
    return list(request.form.items(multi=True))


def _respond(answer: Answer) -> Response:
    body = json.dumps(render(answer.doc), indent=2)
    response = Response(body, answer.status, mimetype="application/json")
    if answer.original:
        response.headers["Idempotent-Replayed"] = "true"
        response.headers["Original-Request"] = answer.original
    return response


def render(doc: Document) -> Any:
    """Return the object as it is sent.

    The url of a session is made here, because the shop and the browser may use different roots.
    """
    # Werkzeug's `url_root` would decode the host's name, and fails over `ß`.
    root = f"{request.scheme}://{request.host}{request.root_path}/"
    sent = public(doc)
    items = sent["data"] if sent.get("object") == "list" else [sent]
    for item in items:
        if item.get("object") == "checkout.session":
            item["url"] = f"{root}checkout/{item['id']}" if item["status"] == "open" else None
    return sent


@bp.after_request
def add_headers(response: Response) -> Response:
    """Name the request and the API version, and let any page make tokens, as Stripe.js does."""
    named: Mapping[str, str] = request.environ.get("sandbox.request", {})
    response.headers["Request-Id"] = named.get("id") or new_id("req", 14)
    response.headers["Stripe-Version"] = contract.api_version()
    if request.path == "/v1/tokens":
        response.headers["Access-Control-Allow-Origin"] = "*"
        response.headers["Access-Control-Allow-Headers"] = "Authorization, Content-Type"
    return response


@bp.errorhandler(ApiError)
def handle_api_error(error: ApiError) -> Response:
    """Answer with Stripe's error object."""
    return _respond(Answer(error.status, error.body()))


def handle_http_error(error: HTTPException) -> Response:
    """Answer an unknown address, a wrong method or a broken request with Stripe's error object."""
    status = error.code or 500
    if status in (404, 405):
        path = f"{request.method}: {request.path[:200]}"
        return handle_api_error(ApiError(404, f"Unrecognized request URL ({path})."))
    if status < 500:
        return handle_api_error(ApiError(status, str(error.description)))
    return handle_api_error(ServerError(500, "The sandbox failed to answer. Its log says why."))
