"""Goods as a table, and from one: first what it would do, then done."""

from typing import Any

from flask import (
    Response,
    flash,
    redirect,
    render_template,
    request,
    stream_with_context,
    url_for,
)
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from shop.catalog import sheet, stocking, unpack
from shop.errors import ShopError, wants_json
from shop.owner import bp
from shop.owner.audit import record
from shop.security import takes_files


@bp.get("/goods.csv")
def goods_csv() -> Response:
    """Return the goods as a table, to be changed and read in again."""
    response = Response(stream_with_context(sheet.lines()), mimetype="text/csv")
    response.headers["Content-Disposition"] = "attachment; filename=goods.csv"
    return response


@bp.get("/goods/import")
def import_goods() -> str:
    """Ask for a table of goods."""
    return _page()


@bp.post("/goods/import")
@takes_files
def take_goods() -> ResponseReturnValue:
    """Show what a table (`file`) would do; with `kept`, the name of one that was seen, do it."""
    name, file = request.form.get("kept", ""), request.files.get("file")
    try:
        if name:
            path = unpack.kept(name)
            with path.open("rb") as stream:
                steps = stocking.take(
                    sheet.read(stream), lambda words: record("goods_imported", words)
                )
            path.unlink(missing_ok=True)
            flash(_("The goods are on the shelf: %(what)s.", what=stocking.summary(steps)))
            return redirect(url_for("owner.goods_list"), 303)
        if not file or not file.filename:
            raise unpack.BadSheet(_("Please choose a file first."))
        read = sheet.read(file.stream)
        steps = stocking.rehearse(read)
        names = {"steps": steps, "summary": stocking.summary(steps), "ignored": read.ignored}
        return _page(upload=unpack.keep(file.stream), **names)
    except ShopError as error:
        if wants_json():
            raise
        return _page(refusal=error, lines=getattr(error, "lines", [])), error.status


def _page(**names: Any) -> str:
    return render_template("owner/goods_import.html", columns=sheet.COLUMNS, **names)
