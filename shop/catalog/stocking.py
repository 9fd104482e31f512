"""Goods put on the shelf from a table: all of its rows, or none."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import PurePosixPath
from typing import Any

from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from flask_babel import ngettext

from shop.catalog import goods, pictures
from shop.catalog.models import Product
from shop.catalog.pictures import Made
from shop.catalog.sheet import BETWEEN_PICTURES, FIELDS, OF_VARIANTS, Sheet
from shop.catalog.unpack import BadSheet
from shop.db import db, end_read, write
from shop.errors import ShopError

SLUG = re.compile(r"[a-z0-9][a-z0-9._-]{0,79}")
# What Shopify calls the one variant of a product without variants.
NO_VARIANT = "default title"
# An empty cell says something there; elsewhere it leaves what is stored.
MAY_BE_EMPTY = ("description", "stock")


class BadRows(BadSheet):
    """Rows cannot be taken; `lines` has each one's number and what is wrong."""

    code = "bad_rows"
    message = _l("Nothing was changed, because these lines cannot be taken:")

    def __init__(self, lines: list[tuple[int, str]]) -> None:
        super().__init__()
        self.lines = lines


class _Rehearsed(Exception):
    """All rows were taken, and are to be forgotten again."""

    def __init__(self, shelf: "_Shelf") -> None:
        self.shelf = shelf


@dataclass(frozen=True)
class Step:
    """What becomes of a row: `what` is `added`, `changed` or `same`."""

    line: int
    title: str
    what: str
    changes: str = ""


def summary(steps: list[Step]) -> str:
    """Return how much a table does: “2 added, 1 changed, 7 the same”."""
    found = [step.what for step in steps]
    added, changed, same = (found.count(what) for what in ("added", "changed", "same"))
    return ", ".join(
        (
            ngettext("%(num)d added", "%(num)d added", added),
            ngettext("%(num)d changed", "%(num)d changed", changed),
            ngettext("%(num)d the same", "%(num)d the same", same),
        )
    )


def take(sheet: Sheet, record: Callable[[str], None]) -> list[Step]:
    """Put the goods of a table on the shelf, all in one write(), and return what that did.

    A product that is there, by its slug or else its name, is changed in the columns that the table
    has; what the table does not have stays. `record` writes down in words that it was done. Raises
    BadRows.
    """
    end_read()
    hashes = _hashes(sheet)
    wanted = _rehearsed(sheet, hashes).wanted
    # Making a picture takes a second, so what was made is kept at once: who tries again after the
    # host has ended this goes on from there.
    made = {name: _made(sheet, name, *where) for name, where in wanted.items()}

    def unit() -> list[Step]:
        steps = _put(sheet, hashes, made).steps
        record(summary(steps))
        return steps

    return write(unit)


def rehearse(sheet: Sheet) -> list[Step]:
    """Return what take() would do, and do nothing; raises BadRows."""
    end_read()
    return _rehearsed(sheet, _hashes(sheet)).steps


def _rehearsed(sheet: Sheet, hashes: "Hashes") -> "_Shelf":
    def unit() -> None:
        raise _Rehearsed(_put(sheet, hashes, {}))

    try:
        write(unit)
    except _Rehearsed as rehearsed:
        return rehearsed.shelf
    raise AssertionError("unreachable")


def _put(sheet: Sheet, hashes: "Hashes", made: Mapping[str, Made]) -> "_Shelf":
    """Take every row, inside write(); raise BadRows."""
    shelf = _Shelf(sheet, hashes, made)
    wrong = []
    for number, row in sheet.rows:
        try:
            shelf.take(number, row)
        except ShopError as error:
            wrong.append((number, error.message))
    if wrong:
        raise BadRows(wrong)
    return shelf


# Of each picture that the table names: what it is known by, or why it cannot be read.
Hashes = dict[str, str | BadSheet]


def _hashes(sheet: Sheet) -> Hashes:
    found: Hashes = {}
    for name in (name for _line, row in sheet.rows for name in _names(sheet, row)):
        if name not in found:
            try:
                found[name] = pictures.name_of(sheet.archive.picture(name))
            except BadSheet as error:
                found[name] = error
    return found


def _names(sheet: Sheet, row: Mapping[str, str]) -> list[str]:
    """Return the pictures that a row names; without a zip they stay as they are."""
    named = row.get("picture", "").split(BETWEEN_PICTURES) if sheet.archive.has_files else ()
    return [name.strip() for name in named if name.strip()]


def _made(sheet: Sheet, known_by: str, number: int, name: str) -> Made:
    """Return a picture whose files are kept; raise BadRows."""
    there = pictures.kept(known_by)
    end_read()
    if there:
        return there
    try:
        made = pictures.make(BytesIO(sheet.archive.picture(name)))
    except ShopError as error:
        raise BadRows([(number, f"{name}: {error.message}")]) from error
    write(lambda: pictures.keep(made))
    return replace(made, files={})


class _Shelf:
    """The goods while the rows of a table are taken, inside write()."""

    def __init__(self, sheet: Sheet, hashes: Hashes, made: Mapping[str, Made]) -> None:
        self._sheet, self._hashes, self._made = sheet, hashes, made
        there = goods.list_all()
        self._by_slug = {one.slug: one for one in there}
        self._by_name = {one.name.casefold(): one for one in reversed(there)}
        # By what its rows call it: the line of a product, None where that could not be taken.
        self._seen: dict[str, tuple[int, Product | None]] = {}
        self.steps: list[Step] = []
        # By what it is known by: the line and the name of a picture that is not made yet.
        self.wanted: dict[str, tuple[int, str]] = {}

    def take(self, number: int, row: Mapping[str, str]) -> None:
        """Take a row: a product, a variant of one above it, or both, as Shopify has it."""
        name, variant = row.get("name", ""), row.get("variant", "")
        variant = "" if variant.casefold() == NO_VARIANT else variant
        called = row.get("slug") or name
        line, product = self._seen.get(called, (0, None))
        if line and not product:
            return
        if line and not variant:
            if not name:  # Shopify's further pictures
                return
            raise goods.BadValue(_("Line %(line)s has the same product.", line=line))
        if not line:
            self._seen[called] = number, None
            product = self._find(row.get("slug", ""), name)
            if name or not variant:
                product = self._take_product(number, row, product, bool(variant))
            if product is None:
                raise goods.BadValue(
                    _("There is no product “%(name)s” above this line or on the shelf.",
                      name=called)
                )  # fmt: skip
            self._seen[called] = number, product
        if variant and product:
            self._take_variant(number, row, product, variant)

    def _find(self, slug: str, name: str) -> Product | None:
        if slug in self._by_slug:
            return self._by_slug[slug]
        if slug.isascii() and slug and not SLUG.fullmatch(slug):
            raise goods.BadValue(
                _("slug: Please write it in small letters, figures and hyphens, like blue-mug.")
            )
        # Handles in other letters are no addresses here.
        return None if slug.isascii() and slug else self._by_name.get(name.casefold())

    def _take_product(
        self, number: int, row: Mapping[str, str], product: Product | None, has_variant: bool
    ) -> Product:
        values = _values(row, [one for one in FIELDS if one != "stock" or not has_variant])
        if product is None:
            if not {"name", "price"} <= values.keys():
                raise goods.BadValue(_("A new product needs a name and a price."))
            slug = row.get("slug", "")
            address = {"slug": slug} if slug and slug.isascii() else {}
            product = goods.add(_columns(values) | address)
            self._by_slug[product.slug] = self._by_name[product.name.casefold()] = product
            self.steps.append(Step(number, product.name, "added"))
            self._take_pictures(number, row, product)
            return product
        if has_variant:  # the price is the variant's own
            values.pop("price", None)
        self._change(number, product, values, self._take_pictures(number, row, product))
        return product

    def _take_variant(
        self, number: int, row: Mapping[str, str], product: Product, name: str
    ) -> None:
        values = _values(row, OF_VARIANTS)
        if row.get("price") == "":
            values["price"] = None
        there = {one.name.casefold(): one for one in product.all_variants}
        if name.casefold() in there:
            self._change(number, there[name.casefold()], values, 0)
            return
        variant = goods.add_variant(product, _columns(values) | {"name": FIELDS["name"][1](name)})
        db.session.expire(product, ["all_variants"])
        self.steps.append(Step(number, variant.title, "added"))

    def _take_pictures(self, number: int, row: Mapping[str, str], product: Product) -> int:
        """Hang the pictures of a row that the product does not have; return how many."""
        there = {one.hash for one in product.pictures}
        before = len(there)
        for name in _names(self._sheet, row):
            known_by = self._hashes[name]
            if PurePosixPath(name).stem in there:  # as it was exported
                continue
            if isinstance(known_by, BadSheet):
                raise known_by
            if known_by in there:
                continue
            there.add(known_by)
            if len(there) > pictures.MOST_PICTURES:
                raise pictures.TooManyPictures
            self.wanted[known_by] = number, name
            if known_by in self._made:
                pictures.add(product, self._made[known_by], "")
        return len(there) - before

    def _change(
        self, number: int, product: Product, values: Mapping[str, Any], new_pictures: int
    ) -> None:
        changed = {
            column: value
            for column, value in values.items()
            if getattr(product, FIELDS[column][0]) != value
        }
        before = {column: FIELDS[column][2](product) or "–" for column in changed}
        title = product.title
        if changed:
            goods.change(product, product.version, _columns(changed))
        said = [
            column if column == "description"
            else f"{column} {was} → {FIELDS[column][2](product) or '–'}"
            for column, was in before.items()
        ]  # fmt: skip
        said += [f"picture +{new_pictures}"] if new_pictures else []
        what = "changed" if said else "same"
        self.steps.append(Step(number, title, what, ", ".join(said)))


def _values(row: Mapping[str, str], columns: Any) -> dict[str, Any]:
    """Return what a row says in these columns; raise BadValue, which names the column."""
    found = {}
    for column in columns:
        raw = row.get(column)
        if raw or (raw == "" and column in MAY_BE_EMPTY):
            try:
                found[column] = FIELDS[column][1](raw)
            except goods.BadValue as error:
                raise goods.BadValue(f"{column}: {error.message}") from error
    return found


def _columns(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values by the names that a product has for them."""
    return {FIELDS[column][0]: value for column, value in values.items()}
