"""Refusals in the shop's own words, and the pages that show errors."""

from typing import Any

from flask import Flask, Response, current_app, g, jsonify, render_template, request
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from flask_wtf.csrf import CSRFError
from sqlalchemy import exc
from werkzeug.exceptions import HTTPException

from shop.security import is_same_origin, no_store

# What a page of errors gives back to be sent again, secrets and tokens apart.
NOT_GIVEN_BACK = ("csrf_token", "password", "present", "stripeToken")
# PostgreSQL's codes for what the shop may not do: no rights, no schema that it may see, a copy that
# can only be read.
NO_RIGHTS = ("42501", "3F000", "25006")
TITLES = {
    404: _l("There is nothing here"),
    409: _l("That is no longer possible"),
    413: _l("That is too much at once"),
    422: _l("Please check that once more"),
    429: _l("A little slower, please"),
    500: _l("That went wrong"),
    503: _l("Not possible just now"),
}
MESSAGES = {
    404: _l("This page does not exist, or no longer does. Nothing was charged."),
    405: _l("This address does not work that way. Nothing was saved and nothing was charged."),
    413: _l("What you sent is larger than the shop takes (%(most)s MiB). Nothing was saved."),
    429: _l("You were faster than the shop allows. Please wait a moment and try again."),
    500: _l(
        "Something broke on our side, and we have a note of it. If you were paying, look at your "
        "order before you pay again: nothing is charged twice."
    ),
    503: _l("The shop cannot answer just now. Please try again in a minute."),
}


class ShopError(Exception):
    """A refusal that the visitor is told about.

    `message` says what happened, what it means for money or text, and what to do; `words` fill its
    placeholders. `order` is the token of an order that is kept, so that the page can offer the way
    back to it; `resend_to` the address where the visitor can send what they typed; `retry_after`
    the seconds to wait before.
    """

    status = 400
    code = "invalid"
    title: str = ""
    message: str = ""
    resend_to: str | None = None
    retry_after: int | None = None

    def __init__(self, message: str = "", *, order: str | None = None, **words: Any) -> None:
        text = str(message or self.message)  # a lazy text of a class meets its language here
        self.message = text % words if words else text
        super().__init__(self.message)
        self.order = order

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the answer, beside those of every page."""
        return {"Retry-After": str(self.retry_after)} if self.retry_after else {}


class DatabaseBusy(ShopError):
    """The database did not take a write in the time that a visitor waits."""

    status = 503
    code = "busy"
    message = _l("The shop is very busy. Nothing was saved; please try again in a minute.")


def wants_json() -> bool:
    """Tell whether the client asks for JSON rather than for a page."""
    kinds = ("text/html", "application/json")
    return request.accept_mimetypes.best_match(kinds) == "application/json"


def init_errors(app: Flask) -> None:
    """Answer every error with a page (or JSON) that helps."""
    app.register_error_handler(ShopError, _shop_error)
    app.register_error_handler(CSRFError, _stale_form)
    # TimeoutError: the pool had no connection free.
    for down in (exc.DBAPIError, exc.TimeoutError):
        app.register_error_handler(down, _database_down)
    app.register_error_handler(HTTPException, _http_error)


def page(status: int, code: str, title: str, message: str, **ways: str | None) -> Response:
    """Return the error page, or its JSON, with this status.

    `ways`: `order`, the token of an order to go back to, and `resend_to`, the address to which the
    form that failed can be sent again as it was typed.
    """
    if wants_json():
        response = no_store(jsonify({"error": {"code": code, "message": message}}))
    else:
        typed = request.form.items(multi=True) if ways.get("resend_to") else ()
        fields = [(k, v.replace("\x00", "")) for k, v in typed if k not in NOT_GIVEN_BACK]
        names = {"code": code, "title": title, "message": message, "fields": fields}
        response = no_store(render_template("errors/error.html", **names, **ways))
    response.status_code = status
    if status in (429, 503):
        response.headers.setdefault("Retry-After", "30")
    return response


def same_address() -> str | None:
    """Return the address that a form was posted to, None for any other request."""
    if request.method != "POST" or request.is_json:
        return None
    return request.root_path + request.path


def _shop_error(error: ShopError) -> ResponseReturnValue:
    if error.status >= 500:
        current_app.logger.warning("%s: %r", error.code, error.__cause__ or error)
    if isinstance(error, DatabaseBusy):
        error.resend_to = same_address()
    ways = {"order": error.order, "resend_to": error.resend_to}
    title = str(error.title) or _title(error.status)
    response = page(error.status, error.code, title, error.message, **ways)
    response.headers.update(error.headers)
    return response


def _stale_form(error: HTTPException) -> ResponseReturnValue:
    """Give back what was typed, ready to be sent again with a fresh token.

    A form of another site gets no such button: one click would undo the protection.
    """
    message = _(
        "Nothing was saved and nothing was charged. The form had been open for too long, or your "
        "browser keeps no cookies for this shop."
    )
    resend_to = same_address() if is_same_origin() else None
    return page(400, "csrf", _("Please send that once more"), message, resend_to=resend_to)


def _database_down(error: Exception) -> ResponseReturnValue:
    orig = getattr(error, "orig", None)
    ours = (exc.ProgrammingError, exc.IntegrityError, exc.DataError, exc.InternalError)
    if isinstance(error, ours) and getattr(orig, "sqlstate", None) not in NO_RIGHTS:
        raise error  # a mistake of the shop
    current_app.logger.error("database: %s", error)
    g.database_down = True
    message = _(
        "The shop's database does not answer. Nothing was charged by this page; please try again "
        "in a minute."
    )
    return page(503, "database", _title(503), message, resend_to=same_address())


def _http_error(error: HTTPException) -> ResponseReturnValue:
    status, code = error.code or 500, error.name.lower().replace(" ", "_")
    message = MESSAGES.get(status, _l("The shop could not understand that request."))
    if status == 413:
        message %= {"most": (request.max_content_length or 0) // 2**20}
    response = page(status, code, _title(status), str(message))
    for name, value in error.get_headers():
        if name.lower() in ("allow", "retry-after"):
            response.headers[name] = value
    return response


def _title(status: int) -> str:
    return str(TITLES.get(status, _l("That did not work")))
