"""The API under /v1, as Stripe's clients speak it."""

import hmac
import json
from collections.abc import Callable, Mapping
from typing import Any

from flask import Blueprint, Response, request
from werkzeug.exceptions import HTTPException

from . import charges, clock, contract, disputes, sessions
from .errors import ApiError, AuthenticationError, ParameterError, ServerError
from .idempotency import Answer, fingerprint, once
from .lists import Operation, expand, lister, retriever
from .objects import public
from .params import nested
from .state import State, current_state, deliver_afterwards
from .store import Document, Transaction, new_id

bp = Blueprint("api", __name__, url_prefix="/v1")
bp.after_request(deliver_afterwards)

ACTIONS: list[tuple[str, str, Operation]] = [
    ("/checkout/sessions", "sessions.create", sessions.create),
    ("/checkout/sessions/<one>/expire", "sessions.expire", sessions.expire),
    ("/tokens", "tokens.create", charges.create_token),
    ("/charges", "charges.create", charges.create_charge),
    ("/refunds", "refunds.create", charges.create_refund),
    ("/disputes/<one>", "disputes.update", disputes.update),
    ("/disputes/<one>/close", "disputes.close", disputes.close),
]
# Path, endpoint, kind of object, and what Stripe calls its id in an error.
RESOURCES = [
    ("/checkout/sessions", "sessions", "checkout.session", "session"),
    ("/payment_intents", "payment_intents", "payment_intent", "intent"),
    ("/charges", "charges", "charge", "charge"),
    ("/refunds", "refunds", "refund", "refund"),
    ("/disputes", "disputes", "dispute", "dispute"),
    ("/events", "events", "event", "id"),
]


def _view(endpoint: str, operation: Operation) -> Callable[..., Response]:
    def view(one: str | None = None) -> Response:
        state = current_state()
        mark_request()
        check_key(state, publishable=endpoint == "tokens.create")
        if not state.dispatcher.busy:
            clock.tick(state.store)
        raw = nested(_pairs())
        params = contract.check(endpoint, raw)
        paths = params.pop("expand", [])

        def run(tx: Transaction) -> Document:
            return expand(tx, operation(tx, params, *([one] if one else [])), paths)

        if request.method == "POST":
            mark = fingerprint(request.method, request.path, raw)
            return _answer(once(state.store, request.environ["sandbox.request"], mark, run))
        with state.store.read() as tx:
            return _answer(Answer(200, run(tx)))

    return view


def _route(method: str, path: str, endpoint: str, operation: Operation) -> None:
    view = _view(endpoint, operation)
    bp.add_url_rule(path, endpoint.replace(".", "_"), view, methods=[method])


for path, endpoint, action in ACTIONS:
    _route("POST", path, endpoint, action)
for path, endpoint, kind, param in RESOURCES:
    _route("GET", path, f"{endpoint}.list", lister(kind, f"/v1{path}"))
    _route("GET", f"{path}/<one>", f"{endpoint}.retrieve", retriever(kind, param))
_route("GET", "/checkout/sessions/<one>/line_items", "sessions.line_items", sessions.line_items)
_route("GET", "/tokens/<one>", "tokens.retrieve", retriever("token", "token"))


@bp.after_request
def open_tokens(response: Response) -> Response:
    """Let the script of a page on another origin make tokens, as Stripe.js does."""
    if request.path == "/v1/tokens":
        response.headers["Access-Control-Allow-Origin"] = "*"
        response.headers["Access-Control-Allow-Headers"] = "Authorization, Content-Type"
    return response


def mark_request() -> None:
    """Give the request the id that its answer and its events will name."""
    key = request.headers.get("Idempotency-Key")
    request.environ["sandbox.request"] = {"id": new_id("req", 14), "idempotency_key": key or None}


def check_key(state: State, *, publishable: bool) -> None:
    """Raise AuthenticationError unless the request carries a key that the sandbox takes.

    A mounted sandbox's own shop needs none: no request from outside can pass for one of its calls.
    """
    if request.environ.get("shop.in_process"):
        return
    key = _given_key()
    if not key:
        text = (
            "You did not provide an API key. You need to provide your API key in the Authorization"
            " header, using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY')."
        )
        raise AuthenticationError(401, text)
    prefixes = ("sk_test_", "rk_test_", *(("pk_test_",) if publishable else ()))
    known = len(key) > 8 and key.startswith(prefixes)
    if known and state.secret_keys is not None and not key.startswith("pk_test_"):
        known = any(hmac.compare_digest(key.encode(), own.encode()) for own in state.secret_keys)
    if not known:
        raise AuthenticationError(401, f"Invalid API Key provided: {key[:8]}****")


def _given_key() -> str:
    try:
        given = request.authorization
    except ValueError:  # "Basic" and something beyond ASCII
        return ""
    return str((given.token or given.username or "") if given else "")


def _pairs() -> list[tuple[str, str]]:
    if request.method == "GET":
        return list(request.args.items(multi=True))
    if request.get_data(cache=True) and request.mimetype not in (
        "application/x-www-form-urlencoded",
        "multipart/form-data",
    ):
        text = (
            "Invalid request (check that your POST content type is"
            " application/x-www-form-urlencoded)."
        )
        raise ParameterError(text)
    return list(request.form.items(multi=True))


def _answer(answer: Answer) -> Response:
    body = json.dumps(render(answer.doc, request.url_root), indent=2)
    response = Response(body, answer.status, mimetype="application/json")
    if answer.original:
        response.headers["Idempotent-Replayed"] = "true"
        response.headers["Original-Request"] = answer.original
    return response


def render(doc: Document, root: str) -> Any:
    """Return the object as it is sent. An open session's url lies below the reader's own root."""
    sent = public(doc)
    items = sent["data"] if sent.get("object") == "list" else [sent]
    for item in items:
        if item.get("object") == "checkout.session":
            item["url"] = f"{root}checkout/{item['id']}" if item["status"] == "open" else None
    return sent


@bp.after_request
def finish(response: Response) -> Response:
    """Name the request."""
    named: Mapping[str, str] = request.environ.get("sandbox.request", {})
    response.headers["Request-Id"] = named.get("id") or new_id("req", 14)
    response.headers["Stripe-Version"] = contract.api_version()
    return response


@bp.errorhandler(ApiError)
def refuse(error: ApiError) -> Response:
    """Answer a refusal in Stripe's shape."""
    return _answer(Answer(error.status, error.body()))


def refuse_http(error: HTTPException) -> Response:
    """Answer an unknown address, a wrong method or a broken request in Stripe's shape."""
    status = error.code or 500
    if status in (404, 405):
        path = f"{request.method}: {request.path[:200]}"
        refusal = ApiError(404, f"Unrecognized request URL ({path}).")
    elif status < 500:
        refusal = ApiError(status, str(error.description))
    else:
        refusal = ServerError(500, "The sandbox failed to answer. Its log says why.")
    return _answer(Answer(refusal.status, refusal.body()))
