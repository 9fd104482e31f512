"""The rules of SQLite: its journal, and how its transactions begin."""

import re
import sqlite3
from pathlib import Path
from time import monotonic
from typing import Any

from flask_babel import lazy_gettext as _l
from sqlalchemy import Engine, event

# File systems of this machine alone, whose memory and locks all its processes share. What is not
# known may be a network's, or another machine's through a window (virtiofs, vboxsf, 9p).
LOCAL = set("bcachefs btrfs ext2 ext3 ext4 f2fs jfs overlay ramfs tmpfs xfs zfs".split())


def init_sqlite(engine: Engine) -> None:
    """Set up what each connection is told, and each transaction."""
    journal, synchronous, _ = journal_mode(engine.url.database)

    @event.listens_for(engine, "connect")
    def connect(connection: Any, _record: Any) -> None:
        connection.execute(f"PRAGMA journal_mode = {journal}")
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def begin(connection: Any) -> None:
        # A transaction that begins by reading cannot wait for the write lock later: it just fails.
        wants_lock = connection.get_execution_options().get("write")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if wants_lock else "BEGIN")


def journal_mode(database: str | None) -> tuple[str, str, str]:
    """Return the journal mode, its `synchronous`, and the reason in words.

    WAL is quick, but some versions can lose a committed write when a checkpoint races with it
    (https://www.sqlite.org/wal.html#walresetbug), and it must not be used over a network.
    """
    version, own = sqlite3.sqlite_version_info, sqlite3.sqlite_version
    mended = version >= (3, 51, 3) or any(
        version[:2] == line and version[2] >= patch for line, patch in (((3, 44), 6), ((3, 50), 7))
    )
    if not mended:
        return "DELETE", "EXTRA", _l("SQLite %(version)s has the WAL-reset bug", version=own)
    kind = "memory"
    if database not in (None, "", ":memory:"):
        kind = _file_system(Path(database.removeprefix("file:")))
        if kind not in LOCAL:
            reason = _l("the file system (%(kind)s) is not known to be a local disk", kind=kind)
            return "DELETE", "EXTRA", reason
    reason = _l("SQLite %(version)s on a local disk (%(kind)s)", version=own, kind=kind)
    return "WAL", "FULL", reason


def damage(engine: Engine, seconds: float) -> str:
    """Return what is damaged in the file, empty where nothing is.

    Raises TimeoutError where so many seconds are too few to read all of it.
    """
    until = monotonic() + seconds
    connection = engine.raw_connection()
    file: Any = connection.driver_connection
    try:
        file.set_progress_handler(lambda: monotonic() > until, 10_000)
        said = file.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_INTERRUPT:
            raise TimeoutError from error
        said = str(error)
    finally:
        file.set_progress_handler(None, 0)
        connection.close()
    return "" if said == "ok" else str(said)


def _file_system(path: Path) -> str:
    """Return the kind of file system that `path` is on, `unknown` where the machine tells none.

    https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html
    """
    kind, longest = "unknown", -1
    try:
        mounts = Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape")
        path = path.resolve()
    except (OSError, RuntimeError):  # a circle of links
        return kind
    for line in mounts.splitlines():
        left, _, right = line.partition(" - ")
        fields = left.split(" ")
        if len(fields) < 5 or not right:
            continue
        # A space, tab, newline or backslash in a name is written as an octal number.
        point = re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), fields[4])
        # Of two at one place the later one hides the earlier.
        if path.is_relative_to(point) and len(point) >= longest:
            kind, longest = right.split(" ")[0], len(point)
    return kind
