"""A stand-in for Stripe without money: its API, its hosted checkout, its events.

The shop mounts it; alone it serves any Stripe SDK: `flask --app shop.sandbox run` (see README.md).
"""

import os
import sqlite3
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from flask import Flask, Response, render_template, request
from werkzeug.exceptions import HTTPException
from werkzeug.routing import RequestRedirect

from . import api, control, dashboard, pages
from .dispatcher import Deliver, DeliverTo, Dispatcher, http_deliver, post
from .faults import Faults
from .state import State
from .store import Store
from .texts import choose_language, texts

BODY_LIMIT = 1024 * 1024
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
    "X-Robots-Tag": "noindex",
    "Content-Security-Policy": pages.policy(),
}


def create_sandbox(
    database: Path | str,
    *,
    webhook_secret: str,
    webhook_url: str | None = None,
    deliver: Deliver | None = None,
    deliver_to: DeliverTo = post,
    control_allowed: Callable[[Mapping[str, Any]], bool] | None = None,
    secret_keys: Collection[str] | None = None,
) -> Flask:
    """Return the sandbox as a WSGI app; the database is not touched before the first request.

    `deliver(body, signature_header)` takes an event to the receiver at `webhook_url` and returns
    the HTTP status; it rests while there is a webhook endpoint with that url. `deliver_to(url,
    body, signature_header)` takes an event to a webhook endpoint. `control_allowed(environ)`
    returns whether a request may use the control page, by default any may. `secret_keys` are the
    keys that the API accepts, by default any test key. `app.extensions["sandbox"].deliver_due()`
    runs and delivers what is due.
    """
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = BODY_LIMIT
    store = Store(database, None if deliver is None else webhook_url or "")
    dispatcher = Dispatcher(store, webhook_secret, deliver, deliver_to)
    app.extensions["sandbox"] = State(store, dispatcher, control_allowed, secret_keys)
    for module in (api, pages, control, dashboard):
        app.register_blueprint(module.bp)
    app.add_url_rule("/stripe.js", "script", lambda: app.send_static_file("stripe.js"))
    app.register_error_handler(HTTPException, _handle_http_error)
    app.register_error_handler(sqlite3.OperationalError, _handle_store_error)
    app.after_request(_add_headers)
    app.wsgi_app = Faults(app.wsgi_app, store)  # type: ignore[method-assign]
    return app


def create_app() -> Flask:
    """Return a sandbox that runs alone, configured by `SANDBOX_…` in the environment.

    Raises SystemExit where SANDBOX_WEBHOOK_URL has no secret beside it.
    """
    url = os.environ.get("SANDBOX_WEBHOOK_URL", "")
    secret = os.environ.get("SANDBOX_WEBHOOK_SECRET", "")
    if url and not (url.startswith(("http://", "https://")) and secret):
        raise SystemExit(
            "SANDBOX_WEBHOOK_URL needs http(s)://… and SANDBOX_WEBHOOK_SECRET beside it,"
            " such as whsec_test"
        )
    default = Path(__file__).resolve().parents[2] / "instance" / "sandbox.sqlite3"
    return create_sandbox(
        os.environ.get("SANDBOX_DATABASE") or default,
        webhook_secret=secret,
        webhook_url=url,
        deliver=http_deliver(url) if url else None,
    )


def _add_headers(response: Response) -> Response:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response


def _handle_store_error(error: sqlite3.OperationalError) -> Response:
    text = f"503: the sandbox cannot use its file ({error}).\n"
    return Response(text, 503, mimetype="text/plain")


def _handle_http_error(error: HTTPException) -> Any:
    """Answer programs with JSON and people with a page."""
    if isinstance(error, RequestRedirect):
        return error
    if request.path.startswith("/v1/"):
        return api.handle_http_error(error)
    if control.wants_json():
        return {"error": {"message": error.description}}, error.code
    text = texts(choose_language(None, request.accept_languages))
    missing = error.code == 404
    page = render_template(
        "message.html",
        text=text,
        title=text["missing_title" if missing else "wrong_title"],
        message=text["missing"] if missing else error.description,
    )
    return page, error.code or 500
