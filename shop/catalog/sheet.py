"""Goods as a table: written as CSV, and read from one, of this shop or of another."""

import html
import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Any

from flask_babel import gettext as _
from sqlalchemy import select

from shop.catalog import goods
from shop.catalog.models import PICTURE_WIDTHS, Picture, PictureFile, Product
from shop.catalog.unpack import Archive, BadSheet
from shop.db import db, end_read
from shop.money import Money
from shop.parsers import tidy, visible
from shop.spreadsheet import BOM, heading, line, rows

MOST_ROWS = 10_000
BETWEEN_PICTURES = "|"
YES = ("yes", "true", "1", "on", "active", "はい")
NO = ("no", "false", "0", "off", "draft", "archived", "いいえ")
# What other shops call the columns: Shopify, WooCommerce, Japanese ones.
ALIASES = {
    "handle": "slug", "title": "name", "body (html)": "description", "variant price": "price",
    "regular price": "price", "variant inventory qty": "stock", "published": "active",
    "option1 value": "variant", "商品名": "name", "説明": "description", "商品説明": "description",
    "価格": "price", "販売価格": "price", "在庫": "stock", "在庫数": "stock", "税率": "tax_rate",
}  # fmt: skip


def _read_name(raw: str) -> str:
    name = visible(raw, goods.NAME_LENGTH * 2) or ""
    if not 0 < len(name) <= goods.NAME_LENGTH:
        raise goods.BadValue(_("A name has 1 to %(most)s characters.", most=goods.NAME_LENGTH))
    return name


def _read_text(raw: str) -> str:
    text, most = tidy(raw), goods.DESCRIPTION_LENGTH
    if len(text) > most:
        raise goods.BadValue(_("A description has at most %(most)s characters.", most=most))
    return text


def _read_switch(raw: str) -> bool:
    word = unicodedata.normalize("NFKC", raw).strip().lower()
    if word not in YES + NO:
        raise goods.BadValue(_("Please write yes or no."))
    return word in YES


def _written_price(product: Product) -> str:
    own = product.unit_amount
    return "" if own is None else Money(own, product.price.currency).written


# Of each column: the product's own, how its text becomes the value, and the value its text.
FIELDS: dict[str, tuple[str, Callable[[str], Any], Callable[[Product], str]]] = {
    "name": ("name", _read_name, lambda one: one.name),
    "description": ("description", _read_text, lambda one: one.description),
    "price": ("unit_amount", goods.read_price, _written_price),
    "tax_rate": ("tax_rate", goods.read_tax_rate, lambda one: goods.written_rate(one.tax_rate)),
    "stock": ("stock", goods.read_stock, lambda one: "" if one.stock is None else str(one.stock)),
    "active": ("active", _read_switch, lambda one: "yes" if one.active else "no"),
    "needs_shipping": (
        "needs_shipping", _read_switch, lambda one: "yes" if one.needs_shipping else "no",
    ),
}  # fmt: skip
OF_VARIANTS = ("price", "stock", "active")
COLUMNS = ("slug", *FIELDS, "variant", "picture")


def lines() -> Iterator[str]:
    """Yield all goods as CSV, hidden ones too, in the owner's order, variants under them."""
    yield BOM + line(COLUMNS)
    after: int | None = None
    while True:
        page = goods.page(after=after)
        for product in page.products:
            shown = [written(product) for _own, _read, written in FIELDS.values()]
            names = BETWEEN_PICTURES.join(f"{one.hash}.jpg" for one in product.pictures)
            yield line((product.slug or "", *shown, "", names))
            for one in product.all_variants:
                own = (FIELDS[name][2](one) if name in OF_VARIANTS else "" for name in FIELDS)
                yield line((product.slug or "", *own, one.name, ""))
        after = page.next_after
        end_read()
        if after is None:
            return


def picture_files() -> Iterator[tuple[str, bytes]]:
    """Yield the pictures of all goods as JPEG, by the names that the table has for them."""
    hashes = db.session.scalars(select(Picture.hash).distinct().order_by(Picture.hash)).all()
    for one in hashes:
        name = f"{one}-{PICTURE_WIDTHS[-1]}.jpg"
        data = db.session.scalar(select(PictureFile.data).where(PictureFile.name == name))
        end_read()
        if data is not None:  # the picture may have been taken off meanwhile
            yield f"pictures/{one}.jpg", data


@dataclass(frozen=True)
class Sheet:
    """A table that was read: its rows by number of line, and the columns that nobody knows."""

    rows: list[tuple[int, dict[str, str]]]
    ignored: list[str]
    archive: Archive


def read(file: IO[bytes]) -> Sheet:
    """Return the table in a file: CSV, or a zip with one and its pictures. Raises BadSheet."""
    archive = Archive(file)
    try:
        found = list(rows(archive.table))
    except ValueError as error:
        said = _("This is no table that the shop can read (%(why)s).", why=error)
        raise BadSheet(said) from error
    header = found.pop(0)[1] if found else []
    if len(found) > MOST_ROWS:
        raise BadSheet(_("A table has %(most)s lines at most.", most=MOST_ROWS))
    names = [heading(one) for one in header]
    known = [ALIASES.get(one, one.replace(" ", "_")) for one in names]
    if not {"name", "slug"} & set(known):
        raise BadSheet(
            _("The first line names no column that the shop knows, such as name and price.")
        )
    taken = []
    for number, cells in found:
        row: dict[str, str] = {}
        for raw, name, cell in zip(names, known, cells, strict=False):
            if name in COLUMNS and not row.get(name):
                row[name] = _plain(cell) if raw == "body (html)" else cell.strip()
        if any(row.values()):
            taken.append((number, row))
    ignored = [one for one, name in zip(header, known, strict=True) if name not in COLUMNS]
    return Sheet(taken, [one for one in ignored if one.strip()], archive)


def _plain(text: str) -> str:
    """Return HTML as plain text."""
    broken = re.sub(r"(?i)<br\s*/?>|</(p|div|li|h\d)>", "\n", text)
    return html.unescape(re.sub(r"<[^>]*>", "", broken)).strip()
