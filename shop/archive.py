"""Everything that the shop knows, in open formats: to look into, and to leave with at any time."""

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import IO, Any
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from flask import current_app
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from sqlalchemy import select
from sqlalchemy.orm import selectinload

from shop import details
from shop.board.models import Reply, Topic
from shop.catalog import sheet
from shop.catalog.models import Delivery
from shop.db import Base, db, end_read
from shop.errors import ShopError
from shop.mail.outbox import Mail
from shop.money import Money
from shop.orders import export as order_export
from shop.orders.models import LedgerEntry, Order, OrderLine
from shop.payments.models import Dispute
from shop.spreadsheet import BOM, line

ROWS_AT_ONCE = 500
FILES = {
    "orders.csv": _l("every order, a row each"),
    "order_lines.csv": _l("the goods of every order"),
    "orders.json": _l("every order with its goods, address and what happened"),
    "ledger.csv": _l("payments and refunds, by Stripe’s ids"),
    "disputes.csv": _l("payments that a cardholder’s bank disputed"),
    "mails.csv": _l("to whom mails went, and when"),
    "goods.csv": _l("the goods and their variants, to be read in again under Goods"),
    "deliveries.csv": _l("how goods are sent, and what that costs"),
    "topics.csv": _l("the topics of the board"),
    "replies.csv": _l("the replies to them"),
    "audit.csv": _l("what the owners did"),
    "details.json": _l("what you have set under Details"),
    "pictures/": _l("the pictures of the goods, by the names that goods.csv has"),
}


class BadFile(ShopError):
    """The archive cannot be written there."""

    status = 422
    code = "bad_file"


@contextmanager
def new_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a new file that its owner alone may read; it is removed where something goes wrong.

    Raises BadFile.
    """
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise BadFile(_("There is a file of that name already. Please choose another.")) from error
    except OSError as error:
        raise BadFile(_("The file cannot be written: %(why)s.", why=error.strerror)) from error
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
    except BaseException as error:
        path.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        raise BadFile(_("The file cannot be written: %(why)s.", why=error.strerror)) from error


def write_to(path: Path) -> None:
    """Write everything in open formats into a new archive; raise BadFile."""
    with new_file(path) as file:
        file.writelines(stream())


class _Pipe:
    """What has been written and not been taken yet, as ZipFile wants a file."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, part: bytes) -> int:
        self._parts.append(bytes(part))
        return len(part)

    def flush(self) -> None:
        pass

    def take(self) -> bytes:
        taken, self._parts = b"".join(self._parts), []
        return taken


def stream() -> Iterator[bytes]:
    """Yield everything in open formats as a zip: no hashes, keys of sessions, or secrets."""
    pipe = _Pipe()
    zone = current_app.config["SHOP_TIMEZONE"]
    moment = datetime.now(zone).timetuple()[:6]
    with ZipFile(pipe, "w") as archive:  # type: ignore[call-overload]
        for name, parts in _files():
            info = ZipInfo(name, moment)
            info.compress_type, info.external_attr = ZIP_DEFLATED, 0o600 << 16
            with archive.open(info, "w") as file:
                for part in parts:
                    file.write(part)
                    yield pipe.take()
            end_read()  # who takes long to fetch it keeps nobody from writing
    yield pipe.take()


def _files() -> Iterator[tuple[str, Iterable[bytes]]]:
    listed = "".join(f"{name}: {what}\r\n" for name, what in FILES.items())
    intro = _(
        "What %(shop)s knows, without passwords and keys. Amounts stand as people write them in "
        "the tables, and in the smallest unit of their currency in the JSON.",
        shop=current_app.config["SHOP_NAME"],
    )
    yield "README.txt", [f"{BOM}{intro}\r\n\r\n{listed}".encode()]
    for name, (key, columns) in _tables().items():
        yield name, _table(key, columns)
    yield "orders.json", _orders_json()
    yield "goods.csv", (row.encode() for row in sheet.lines())
    set_ones = {name: value for name, value in asdict(details.current()).items() if value}
    yield "details.json", [json.dumps(set_ones, indent=2, ensure_ascii=False).encode()]
    for name, data in sheet.picture_files():
        yield name, [data]


def _tables() -> dict[str, tuple[Any, list[Any]]]:
    """Return of each table what its rows are counted by, and its columns."""
    audit = Base.metadata.tables["audit"].c
    of_line = select(Order.currency).where(Order.id == OrderLine.order_id)
    return {
        "orders.csv": (Order.id, [
            Order.id.label("number"), Order.mode, Order.state, Order.currency, Order.amount,
            Order.email, Order.language, Order.delivery_name, Order.delivery_amount,
            Order.delivery_tax_rate, Order.created_at, Order.paid_at, Order.packed_at,
            Order.shipped_at, Order.carrier, Order.tracking, Order.erased_at,
        ]),
        "order_lines.csv": (OrderLine.id, [
            OrderLine.order_id.label("order"), OrderLine.name, OrderLine.quantity,
            OrderLine.unit_amount, OrderLine.tax_rate, of_line.scalar_subquery().label("currency"),
        ]),
        "ledger.csv": (LedgerEntry.id, [
            LedgerEntry.id, LedgerEntry.order_id.label("order"), LedgerEntry.kind,
            LedgerEntry.payment_id.label("of"), LedgerEntry.stripe_id, LedgerEntry.amount,
            LedgerEntry.currency, LedgerEntry.state, LedgerEntry.created_at,
        ]),
        "disputes.csv": (Dispute.id, [
            Dispute.order_id.label("order"), Dispute.stripe_id, Dispute.amount, Dispute.currency,
            Dispute.reason, Dispute.state, Dispute.opened_at, Dispute.closed_at,
        ]),
        "mails.csv": (Mail.id, [
            Mail.subject, Mail.kind, Mail.recipient, Mail.language, Mail.state, Mail.created_at,
        ]),
        "deliveries.csv": (Delivery.id, [
            Delivery.name, Delivery.amount, Delivery.free_from_amount, Delivery.countries,
            Delivery.tax_rate,
        ]),
        "topics.csv": (Topic.id, [Topic.id, Topic.name, Topic.comment, Topic.created_at]),
        "replies.csv": (Reply.id, [
            Reply.id, Reply.topic_id.label("topic"), Reply.name, Reply.comment, Reply.created_at,
        ]),
        "audit.csv": (audit.id, [audit.created_at, audit.who, audit.action, audit.subject]),
    }  # fmt: skip


def _table(key: Any, columns: list[Any]) -> Iterator[bytes]:
    """Yield a table as CSV, in the order of `key`."""
    yield f"{BOM}{line(column.key for column in columns)}".encode()
    query = select(key.label("key"), *columns).order_by(key).limit(ROWS_AT_ONCE)
    rows = db.session.execute(query).mappings().all()
    while rows:
        end_read()
        cells = ([_written(row, column.key) for column in columns] for row in rows)
        yield "".join(map(line, cells)).encode()
        rows = db.session.execute(query.where(key > rows[-1]["key"])).mappings().all()


def _written(row: Any, name: str) -> str:
    """Return a cell as a person writes it: amounts and rates in figures, times in the shop's."""
    value, config = row[name], current_app.config
    if value is None:
        return ""
    if isinstance(value, datetime):
        return f"{value.astimezone(config['SHOP_TIMEZONE']):%Y-%m-%d %H:%M:%S}"
    if name.endswith("amount"):
        return Money(value, row.get("currency") or config["SHOP_CURRENCY"]).written
    return f"{value / 100:g}" if name.endswith("tax_rate") else str(value)


def _orders_json() -> Iterator[bytes]:
    """Yield the orders as the command line's JSON, and what happened to each, without its link."""
    parts = [selectinload(one) for one in (Order.ledger, Order.address, Order.timeline)]
    query = select(Order).options(*parts).order_by(Order.id).limit(ROWS_AT_ONCE)
    last, start = 0, "["
    while orders := db.session.scalars(query.where(Order.id > last)).all():
        for order in orders:
            found = order_export.to_dict(order)
            del found["order"]
            found["timeline"] = [
                {"at": one.created_at.isoformat(), "kind": one.kind, "detail": one.detail}
                | {"who": one.who, "way": one.way}
                for one in order.timeline
            ]
            yield f"{start}\n{json.dumps(found, indent=2, ensure_ascii=False)}".encode()
            start = ","
        last = orders[-1].id
        end_read()
    yield b"[]" if start == "[" else b"\n]"
