"""The shop's data: everything in open formats, a person erased, and what the owners did."""

from datetime import datetime
from typing import Any

from flask import (
    Response,
    current_app,
    flash,
    redirect,
    render_template,
    request,
    send_file,
    stream_with_context,
    url_for,
)
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from shop import archive, backup, privacy
from shop.db import end_read, write
from shop.errors import ShopError, wants_json
from shop.owner import access, audit, bp
from shop.owner.audit import record
from shop.parsers import visible, whole_number
from shop.payments.models import recall


@bp.get("/data")
def data() -> str:
    """Show what can be done with the shop's data."""
    return _page()


@bp.post("/data/backup")
def download_backup() -> ResponseReturnValue:
    """Make a backup and return it, for the password; a copy stays in the shop's data folder."""
    try:
        access.confirm_password(request.form.get("password", ""))
        made = backup.make()
    except ShopError as error:
        return _refused(error, backup_refusal=error)
    write(lambda: record("backup_made", made.path.name))
    return send_file(made.path, as_attachment=True, max_age=0)


@bp.post("/data/export")
def export() -> ResponseReturnValue:
    """Return everything in open formats, for the password."""
    try:
        access.confirm_password(request.form.get("password", ""))
    except ShopError as error:
        return _refused(error, export_refusal=error)
    write(lambda: record("data_exported"))
    today = datetime.now(current_app.config["SHOP_TIMEZONE"])
    response = Response(stream_with_context(archive.stream()), mimetype="application/zip")
    name = f"shop-{today:%Y-%m-%d}.zip"
    response.headers["Content-Disposition"] = f"attachment; filename={name}"
    return response


@bp.post("/data/erase")
def erase() -> ResponseReturnValue:
    """Show what is here of the person with an address; with `confirm` and the password, erase it.

    What cannot be erased is said, and what was typed stays.
    """
    email = visible(request.form.get("email")) or ""
    names: dict[str, Any] = {"email": email}
    try:
        names["person"] = privacy.find_person(email)
        end_read()
        if not request.form.get("confirm"):
            return _page(**names)
        access.confirm_password(request.form.get("password", ""))
        erased = privacy.erase(email, lambda found: record("person_erased", found.words))
    except ShopError as error:
        return _refused(error, erase_refusal=error, **names)
    flash(_("The person is erased: %(what)s.", what=erased.words))
    return redirect(url_for("owner.data"), 303)


@bp.get("/data/audit")
def audit_trail() -> str:
    """Show what the owners did, the latest first, page by page."""
    before = whole_number(request.args.get("before", ""), None)
    entries = audit.latest_entries(before)
    names = {"entries": entries, "actions": audit.ACTIONS, "page_size": audit.PAGE_SIZE}
    return render_template("owner/audit.html", **names)


def _refused(error: ShopError, **names: Any) -> ResponseReturnValue:
    if wants_json():
        raise error
    return _page(**names), error.status, error.headers


def _page(**names: Any) -> str:
    names["backup_at"] = recall("backup")
    return render_template("owner/data.html", stays=privacy.STAYS, **names)
