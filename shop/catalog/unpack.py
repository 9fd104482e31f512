"""A table that somebody sends, alone or in a zip with pictures; nothing is fetched or unpacked."""

import os
import re
import secrets
import unicodedata
import zlib
from contextlib import suppress
from pathlib import Path, PurePosixPath
from shutil import copyfileobj
from time import time
from typing import IO
from zipfile import BadZipFile, ZipFile, ZipInfo

from flask import current_app
from flask_babel import gettext as _

from shop.catalog import pictures
from shop.errors import ShopError
from shop.spreadsheet import ENCODINGS

MOST_TABLE = 16 * 1024 * 1024
MOST_FILES = 5000
# Of all files together; and how much smaller than itself a file may be that is not a trap.
MOST_UNPACKED = 2 * 1024**3
MOST_RATIO = 200
SMALL = 1024 * 1024
# What is looked for where there are several tables, such as in the export of everything.
TABLE = "goods.csv"
# In a zip, of a file whose name is in UTF-8; all others would be in the letters of the first PC.
IS_UTF8 = 0x800
KEPT_SECONDS = 3600
KEPT_NAME = re.compile(r"[0-9a-f]{32}")


class BadSheet(ShopError):
    """The file is no table of goods."""

    status = 422
    code = "bad_sheet"


class Archive:
    """A file with a table in it, and pictures by their names. Raises BadSheet."""

    table: bytes

    def __init__(self, file: IO[bytes]) -> None:
        self._files: dict[str, ZipInfo] = {}
        start = file.read(4)
        file.seek(0)
        if start != b"PK\x03\x04":
            self.table = file.read(MOST_TABLE + 1)
            if len(self.table) > MOST_TABLE:
                raise BadSheet(_("This table is too large."))
            return
        try:
            self._zip = ZipFile(file)
        except (BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise BadSheet(_("This zip is broken. Please make it anew.")) from error
        found = [one for one in self._zip.infolist() if not one.is_dir()]
        if len(found) > MOST_FILES or sum(one.file_size for one in found) > MOST_UNPACKED:
            raise BadSheet(_("There is too much in this zip. Please make several of it."))
        self._files = {_plain(_name(one)): one for one in reversed(found)}
        # What a Mac puts beside each file.
        tables = [n for n in self._files if n.endswith(".csv") and not n.startswith("._")]
        if TABLE in tables:
            tables = [TABLE]
        if len(tables) != 1:
            raise BadSheet(
                _("A zip has one CSV table in it, and its pictures. Save an Excel file as CSV.")
            )
        self.table = self._read(self._files[tables[0]], MOST_TABLE)

    @property
    def has_files(self) -> bool:
        """Whether pictures come along."""
        return bool(self._files)

    def picture(self, name: str) -> bytes:
        """Return a picture by its name, in whatever folder it is; raise BadSheet."""
        found = self._files.get(_plain(name))
        if found is None:
            raise BadSheet(_("There is no file “%(name)s” in the zip.", name=name))
        return self._read(found, pictures.MOST_BYTES)

    def _read(self, info: ZipInfo, most: int) -> bytes:
        said = _("“%(name)s” in the zip cannot be read, or is too large.", name=info.filename)
        if info.file_size > min(most, SMALL + MOST_RATIO * info.compress_size):
            raise BadSheet(said)
        try:
            # No more comes out than the zip says.
            return self._zip.read(info)
        except (BadZipFile, OSError, EOFError, RuntimeError, zlib.error) as error:
            raise BadSheet(said) from error


def _name(info: ZipInfo) -> str:
    """Return the name of a file in a zip, which Windows in Japan writes in its own letters."""
    if not info.flag_bits & IS_UTF8:
        for encoding in ENCODINGS:
            with suppress(UnicodeError):
                return info.filename.encode("cp437").decode(encoding)
    return info.filename


def _plain(name: str) -> str:
    """Return a name without its folders; a Mac takes letters with accents apart."""
    return unicodedata.normalize("NFC", PurePosixPath(name).name).lower()


def keep(file: IO[bytes]) -> str:
    """Keep an uploaded file for an hour, until its sender has seen what it would do.

    Returns the name by which kept() finds it. Raises BadSheet.
    """
    folder, name = _folder(), secrets.token_hex(16)
    path = folder / name
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        for old in folder.iterdir():
            if old.stat().st_mtime < time() - KEPT_SECONDS:
                old.unlink()
        file.seek(0)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as copy:
            copyfileobj(file, copy)
    except OSError as error:
        with suppress(OSError):
            path.unlink()
        said = _("The shop cannot keep this file (%(why)s). Nothing was changed.")
        raise BadSheet(said % {"why": error.strerror}) from error
    return name


def kept(name: str) -> Path:
    """Return where an uploaded file is; raise BadSheet where it is no more, or on another node."""
    path = _folder() / name
    if not KEPT_NAME.fullmatch(name) or not path.is_file():
        raise BadSheet(_("The file is not here any more. Please choose it once more."))
    return path


def _folder() -> Path:
    folder: Path = current_app.config["SHOP_DATA_DIR"] / "imports"
    return folder
