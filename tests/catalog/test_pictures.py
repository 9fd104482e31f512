"""Pictures: what is taken in, what it becomes, and who is refused."""

import re
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from PIL import Image, ImageCms
from sqlalchemy import select

from shop.catalog import goods, pictures
from shop.catalog.pictures import BadPicture, make
from shop.db import db, write
from shop.mail.outbox import Mail
from shop.payments.models import Attempt
from tests.actors import Browser, Buyer
from tests.databases import on_all

ROOT = Path(__file__).parents[2]


def drawn(width: int = 900, height: int = 1200, kind: str = "JPEG", **more: Any) -> bytes:
    """Return a picture that is red above and blue below."""
    mode = more.pop("mode", "RGB")
    picture = Image.new("RGB", (width, height), "red")
    picture.paste("blue", (0, height // 2, width, height))
    into = BytesIO()
    picture.convert(mode).save(into, kind, **more)
    return into.getvalue()


def opened(made: pictures.Made, width: int, kind: str) -> Image.Image:
    return Image.open(BytesIO(made.files[f"{made.hash}-{width}.{kind}"]))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
def test_a_picture_comes_in_three_sizes_of_two_kinds(kind: str) -> None:
    made = make(BytesIO(drawn(2000, 2500, kind)))
    assert len(made.files) == 6
    for width in (320, 800, 1600):
        for ending, format_ in (("webp", "WEBP"), ("jpg", "JPEG")):
            with opened(made, width, ending) as found:
                assert (found.format, found.width) == (format_, width)
                assert found.height == round(width * 2500 / 2000)


def test_a_small_picture_is_not_made_larger() -> None:
    made = make(BytesIO(drawn(500, 400)))
    assert opened(made, 1600, "jpg").size == (500, 400)
    assert (made.width, made.height) == (500, 400)


def test_a_picture_is_turned_upright_and_says_nothing_of_its_camera() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # held on its side
    exif[0x010F] = "Camera of Hana"
    exif.get_ifd(0x8825)[1] = "N"
    made = make(BytesIO(drawn(1200, 900, exif=exif)))
    for kind in ("jpg", "webp"):
        with opened(made, 800, kind) as found:
            assert found.size == (800, 1067)
            assert not found.getexif()
            left, right = found.getpixel((100, 500)), found.getpixel((700, 500))
            assert isinstance(left, tuple)
            assert isinstance(right, tuple)
            assert left[2] > 200 > right[2]
    assert b"Hana" not in b"".join(made.files.values())


def test_what_is_transparent_is_white() -> None:
    picture = Image.new("RGBA", (400, 400), (0, 0, 0, 0))
    into = BytesIO()
    picture.save(into, "PNG")
    assert opened(make(BytesIO(into.getvalue())), 320, "jpg").getpixel((9, 9)) == (255, 255, 255)


@pytest.mark.parametrize("mode", ["CMYK", "L"])
def test_other_colours_become_those_of_screens(mode: str) -> None:
    assert opened(make(BytesIO(drawn(mode=mode))), 320, "jpg").mode == "RGB"


def test_greys_of_sixteen_bits_are_not_all_white() -> None:
    picture = Image.frombytes("I;16", (256, 256), struct.pack("<256H", *range(0, 65536, 256)) * 256)
    into = BytesIO()
    picture.save(into, "PNG")
    made = opened(make(BytesIO(into.getvalue())), 320, "jpg").convert("L")
    greys = [made.getpixel((x, 128)) for x in (0, 128, 255)]
    assert all(abs(found - x) < 4 for found, x in zip(greys, (0, 128, 255), strict=True))  # type: ignore[operator]


def test_what_is_opened_takes_little_memory() -> None:
    """A shop's host has 512 MB for everything."""
    program = (
        "import sys; from io import BytesIO; from shop.catalog.pictures import make;"
        "make(BytesIO(sys.stdin.buffer.read()));"
        # The most of this program alone; what getrusage() says begins with its parent's.
        "print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"
    )
    for data in (
        drawn(4400, 4500, "PNG", mode="RGBA"),
        drawn(6900, 7200),
        drawn(3100, 3200, "WEBP"),
    ):
        answer = subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT, input=data, capture_output=True, check=True,
        )  # fmt: skip
        assert int(answer.stdout) < 300 * 1024


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_broken_notes_of_a_camera_cost_nothing() -> None:
    for exif in (b"Exif\0\0II*\0" + b"\xff" * 90, b"Exif\0\0", b"Exif\0\0MM\0*\0\0\0\x08\0\x09"):
        assert make(BytesIO(drawn(exif=exif))).width == 900


def test_a_broken_colour_profile_is_left_out() -> None:
    good = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile in (good, b"no profile", good[:90]):
        assert make(BytesIO(drawn(icc_profile=profile))).width == 900
        see_through = drawn(kind="PNG", mode="RGBA", icc_profile=profile)
        assert make(BytesIO(see_through)).width == 900


def bomb(width: int, height: int) -> bytes:
    """Return a small PNG that says it is that large."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


LIES = {
    "nothing": b"",
    "text": b"hello",
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
    "html": b"<!doctype html><img src=x onerror=alert(1)>",
    "html behind a GIF's first bytes": b"GIF89a<html><script>alert(1)</script>",
    "heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 200,
    "tiff": drawn(kind="TIFF"),
    "bmp": drawn(kind="BMP"),
    "pdf": b"%PDF-1.7\n" + b"0" * 500,
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    "cut off": drawn()[:4000],
    "cut off png": drawn(kind="PNG")[:-200],
    "noise in the middle": drawn(kind="PNG")[:60] + b"\xff" * 300,
    "avif": b"\0\0\0\x1cftypavif\0\0\0\0mif1avif" + b"\0" * 200,
    "20 000 pixels wide": bomb(20_000, 20_000),
    "a wide webp": drawn(4000, 3000, "WEBP"),
    "a bomb": bomb(65_500, 65_500),
    "a line": drawn(2000, 9),
    "no pixels": bomb(0, 0),
}


@pytest.mark.parametrize("name", list(LIES))
def test_what_is_no_picture_is_refused(name: str) -> None:
    with pytest.raises(BadPicture):
        make(BytesIO(LIES[name]))


@pytest.mark.parametrize("name", ["heic", "avif"])
def test_what_phones_alone_can_show_is_refused_with_a_way_out(name: str) -> None:
    with pytest.raises(pictures.PhonesOwnKind, match="Most Compatible"):
        make(BytesIO(LIES[name]))


def test_a_jpeg_that_says_it_has_64_million_pixels_is_not_opened() -> None:
    data = drawn(80, 80)
    size = data.index(b"\xff\xc0") + 5
    with pytest.raises(pictures.PictureTooLarge):
        make(BytesIO(data[:size] + struct.pack(">HH", 8000, 8000) + data[size + 4 :]))


def test_a_file_beyond_the_limit_is_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "MOST_BYTES", 1000)
    with pytest.raises(pictures.PictureTooLarge):
        make(BytesIO(drawn()))


def test_a_page_behind_a_picture_is_not_served() -> None:
    polyglot = drawn() + b"<script>alert(1)</script>"
    made = make(BytesIO(polyglot))
    assert b"<script" not in b"".join(made.files.values())


@pytest.fixture
def hang(app: Flask) -> Callable[..., pictures.Made]:
    """Return a function that puts a picture on a product."""

    def hang(product_id: int, alt: str = "Red and blue", **shape: int) -> pictures.Made:
        made = make(BytesIO(drawn(**shape)))
        with app.app_context():
            write(lambda: pictures.add(goods.get(product_id), made, alt))
        return made

    return hang


@on_all
def test_a_picture_is_shown_wherever_its_product_is(
    app: Flask, hang: Callable[..., pictures.Made]
) -> None:
    made = hang(1)
    buyer = Buyer(app)
    buyer.submit("/cart/items", {"product_id": 1, "quantity": 1})
    token = buyer.buy()
    for page in ("/", "/shop/", "/shop/t-shirt", f"/orders/{token}"):
        assert made.hash in buyer.get(page).text, page
    buyer.submit("/cart/items", {"product_id": 1, "quantity": 1})
    assert made.hash in buyer.get("/cart").text
    assert 'alt="Red and blue"' in buyer.get("/shop/t-shirt").text
    files = set(re.findall(r"/pictures/[\w-]+\.\w+", buyer.get("/shop/t-shirt").text))
    assert len(files) >= 4
    with app.test_client() as client:
        for file in files:
            answer = client.get(file)
            assert answer.status_code == 200
            assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
            assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
            assert "Set-Cookie" not in answer.headers
            assert "Cookie" not in answer.headers.get("Vary", "")
            kind = "image/webp" if file.endswith("webp") else "image/jpeg"
            assert answer.mimetype == kind
            assert answer.data == made.files[file.removeprefix("/pictures/")]


@pytest.mark.parametrize("name", ["x", "x.jpg", "%00.jpg", "a" * 300 + ".webp", "..%2fshop.jpg"])
def test_there_is_no_other_picture(browser: Browser, name: str) -> None:
    assert browser.get(f"/pictures/{name}").status == 404


def test_the_same_picture_twice_is_one(app: Flask, hang: Callable[..., pictures.Made]) -> None:
    hang(1)
    hang(1)
    with app.app_context():
        assert len(goods.get(1).pictures) == 1


def test_files_go_with_the_last_picture_that_has_them(
    app: Flask, hang: Callable[..., pictures.Made]
) -> None:
    made = hang(1)
    hang(2)
    path = f"/pictures/{made.hash}-320.jpg"
    for product_id, status in ((1, 200), (2, 404)):
        with app.app_context():
            write(lambda: pictures.remove(goods.get(product_id).pictures[0]))  # noqa: B023
            db.session.rollback()
        assert app.test_client().get(path).status_code == status


def test_stripe_and_mails_are_told_of_public_pictures_alone(
    app: Flask, make_app: Callable[..., Flask], hang: Callable[..., pictures.Made]
) -> None:
    made = hang(1)
    address = "https://shop.example"
    for base, shown in (("http://127.0.0.1:5000", False), (address, True)):
        here = make_app(SHOP_PUBLIC_URL=address, SHOP_SANDBOX="on") if shown else app
        buyer = Buyer(here, base)
        order = buyer.order()
        with here.app_context():
            asked = db.session.scalars(select(Attempt.params).order_by(Attempt.id)).all()
            image = f"{address}/pictures/{made.hash}-800.jpg"
            assert (image in asked[-1]) == shown
        buyer.get(buyer.pay(order["url"]).location)
        token = order["order"]
        with here.app_context():
            mails = db.session.query(Mail).all()
            said = [mail.context for mail in mails if token in mail.context]
            assert said
            assert all((f"{address}/pictures/{made.hash}-320.jpg" in one) == shown for one in said)
