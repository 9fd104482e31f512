"""Goods as a table: out, in again, and from other shops."""

import io
import os
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from flask import Flask
from PIL import Image
from sqlalchemy import select
from werkzeug.datastructures import FileStorage
from werkzeug.test import stream_encode_multipart

from shop.catalog import pictures, stocking, unpack
from shop.catalog.models import Picture, Product
from shop.db import Base, db, write
from shop.security import BODY_LIMIT
from tests.actors import Answer, Browser
from tests.databases import on_all

ODD = '=HYPERLINK("x")\n二行目, "引用"; \t終わり\n\'@\n\'=1'


def run(app: Flask, *arguments: str) -> Result:
    return app.test_cli_runner().invoke(args=["shop", "goods", *arguments])


def shelf(app: Flask) -> list[tuple[Any, ...]]:
    """Return all rows that goods are made of."""
    with app.app_context(), db.engine.connect() as connection:
        names = ("products", "pictures")
        return [
            (name, *row)
            for name in names
            for row in connection.execute(
                select(Base.metadata.tables[name]).order_by(Base.metadata.tables[name].c.id)
            )
        ]


def good(app: Flask, slug: str) -> dict[str, Any]:
    with app.app_context():
        found = db.session.query(Product).filter_by(slug=slug).one()
        kinds = {one.name: (one.unit_amount, one.stock) for one in found.all_variants}
        names = ("name", "description", "unit_amount", "stock", "tax_rate", "active")
        return {name: getattr(found, name) for name in names} | {"kinds": kinds}


def empty_shelf() -> None:
    tables = Base.metadata.tables
    variants = tables["products"].c.parent_id.is_not(None)
    for name in ("pictures", "picture_files"):
        db.session.execute(tables[name].delete())
    db.session.execute(tables["products"].delete().where(variants))
    db.session.execute(tables["products"].delete())


def drawn(colour: str = "red") -> bytes:
    into = io.BytesIO()
    Image.new("RGB", (400, 300), colour).save(into, "PNG")
    return into.getvalue()


def zipped(files: dict[str, bytes]) -> bytes:
    into = io.BytesIO()
    with zipfile.ZipFile(into, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return into.getvalue()


@pytest.fixture
def take(app: Flask, tmp_path: Path) -> Callable[..., Result]:
    """Return a function that takes a table by command."""

    def take(data: str | bytes, *options: str, name: str = "in.csv") -> Result:
        path = tmp_path / name
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return run(app, "import", str(path), *options)

    return take


@on_all
def test_what_was_exported_changes_nothing_and_comes_whole_into_another_shop(
    app: Flask, tmp_path: Path
) -> None:
    with app.app_context():

        def unit() -> None:
            shirt = db.session.query(Product).filter_by(slug="t-shirt").one()
            shirt.name, shirt.description = "=Ｔシャツ", ODD
            shirt.active, shirt.tax_rate = False, 770
            hoodie = db.session.query(Product).filter_by(slug="hoodie").one()
            hoodie.all_variants[1].unit_amount = 6200
            hoodie.all_variants[2].active = False

        write(unit)
        for slug, colour in (("t-shirt", "red"), ("t-shirt", "blue"), ("hoodie", "red")):
            made = pictures.make(io.BytesIO(drawn(colour)))
            product = db.session.query(Product).filter_by(slug=slug).one()
            write(lambda product=product, made=made: pictures.add(product, made, "seen"))
    path = tmp_path / "goods.zip"
    assert run(app, "export", str(path)).exit_code == 0
    before = shelf(app)
    for name in (path, tmp_path / "goods.csv"):
        if name.suffix == ".csv":
            run(app, "export", str(name))
        result = run(app, "import", str(name))
        assert result.output == "0 added, 0 changed, 9 the same.\n", result.output
        assert shelf(app) == before
    wanted = [good(app, slug) for slug in ("t-shirt", "hoodie", "last-mugs")]
    with app.app_context():
        write(empty_shelf)
    result = run(app, "import", str(path))
    assert "9 added" in result.output, result.output
    assert [good(app, slug) for slug in ("t-shirt", "hoodie", "last-mugs")] == wanted
    with app.app_context():
        shirt = db.session.query(Product).filter_by(slug="t-shirt").one()
        assert len(shirt.pictures) == 2
        assert pictures.read_file(shirt.pictures[0].jpeg(320)) is not None
    assert "0 added, 0 changed, 9 the same" in run(app, "import", str(path)).output


@on_all
def test_one_wrong_row_and_nothing_is_changed(app: Flask, take: Callable[..., Result]) -> None:
    before = shelf(app)
    result = take(
        "slug,name,price,stock,active,variant\n"
        "t-shirt,T-shirt,2500,,yes,\n"
        'new-one,"two\nlines",abc,1,yes,\n'
        "new-one,,,5,yes,S\n"
        "Bad Slug,x,100,1,yes,\n"
        "mug,Mug,100,-1,yes,\n"
        "cup,Cup,100,1,perhaps,\n"
        "t-shirt,Again,100,,yes,\n"
        "nowhere,,100,,yes,M\n"
        "bowl,Bowl,,,yes,\n"
    )
    assert result.exit_code == 1
    said = dict(re.findall(r"^Line (\d+): (.*)$", result.output, re.M))
    assert list(said) == ["3", "6", "7", "8", "9", "10", "11"]
    for number, words in (
        ("3", "price: Please write the price"), ("6", "slug: "), ("7", "stock: "),
        ("8", "active: Please write yes or no"), ("9", "Line 2 has the same product"),
        ("10", "no product “nowhere”"), ("11", "needs a name and a price"),
    ):  # fmt: skip
        assert words in said[number]
    assert shelf(app) == before


def test_a_dry_run_says_what_would_be_done_and_does_nothing(
    app: Flask, take: Callable[..., Result]
) -> None:
    before = shelf(app)
    table = "slug,name,price,stock\nt-shirt,T-shirt,2500,\nblue-mug,Blue mug,900,7\n"
    dry = take(table, "--dry-run")
    assert dry.exit_code == 0, dry.output
    assert "price 2000 → 2500" in dry.output
    assert "1 added, 1 changed, 0 the same. Nothing was changed" in dry.output
    assert shelf(app) == before
    done = take(table)
    assert "1 added, 1 changed" in done.output
    assert good(app, "blue-mug")["stock"] == 7
    assert good(app, "blue-mug")["tax_rate"] == good(app, "t-shirt")["tax_rate"]
    assert good(app, "t-shirt")["unit_amount"] == 2500
    assert good(app, "t-shirt")["description"].startswith("Heavy cotton")


@pytest.mark.parametrize(
    "data",
    [
        "slug,name,price\r\nkasa,和傘 ①,3200\r\n".encode("cp932"),
        "\ufeffslug;name;price\nkasa;和傘 ①;3,200".encode(),
        "Handle\tTitle\tVariant Price\nkasa\t和傘 ①\t3200".encode("utf-16"),
        "スラッグ,商品名,価格,Slug\n,和傘 ①,３２００円,kasa\n".encode(),
    ],
)
def test_tables_of_every_spreadsheet_are_read(
    app: Flask, take: Callable[..., Result], data: bytes
) -> None:
    result = take(data)
    assert result.exit_code == 0, result.output
    assert (good(app, "kasa")["name"], good(app, "kasa")["unit_amount"]) == ("和傘 ①", 3200)


def test_tables_of_other_shops_are_understood(app: Flask, take: Callable[..., Result]) -> None:
    shopify = (
        "Handle,Title,Body (HTML),Vendor,Option1 Name,Option1 Value,Variant Inventory Qty,"
        "Variant Price,Image Src,Published\n"
        'cap,Cap,"<p>Warm &amp; red</p><ul><li>wool</li></ul>",Me,Size,S,3,1500,http://x/1.jpg,true\n'
        "cap,,,,,L,4,1800,,\n"
        "cap,,,,,,,,http://x/2.jpg,\n"
        "belt,Belt,Long,Me,Title,Default Title,9,2500,,false\n"
        "青い帯,帯,,Me,Title,Default Title,1,4000,,true\n"
    )
    first = take(shopify)
    assert first.exit_code == 0, first.output
    assert "Vendor, Option1 Name, Image Src" in first.output
    cap = good(app, "cap")
    assert cap["description"] == "Warm & red\nwool"
    assert (cap["unit_amount"], cap["stock"]) == (1500, None)
    assert cap["kinds"] == {"S": (1500, 3), "L": (1800, 4)}
    assert (good(app, "belt")["kinds"], good(app, "belt")["stock"]) == ({}, 9)
    assert not good(app, "belt")["active"]
    assert good(app, "item")["name"] == "帯"
    assert "0 added, 0 changed" in take(shopify).output
    woo = "ID,Name,Description,Stock,Regular price\n7,Tea pot,For two,2,3800\n8,Cap,,,1600\n"
    assert "1 added, 1 changed" in take(woo).output
    assert good(app, "tea-pot")["unit_amount"] == 3800
    assert good(app, "cap")["unit_amount"] == 1600
    assert "0 added, 0 changed" in take(woo).output


TABLE = b"slug,name,price,picture\nnew,New,100,a.png\n"
BAD_FILES = {
    "empty": (b"", "no column"),
    "a mark alone": (b"\xef\xbb\xbf", "no column"),
    "no header": (b"1,2,3\n4,5,6\n", "no column"),
    "a picture": (drawn(), "no "),
    "not text": (b"slug,name\n\x81", "neither UTF-8"),
    "cut": (zipped({"goods.csv": TABLE * 99})[:-30], "broken"),
    "excel": (zipped({"xl/workbook.xml": b"<x/>"}), "Excel"),
    "two tables": (zipped({"a.csv": TABLE, "b.csv": TABLE}), "one CSV table"),
    "no picture": (zipped({"goods.csv": TABLE}), "Line 2: There is no file “a.png”"),
    "broken picture": (zipped({"goods.csv": TABLE, "a.png": b"no"}), "Line 2: a.png: This file"),
    "a trap": (zipped({"goods.csv": TABLE, "a.png": b"\0" * 19_000_000}), "too large"),
    "a trap of text": (zipped({"goods.csv": b"\n" * 16_000_000}), "too large"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_file_that_is_none_is_said_and_changes_nothing(
    app: Flask, owner: Browser, take: Callable[..., Result], kind: str
) -> None:
    data, words = BAD_FILES[kind]
    before = shelf(app)
    result = take(data)
    assert (result.exit_code, words in result.output) == (1, True), result.output
    if kind != "broken picture":  # seen when it is made
        answer = send(owner, data)
        assert (answer.status, words in answer.words) == (422, True), answer.words
    assert shelf(app) == before


def test_too_much_is_refused(
    app: Flask, take: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpack, "MOST_FILES", 2)
    many = zipped({"goods.csv": TABLE} | {f"{n}.png": b"" for n in range(3)})
    assert "too much" in take(many).output
    monkeypatch.setattr("shop.catalog.sheet.MOST_ROWS", 2)
    assert "2 lines at most" in take("name,price\n" + "x,1\n" * 3).output


def send(owner: Browser, data: bytes) -> Answer:
    file = FileStorage(io.BytesIO(data), "goods.zip", "file")
    form = {"csrf_token": owner.token(), "file": file}
    # The client's own encoder leaves a file open.
    body, _length, boundary = stream_encode_multipart(form, use_tempfile=False)
    kind = f"multipart/form-data; boundary={boundary}"
    return owner.post("/owner/goods/import", body.read(), Content_Type=kind)


def test_the_owner_sees_first_what_would_happen(app: Flask, owner: Browser, tmp_path: Path) -> None:
    before = shelf(app)
    picture = drawn()
    data = zipped({
        "goods.csv": TABLE + b"hoodie,Hoodie,6000,\n", "shots/A.PNG": picture,
        "noise.bin": os.urandom(2 * BODY_LIMIT),
        "__MACOSX/._goods.csv": b"x",
    })  # fmt: skip
    seen = send(owner, data)
    assert seen.status == 200
    for words in ("1 added, 1 changed", "price 5800 → 6000", "Nothing is changed yet"):
        assert words in seen.words
    assert shelf(app) == before
    name = re.search(r'name="kept" value="(\w+)"', seen.text)
    assert name is not None
    [waiting] = (tmp_path / "imports").iterdir()
    assert waiting.stat().st_mode & 0o777 == 0o600
    done = owner.submit("/owner/goods/import", {"kept": name[1]})
    assert done.status == 303
    assert list((tmp_path / "imports").iterdir()) == []
    assert "The goods are on the shelf: 1 added, 1 changed" in owner.get("/owner/goods").words
    assert good(app, "hoodie")["unit_amount"] == 6000
    with app.app_context():
        [one] = db.session.scalars(select(Picture))
        assert one.hash == pictures.name_of(picture)
    table = owner.get("/owner/goods.csv")
    assert table.text.startswith("\ufeffslug,name,description,price,tax_rate,stock")
    assert "0 added, 0 changed, 10 the same" in send(owner, table.text.encode()).words
    assert "Took goods from a table: 1 added, 1 changed" in owner.get("/owner/account").words
    again = owner.submit("/owner/goods/import", {"kept": name[1]})
    assert (again.status, "choose it once more" in again.words) == (422, True)
    (tmp_path / "other.csv").write_bytes(b"name,price\nCup,100\n")
    for odd in ("../other.csv", str(tmp_path / "other.csv"), "x", "a" * 32, ""):
        assert owner.submit("/owner/goods/import", {"kept": odd}).status == 422


@pytest.mark.parametrize(
    ("written", "named"),
    [("傘.png".encode("cp932"), "傘.png"), ("傘.png".encode(), "傘.png"), (b"A.PNG", "a.png"),
     ("か\u3099.png".encode(), "が.png")],
)  # fmt: skip
def test_pictures_are_found_whatever_machine_made_the_zip(
    app: Flask, take: Callable[..., Result], written: bytes, named: str
) -> None:
    table = f"slug,name,price,picture\nkasa,Kasa,100,{named}\n".encode()
    placeholder = "x" * len(written)
    data = zipped({"goods.csv": table, placeholder: drawn()})
    assert take(data.replace(placeholder.encode(), written)).exit_code == 0
    with app.app_context():
        assert len(db.session.scalars(select(Picture)).all()) == 1


def test_an_import_that_was_cut_off_goes_on_with_the_pictures_that_are_made(
    app: Flask, take: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {f"{colour}.png": drawn(colour) for colour in ("red", "green", "blue")}
    rows = "".join(f"{name},{name},100,{name}.png\n" for name in ("red", "green", "blue"))
    data = zipped({"goods.csv": f"slug,name,price,picture\n{rows}".encode(), **names})
    make, calls = pictures.make, []

    def cut_off(stream: Any) -> pictures.Made:
        calls.append(stream)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return make(stream)

    monkeypatch.setattr(stocking.pictures, "make", cut_off)
    before = shelf(app)
    assert take(data).exit_code != 0
    assert shelf(app) == before
    assert take(data).exit_code == 0
    assert len(calls) == 4
    assert len(shelf(app)) == len(before) + 6


def test_strangers_import_nothing(app: Flask) -> None:
    stranger = Browser(app)
    assert send(stranger, TABLE).status == 401
    assert stranger.get("/owner/goods/import").status == 303
