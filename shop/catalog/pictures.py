"""Pictures of goods: taken in, made upright and small, kept in the database, found by hash."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from typing import IO, TYPE_CHECKING

from flask_babel import lazy_gettext as _l
from sqlalchemy import delete, func, select

from shop.catalog.models import PICTURE_WIDTHS, Picture, PictureFile, Product
from shop.db import changed_rows, db, insert_once, is_key
from shop.errors import ShopError

if TYPE_CHECKING:
    from PIL.Image import Image

# WebP for nearly every browser, JPEG for the rest and for mails.
KINDS = {"webp": "image/webp", "jpg": "image/jpeg"}
# Read to be shown again as JPEG and WebP; of HEIC, SVG and PDF none can be read safely here.
TAKEN = ("JPEG", "PNG", "WEBP", "GIF")
# What an HEIC or AVIF begins with, behind four bytes of length: two phones' own kinds.
PHONES = (b"ftyphei", b"ftyphev", b"ftypmif1", b"ftypmsf1", b"ftypavi")
MOST_BYTES = 20 * 1024 * 1024
# Phones make 12 to 50 million. Opened they would take four bytes each, but a JPEG need not be, and
# a WebP is held several times while it is opened.
MOST_PIXELS = 50_000_000
MOST_OPENED = 20_000_000
MOST_OPENED_WEBP = 10_000_000
MOST_RATIO = 6
MOST_PICTURES = 20


class BadPicture(ShopError):
    """The file is no picture that the shop can show."""

    status = 422
    code = "bad_picture"
    message = _l(
        "This file cannot be shown as a picture. Please choose a JPEG, PNG, WebP or GIF; "
        "nothing was saved."
    )


class PictureTooLarge(BadPicture):
    """The picture has more bytes or pixels than the shop opens."""

    message = _l(
        "This picture is too large. Please choose a smaller one: at most 20 MB, and 50 million "
        "pixels in a JPEG, 10 million in a WebP, 20 million otherwise. Nothing was saved."
    )


class PhonesOwnKind(BadPicture):
    """The picture is an HEIC or AVIF."""

    message = _l(
        "This picture is an HEIC or AVIF, which not every browser shows. Please save or send it as "
        "JPEG (on an iPhone: Settings, Camera, Formats, Most Compatible); nothing was saved."
    )


class PictureTooNarrow(BadPicture):
    """The picture is a line rather than a picture."""

    message = _l(
        "This picture is more than six times as long as it is wide, or the other way round. Please "
        "cut it first; nothing was saved."
    )


class PictureMissing(ShopError):
    """The product has no such picture (any more)."""

    status = 404
    code = "no_picture"
    message = _l("This picture is gone. Nothing was changed.")


class TooManyPictures(ShopError):
    """The product has as many pictures as its page can show."""

    status = 422
    code = "too_many_pictures"
    message = _l(
        "A product has %(most)s pictures at most. Please remove one first; nothing was saved.",
        most=MOST_PICTURES,
    )


@dataclass(frozen=True)
class Made:
    """A picture that is ready to be kept: its files by name, and the pixels of the largest."""

    hash: str
    files: dict[str, bytes]
    width: int
    height: int


def make(stream: IO[bytes]) -> Made:
    """Return the files of an uploaded picture: upright, without what the camera wrote into it.

    Takes a second or two, so no transaction may be open. Raises BadPicture.
    """
    data = stream.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise PictureTooLarge
    if data[4:12].startswith(PHONES):
        raise PhonesOwnKind
    try:
        picture = _open(data)
    except ShopError:
        raise
    except MemoryError as error:
        raise PictureTooLarge from error
    except Exception as error:  # for bytes that are broken or lie decoders raise what they like
        raise BadPicture from error
    name = name_of(data)
    files = {}
    for wide in PICTURE_WIDTHS:
        small = picture.copy()
        small.thumbnail((wide, wide * MOST_RATIO))
        for kind in KINDS:
            files[f"{name}-{wide}.{kind}"] = _encoded(small, kind)
    return Made(name, files, small.width, small.height)


def name_of(data: bytes) -> str:
    """Return what the picture in an uploaded file is known by."""
    return sha256(data).hexdigest()[:32]


def _open(data: bytes) -> "Image":
    from PIL import Image

    try:
        opened = Image.open(BytesIO(data), formats=TAKEN)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PictureTooLarge from error
    with opened:
        if opened.width * opened.height > MOST_PIXELS:
            raise PictureTooLarge
        if max(opened.size) > MOST_RATIO * min(opened.size):
            raise PictureTooNarrow
        # A JPEG can be opened at a half, a quarter or an eighth of its size, for as much less.
        opened.draft(None, (PICTURE_WIDTHS[-1], PICTURE_WIDTHS[-1]))
        most = MOST_OPENED_WEBP if opened.format == "WEBP" else MOST_OPENED
        if opened.width * opened.height > most:
            raise PictureTooLarge
        small = _shrunk(opened)
    return _upright(small)


def _shrunk(opened: "Image") -> "Image":
    """Return the picture at a half, a third … of its size, still wider than the largest file.

    What follows makes copies, which would take as much memory as the picture itself.
    """
    picture: Image = opened
    if picture.mode in ("P", "PA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")  # colours of a palette cannot be mixed
    elif picture.mode.startswith("I"):  # greys of 16 bits
        picture = picture.point(lambda grey: grey / 256).convert("L")
    return picture.reduce(max(1, min(picture.size) // PICTURE_WIDTHS[-1]))


def _upright(picture: "Image") -> "Image":
    """Return the picture as it is to be seen: turned, on white, in the colours of screens."""
    from PIL import Image, ImageCms, ImageOps

    with suppress(Exception):  # what the camera wrote is broken: the picture is not
        ImageOps.exif_transpose(picture, in_place=True)
    profile = picture.info.get("icc_profile")
    if profile and picture.mode in ("RGB", "RGBA", "CMYK"):
        to = "RGBA" if picture.mode == "RGBA" else "RGB"
        try:
            given = ImageCms.ImageCmsProfile(BytesIO(profile))
            screen = ImageCms.createProfile("sRGB")
            picture = ImageCms.profileToProfile(picture, given, screen, outputMode=to) or picture
        except (ImageCms.PyCMSError, OSError):
            pass  # a broken profile: the colours are close enough without it
    if picture.mode in ("RGBA", "LA"):
        above = picture.convert("RGBA")
        picture = Image.new("RGB", above.size, "white")
        picture.paste(above, mask=above.getchannel("A"))
    return picture.convert("RGB")


def _encoded(picture: "Image", kind: str) -> bytes:
    into = BytesIO()
    if kind == "webp":
        picture.save(into, "WEBP", quality=80, method=2)
    else:
        picture.save(into, "JPEG", quality=82, optimize=True, progressive=True)
    return into.getvalue()


def add(product: Product, made: Made, alt: str) -> None:
    """Put a picture behind the others of a product, inside write(); the same one only once.

    Raises TooManyPictures.
    """
    there = {picture.hash for picture in product.pictures}
    if made.hash in there:
        return
    if len(there) >= MOST_PICTURES:
        raise TooManyPictures
    keep(made)
    last = select(func.max(Picture.position)).where(Picture.product_id == product.id)
    place = (db.session.scalar(last) or 0) + 1
    shape = {"width": made.width, "height": made.height}
    db.session.add(Picture(product_id=product.id, hash=made.hash, alt=alt, position=place, **shape))
    db.session.flush()
    db.session.expire(product, ["pictures"])


def keep(made: Made) -> None:
    """Keep the files of a picture, inside write(); no product shows them before add()."""
    for name, data in made.files.items():
        insert_once(PictureFile, name=name, data=data)


def kept(name: str) -> Made | None:
    """Return a picture whose files are kept already, None where they are not."""
    found = select(PictureFile.data).where(PictureFile.name == f"{name}-{PICTURE_WIDTHS[-1]}.jpg")
    data = db.session.scalar(found)
    if data is None:
        return None
    from PIL import Image

    with Image.open(BytesIO(data)) as opened:
        return Made(name, {}, opened.width, opened.height)


def get(product: Product, picture_id: int) -> Picture:
    """Return a picture of the product; raise PictureMissing where it has no such one (any more)."""
    for picture in product.pictures:
        if picture.id == picture_id:
            return picture
    raise PictureMissing


def move(product: Product, picture: Picture, up: bool) -> None:
    """Change the place of a picture with its neighbour's, inside write()."""
    row: Sequence[Picture] = product.pictures
    place = row.index(picture) + (-1 if up else 1)
    if 0 <= place < len(row):
        picture.position, row[place].position = row[place].position, picture.position


def remove(picture: Picture) -> None:
    """Take a picture off its product, inside write(), and its files where no other has it."""
    others = select(Picture.id).where(Picture.hash == picture.hash, Picture.id != picture.id)
    if db.session.scalar(others.limit(1)) is None:
        changed_rows(delete(PictureFile).where(PictureFile.name.startswith(f"{picture.hash}-")))
    db.session.delete(picture)


def read_file(name: str) -> tuple[bytes, str] | None:
    """Return the bytes and the kind of a file, None where there is none of this name."""
    kind = KINDS.get(name.rpartition(".")[2])
    found = select(PictureFile.data).where(PictureFile.name == name)
    data = db.session.scalar(found) if kind and is_key(name) else None
    return (data, kind) if data is not None and kind else None
