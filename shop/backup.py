"""A copy of all that the shop knows, in one file that fits every database, and the way back.

A zip with a file of JSON lines for each table and a manifest with their hashes. Left out are
sessions and counted tries.
"""

import base64
import errno
import hashlib
import json
import os
import sqlite3
import struct
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, BadZipFile, ZipFile

from flask import current_app
from flask_babel import lazy_gettext as _l
from sqlalchemy import Connection, Table, create_engine, select

from shop import migrations
from shop.db import Base, db, end_read, now, write
from shop.errors import ShopError
from shop.payments.models import remember, shop_id

FORMAT = 1
MANIFEST = "manifest.json"
LEFT_OUT = ("owner_sessions", "throttles", "alembic_version")
ROWS_AT_ONCE = 500
MOST_KEPT = 7
# A zip that is cut or changed fails in as many ways as there are bytes.
DAMAGED = (
    AttributeError, BadZipFile, LookupError, TypeError, ValueError, EOFError, RuntimeError,
    struct.error, zlib.error,
)  # fmt: skip


class NotMade(ShopError):
    """The backup could not be written; the text says why."""

    status = 503
    code = "backup_not_made"
    message = _l("The backup could not be written (%(reason)s). The shop is as it was.")


class BadBackup(ShopError):
    """The file is no whole backup, or none for this version of the shop."""

    status = 422
    code = "bad_backup"
    message = _l("This file is no whole backup of a shop (%(reason)s). Nothing was changed.")


class NewerBackup(BadBackup):
    """The backup was made by a newer version of the shop."""

    message = _l(
        "This backup is of a newer version of the shop. Update the code first; nothing was changed."
    )


@dataclass(frozen=True)
class Backup:
    """A whole backup: when it was made, of which shop, and how many rows of each table it has."""

    path: Path
    made_at: datetime
    shop: str
    name: str
    revision: str
    rows: dict[str, int]

    @property
    def orders(self) -> int:
        """How many orders are in it."""
        return self.rows.get("orders", 0)


def make(path: Path | None = None, kind: str = "shop") -> Backup:
    """Write a backup, read it back, and return it; without a path into the data folder.

    Never overwrites a file. Of each kind the newest seven stay in the data folder.
    Raises NotMade.
    """
    folder = current_app.config["SHOP_DATA_DIR"] / "backups"
    moment = now().astimezone(current_app.config["SHOP_TIMEZONE"])
    names = (f"{kind}-{moment:%Y%m%d-%H%M%S}{again}.zip" for again in ("", *range(-1, -100, -1)))
    # Two of one second have two names.
    target = path or next(folder / name for name in names if not (folder / name).exists())
    end_read()
    write(shop_id)  # every backup says whose it is
    try:
        if path is None:
            folder.mkdir(mode=0o700, exist_ok=True)
        # Nobody else may read it, and nobody sees half of it.
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=".backup-")
        try:
            with os.fdopen(handle, "wb") as file:
                _write_zip(file)
            read(Path(name))
            if target.exists():
                raise FileExistsError(errno.EEXIST, "there is such a file already")
            os.replace(name, target)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(name)
        if path is None:
            for old in sorted(folder.glob(f"{kind}-????????-??????*.zip"))[:-MOST_KEPT]:
                old.unlink()
    except (OSError, sqlite3.Error) as error:
        raise NotMade(reason=getattr(error, "strerror", None) or error) from error
    remember("backup", now())
    return read(target)


def read(path: Path) -> Backup:
    """Return a backup after reading all of it; raises BadBackup for what is none, or not whole."""
    try:
        with ZipFile(path) as file:
            manifest = json.loads(file.read(MANIFEST))
            if manifest["format"] > FORMAT or manifest["revision"] > migrations.head():
                raise NewerBackup
            if manifest["revision"] not in migrations.revisions():
                raise ValueError("no such revision")
            for table, said in manifest["tables"].items():
                digest, rows = hashlib.sha256(), 0
                with file.open(member(table)) as lines:
                    for line in lines:
                        digest.update(line)
                        rows += 1
                if (digest.hexdigest(), rows) != (said["sha256"], said["rows"]):
                    raise ValueError(f"{table} is damaged")
            return Backup(
                path,
                datetime.fromisoformat(manifest["made_at"]),
                manifest["shop"],
                manifest["name"],
                manifest["revision"],
                {table: int(said["rows"]) for table, said in manifest["tables"].items()},
            )
    except OSError as error:
        raise BadBackup(reason=error.strerror or error) from error
    except DAMAGED as error:
        raise BadBackup(reason=f"{type(error).__name__}: {error}") from error


def member(table: str) -> str:
    """Return where the rows of a table are in a backup."""
    return f"tables/{table}.jsonl"


def _write_zip(target: Any) -> None:
    """Write every table as it is at one moment."""
    tables: dict[str, dict[str, Any]] = {}
    with _snapshot() as connection, ZipFile(target, "w", ZIP_DEFLATED) as file:
        for table in Base.metadata.sorted_tables:
            if table.name in LEFT_OUT:
                continue
            digest, rows = hashlib.sha256(), 0
            with file.open(member(table.name), "w", force_zip64=True) as lines:
                for row in _rows_of(connection, table):
                    line = json.dumps(row, default=_encoded).encode() + b"\n"
                    digest.update(line)
                    lines.write(line)
                    rows += 1
            tables[table.name] = {"rows": rows, "sha256": digest.hexdigest()}
        kept = Base.metadata.tables["key_values"]
        shop = connection.scalar(select(kept.c.value).where(kept.c.name == "shop"))
        manifest = {
            "format": FORMAT,
            "revision": migrations.head(),
            "made_at": now().isoformat(),
            "shop": shop or "",
            "name": current_app.config["SHOP_NAME"],
            "database": db.engine.dialect.name,
            "tables": tables,
        }
        file.writestr(MANIFEST, json.dumps(manifest, indent=1))


@contextmanager
def _snapshot() -> Iterator[Connection]:
    """Yield a connection to which nothing changes any more."""
    engine = db.engine
    if engine.dialect.name == "sqlite":
        with tempfile.TemporaryDirectory(dir=current_app.config["SHOP_DATA_DIR"]) as folder:
            copy = sqlite3.connect(f"{folder}/copy.sqlite3")
            with copy, engine.connect() as connection:
                connection.connection.driver_connection.backup(copy)  # type: ignore[union-attr]
            copy.close()
            copied = create_engine(f"sqlite:///{folder}/copy.sqlite3")
            with copied.connect() as connection:
                yield connection
            copied.dispose()
        return
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        if engine.dialect.name == "mysql":
            connection.exec_driver_sql("START TRANSACTION WITH CONSISTENT SNAPSHOT")
        yield connection
        connection.rollback()


def _rows_of(connection: Connection, table: Table) -> Iterator[dict[str, Any]]:
    """Yield the rows of a table, a few at a time in memory."""
    ordered = select(table).order_by(*table.primary_key.columns)
    options = {"stream_results": True, "yield_per": ROWS_AT_ONCE}
    for row in connection.execute(ordered, execution_options=options).mappings():
        yield dict(row)


def _encoded(value: Any) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None).isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise TypeError(f"no JSON: {type(value)}")
