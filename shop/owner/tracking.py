"""Many parcels at once: a table of the carriers' numbers sends the orders that it names."""

from collections.abc import Iterator
from functools import partial

from flask import Response, render_template, request
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from shop.errors import ShopError, wants_json
from shop.orders import queries, shipping
from shop.owner import bp
from shop.owner.audit import recorded
from shop.parsers import whole_number
from shop.spreadsheet import BOM, heading, line, rows

# What the columns are called here, and in the tables of Japanese carriers.
COLUMNS = {
    "number": ("number", "order", "order number", "ご注文番号", "注文番号", "お客様管理番号"),
    "carrier": ("carrier", "運送会社", "配送会社", "配送業者"),
    "tracking": ("tracking", "tracking number", "伝票番号", "送り状番号", "お問い合わせ番号"),
}


class NoTable(ShopError):
    """The file is no table of orders and numbers."""

    status = 422
    code = "no_table"


@bp.get("/orders/tracking")
def tracking() -> ResponseReturnValue:
    """Show where a table is taken, or with `?form=csv` the one to be filled in."""
    if request.args.get("form") == "csv":
        response = Response("".join(_form()), mimetype="text/csv")
        response.headers["Content-Disposition"] = "attachment; filename=tracking.csv"
        return response
    return _page()


@bp.post("/orders/tracking")
def take_tracking() -> ResponseReturnValue:
    """Send each order of the table (`file`); those that are not ready are named and left out."""
    file = request.files.get("file")
    try:
        wanted = list(_parcels(file.read() if file else b""))
    except NoTable as error:
        if wants_json():
            raise
        return _page(refusal=error), error.status
    sent, refused = [], []
    for number, carrier, code in wanted:
        try:
            ship = partial(shipping.ship, number, carrier, code)
            recorded(ship, "order_shipped", str(number))
            sent.append(number)
        except ShopError as error:
            refused.append((number, error.message))
    return _page(sent=sent, refused=refused)


def _page(**names: object) -> str:
    return render_template("owner/tracking.html", **names)


def _form() -> Iterator[str]:
    """Yield the table of what is to be packed, in which the numbers are written."""
    yield BOM + line(("number", "customer", "carrier", "tracking"))
    for order in queries.to_pack(queries.PACKED_AT_ONCE):
        yield line((str(order.number), order.address.name if order.address else "", "", ""))


def _parcels(data: bytes) -> Iterator[tuple[int, str, str]]:
    """Yield number, carrier and tracking number of each row; rows without the last are empty."""
    try:
        table = [cells for _line, cells in rows(data)]
    except ValueError as error:
        raise NoTable(_("This file is no table that can be read. Nothing was changed.")) from error
    head = [heading(cell) for cell in table[0]] if table else []
    places = {
        name: next((head.index(word) for word in words if word in head), None)
        for name, words in COLUMNS.items()
    }
    if places["number"] is None or places["tracking"] is None:
        raise NoTable(
            _("The table needs the columns “number” and “tracking” in its first row, and may have "
              "“carrier”. Nothing was changed.")
        )  # fmt: skip
    for cells in table[1:]:
        number, carrier, code = (
            cells[place].strip() if place is not None and place < len(cells) else ""
            for place in places.values()
        )
        if code:
            yield whole_number(number.lstrip("#"), 0), carrier, code
