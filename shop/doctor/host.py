"""What the shop runs on, looked over: Python, packages, its folders, the database.

Each check returns a Finding, or None where there is nothing to look at.
"""

import os
import re
import shutil
import sys
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryFile

from flask import current_app
from flask_babel import gettext as _
from sqlalchemy.exc import SQLAlchemyError

from shop import db, migrations, sqlite
from shop.config import ROOT
from shop.i18n import format_day

# https://devguide.python.org/versions/
PYTHON_ENDS = {
    (3, 11): date(2027, 10, 31),
    (3, 12): date(2028, 10, 31),
    (3, 13): date(2029, 10, 31),
    (3, 14): date(2030, 10, 31),
}
SOON = timedelta(days=183)
OLD = timedelta(days=365)
PIN = re.compile(r"^([\w.-]+)==([^\s;]+)\s*\\?$", re.MULTILINE)
MEGABYTE = 1_000_000
SCARCE, FULL = 200 * MEGABYTE, 50 * MEGABYTE
WEB_ROOTS = {"public_html", "htdocs", "www", "static"}
EXAMPLE = re.compile("change|example|secret|your", re.IGNORECASE)
READ_SECONDS = 2.0
KINDS = {"sqlite": "SQLite", "postgresql": "PostgreSQL", "mysql": "MySQL"}


@dataclass(frozen=True)
class Finding:
    """What a check found, in the owner's words: what is, and what to do.

    `verdict` is `ok`, `look`, `broken`, or `unknown` where it could not be asked. `at` is when a
    finding was made that is kept, in seconds since 1970.
    """

    name: str
    verdict: str
    what: str
    todo: str = ""
    at: int = 0

    @property
    def moment(self) -> datetime:
        """When a kept finding was made."""
        return datetime.fromtimestamp(self.at, UTC)

    def to_dict(self) -> dict[str, str]:
        """Return the finding as programs read it."""
        return {"name": self.name, "verdict": self.verdict, "what": self.what, "todo": self.todo}


def python() -> Finding:
    """Tell whether this Python still gets security fixes."""
    version, end = sys.version.split()[0], PYTHON_ENDS.get(sys.version_info[:2])
    if end is None:
        return Finding("python", "ok", f"Python {version}")
    words = {"version": version, "day": format_day(end)}
    if datetime.now(UTC).date() < end - SOON:
        return Finding("python", "ok", _("Python %(version)s, with fixes until %(day)s.", **words))
    return Finding(
        "python", "look", _("Python %(version)s gets security fixes until %(day)s only.", **words),
        _("Choose a newer Python at your host, and install the packages again."),
    )  # fmt: skip


def packages() -> Finding:
    """Compare what is installed with requirements.txt, and tell how long ago that was."""
    from importlib.metadata import PackageNotFoundError, distribution

    file = ROOT / "requirements.txt"
    pins = dict(PIN.findall(file.read_text())) if file.exists() else dict.fromkeys(("flask",), "")
    others, installed = [], [0.0]
    for name, wanted in pins.items():
        try:
            found = distribution(name)
        except PackageNotFoundError:
            others.append(f"{name} {wanted}")
            continue
        if wanted not in ("", found.version):
            others.append(f"{name} {wanted} ({found.version})")
        marks = [part for part in found.files or () if part.name == "INSTALLER"]
        installed += [os.stat(str(mark.locate())).st_mtime for mark in marks]
    todo = _("Update the shop, then run: pip install -r requirements.txt")
    if others:
        what = _("These packages are missing, or another version: %(names)s.",
                 names=", ".join(others))  # fmt: skip
        return Finding("packages", "look", what, todo)
    newest = datetime.fromtimestamp(max(installed), UTC)
    what = _("The packages were installed on %(day)s.", day=format_day(newest.date()))
    if datetime.now(UTC) - newest > OLD:
        return Finding("packages", "look", what, todo)
    return Finding("packages", "ok", what)


def data() -> Finding:
    """Tell whether the data folder can be written, stays, and is nobody else's."""
    folder: Path = current_app.config["SHOP_DATA_DIR"]
    where = {"folder": str(folder)}
    try:
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        return Finding(
            "data", "broken",
            _("The shop cannot write into its data folder %(folder)s (%(reason)s).",
              reason=error.strerror, **where),
            _("Let the shop’s user write there, or name another folder in SHOP_DATA_DIR."),
        )  # fmt: skip
    own, file = folder.resolve(), _sqlite_file()
    move = _("Move the folder to a place of its own, and name that in SHOP_DATA_DIR.")
    if _is_forgotten() and file is not None and file.is_relative_to(folder):
        return Finding(
            "data", "broken",
            _("Your host forgets its disk with each start: all orders would be lost."),
            _("Name a folder on a persistent disk in SHOP_DATA_DIR, or a database server in "
              "DATABASE_URL."),
        )  # fmt: skip
    if sys.prefix != sys.base_prefix and own.is_relative_to(Path(sys.prefix).resolve()):
        what = _("The data is in %(folder)s, inside Python’s environment: it is gone with it.",
                 **where)  # fmt: skip
        return Finding("data", "broken", what, move)
    if WEB_ROOTS & set(own.parts):
        what = _("The data is in %(folder)s. Many web servers show such a folder to everybody.",
                 **where)  # fmt: skip
        return Finding("data", "look", what, move)
    return Finding("data", "ok", _("The data is in %(folder)s.", **where))


def disk() -> Finding:
    """Tell how much room is left for the data."""
    free = shutil.disk_usage(current_app.config["SHOP_DATA_DIR"]).free
    verdict = "broken" if free < FULL else "look" if free < SCARCE else "ok"
    what = _("%(number)s MB are free.", number=free // MEGABYTE)
    todo = _("Delete what is not needed, or rent more room: on a full disk nothing can be saved.")
    return Finding("disk", verdict, what, "" if verdict == "ok" else todo)


def secret() -> Finding:
    """Tell whether the key that signs cookies is a secret."""
    key, file = current_app.config["SECRET_KEY"], current_app.config["SHOP_DATA_DIR"] / "secret_key"
    is_file = file.exists() and file.read_text(errors="replace").strip() == key
    if EXAMPLE.search(key) or len(set(key)) < 8:
        what = _("SECRET_KEY looks like an example: who guesses it can forge the shop’s cookies.")
        todo = _("Take SECRET_KEY out of the settings: then the shop makes a good one.")
        return Finding("secret", "broken", what, todo)
    if is_file and file.stat().st_mode & 0o077:
        return _readable("secret", file)
    if is_file and _is_forgotten():
        what = _("Your host forgets its disk with each start, and the shop’s secret with it: "
                 "everybody is signed out then.")  # fmt: skip
        return Finding("secret", "look", what, _("Set SECRET_KEY to 64 random characters."))
    return Finding("secret", "ok", _("The shop’s secret is kept."))


def settings_file() -> Finding | None:
    """Tell whether others on this machine can read .env."""
    file = ROOT / ".env"
    if not file.exists():
        return None
    if file.stat().st_mode & 0o077:
        return _readable("settings_file", file)
    return Finding("settings_file", "ok", _("Only the shop’s user can read .env."))


def _readable(name: str, file: Path) -> Finding:
    what = _("Other accounts on this machine may read %(file)s.", file=str(file))
    return Finding(name, "look", what, _("Run: chmod 600 %(file)s", file=str(file)))


def database() -> Finding:
    """Tell whether the database answers, fits this version and keeps every letter."""
    try:
        migrations.check()
        found = db.facts()
    except migrations.WrongSchema as error:
        what = _("The database’s tables do not fit this version of the shop.")
        return Finding("database", "broken", what, error.message)
    except db.WrongEncoding as error:
        return Finding("database", "broken", _("The database would lose letters."), error.message)
    except SQLAlchemyError as error:
        current_app.logger.warning("database: %s", error)
        todo = _("Look at DATABASE_URL, whether the server runs, and what its user may do there.")
        return Finding("database", "broken", _("The database does not answer."), todo)
    words = found | {"kind": KINDS[db.db.engine.dialect.name], "revision": migrations.head()}
    if words["kind"] == "MySQL" and found["encoding"] != "utf8mb4":
        what = _("Some tables keep text as %(encoding)s and would lose letters.", **words)
        return Finding("database", "broken", what, _("Convert these columns to utf8mb4."))
    if words["kind"] == "MySQL" and "STRICT" not in found["sql_mode"]:
        what = _("The database cuts what is too long instead of refusing it.")
        todo = _("Take init_command out of DATABASE_URL.")
        return Finding("database", "broken", what, todo)
    what = _("%(kind)s %(version)s, text as %(encoding)s, tables of revision %(revision)s.",
             **words)  # fmt: skip
    if "journal" in found:
        what += " " + _("Journal %(journal)s: %(reason)s.", **words)
    return Finding("database", "ok", what)


def integrity() -> Finding | None:
    """Read SQLite's file through; a server looks after its own."""
    if _sqlite_file() is None:
        return None
    try:
        said = sqlite.damage(db.db.engine, READ_SECONDS)
    except TimeoutError:
        what = _("The database’s file is too large to be read through while you wait.")
        return Finding("integrity", "unknown", what, _("A backup reads all of it: make one."))
    if said:
        what = _("The database’s file is damaged: %(reason)s", reason=said)
        return Finding("integrity", "broken", what, _("Stop the shop and restore a backup."))
    return Finding("integrity", "ok", _("The database’s file is whole."))


def _sqlite_file() -> Path | None:
    """Return SQLite's file, None for a server, and for what is kept in memory alone."""
    url = db.db.engine.url
    is_file = url.get_backend_name() == "sqlite" and url.database not in (None, "", ":memory:")
    return Path(str(url.database)) if is_file else None


def _is_forgotten() -> bool:
    """Tell whether the data folder is gone with the next start: no disk of the host was named."""
    known = ("RAILWAY_", "FLY_")
    forgets = any(name in ("DYNO", "RENDER") or name.startswith(known) for name in os.environ)
    is_usual: bool = current_app.config["SHOP_DATA_DIR"] == ROOT / "instance"
    return forgets and is_usual and "SHOP_DATA_DIR" not in os.environ
