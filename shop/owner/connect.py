"""How the shop hears from Stripe, as the owner sets it up."""

from flask import flash, jsonify, redirect, render_template, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from shop.db import write
from shop.errors import ShopError, wants_json
from shop.owner import bp
from shop.owner.audit import record
from shop.payments import connect, gateway, webhook


@bp.get("/connect")
def connection() -> ResponseReturnValue:
    """Show whether Stripe's messages come, and how to have them come."""
    if wants_json():
        return jsonify(_to_dict())
    return _page()


@bp.post("/connect")
def make_connection() -> ResponseReturnValue:
    """Make or repair the webhook at Stripe; whether its messages come is seen a moment later."""
    try:
        connect.connect()
    except ShopError as error:
        if wants_json():
            raise
        return _page(error), error.status, error.headers
    write(lambda: record("connected", connect.state().url))
    if wants_json():
        return jsonify(_to_dict())
    if connect.state().state == "connected":
        flash(_("Connected: a message of Stripe’s has arrived."))
    return redirect(url_for("owner.connection"), 303)


def _to_dict() -> dict[str, str]:
    found = connect.state()
    return {"state": found.state, "url": found.url}


def _page(refusal: ShopError | None = None) -> str:
    names = {"connection": connect.state(), "refusal": refusal, "types": webhook.TYPES}
    return render_template("owner/connect.html", version=gateway.api_version(), **names)
