"""The database's schema: the revision that the code needs, and the upgrade to it."""

import os
import threading
from contextlib import suppress
from pathlib import Path

from flask import Flask, current_app, request
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from sqlalchemy import Engine, inspect, text

from shop.db import WrongEncoding, changed_rows, check_encoding, db, end_read, write
from shop.errors import ShopError, page, same_address

DIRECTORY = Path(__file__).parent
# Locks of MySQL and MariaDB belong to the whole server, and their names have 64 characters at most.
LOCK_NAME = "SHA1(CONCAT('shop ', DATABASE()))"
AWAITED_SECONDS = 20
UNCHECKED = ("healthz", "static", "bootstrap.static")
# Alembic keeps its state in a module. Between processes the database's own lock decides.
_one_thread = threading.Lock()


class WrongSchema(ShopError):
    """The database has no tables yet, or those of another version of the shop."""

    status = 503
    code = "schema"
    message = _l("The database has no tables yet. Run flask shop init.")


class OldSchema(WrongSchema):
    """The database waits for its upgrade."""

    message = _l("Make a copy of the database, then run flask shop init.")


class NewSchema(WrongSchema):
    """Another version of the shop has upgraded the database."""

    message = _l(
        "The database is newer than this version of the shop. Install the newer version again; "
        "nothing was changed."
    )


def init_schema(app: Flask) -> None:
    """Check the schema before the first request that needs it, once per process."""
    app.before_request(_ensure_schema)
    if os.environ.get("FLASK_RUN_FROM_CLI"):
        _load_flask_migrate(app)  # for `flask db …`; web workers never load Alembic


def revisions() -> list[str]:
    """Return every revision that this code knows, the oldest first."""
    return sorted(path.stem[:4] for path in (DIRECTORY / "versions").glob("[0-9]*.py"))


def head() -> str:
    """Return the revision that the code needs."""
    return revisions()[-1]


def revision() -> str | None:
    """Return the revision of the database; None if the shop has no tables there."""
    if not inspect(db.engine).has_table("alembic_version"):
        return None
    with db.engine.connect() as connection:
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def is_old() -> bool:
    """Tell whether the database has the tables of an older revision."""
    _make_data_folder()
    found = revision()
    return found is not None and found < head()


def check() -> None:
    """Raise WrongSchema, or WrongEncoding, unless the database fits this code."""
    _make_data_folder()
    check_encoding()
    found = revision()
    if found is None:
        raise WrongSchema
    if found != head():
        raise NewSchema if found > head() else OldSchema


def upgrade() -> None:
    """Upgrade the database to the newest schema. Safe to repeat, one process at a time.

    Raises NewSchema and WrongEncoding.
    """
    from alembic import command
    from alembic.util import CommandError

    end_read()
    app = current_app._get_current_object()  # type: ignore[attr-defined]
    _load_flask_migrate(app)
    _make_data_folder()
    check_encoding()
    try:
        with _one_thread:
            command.upgrade(app.extensions["migrate"].migrate.get_config(), "head")
    except CommandError as error:
        if (revision() or "") > head():
            raise NewSchema from error
        raise
    # Where nothing was left to upgrade, nobody knows yet whether the shop may write.
    write(lambda: changed_rows(text("UPDATE alembic_version SET version_num = version_num")))


def upgrade_other(engine: Engine, step: str) -> None:
    """Bring another database, such as one in which a backup is unpacked, to a revision."""
    from alembic import command

    app = current_app._get_current_object()  # type: ignore[attr-defined]
    _load_flask_migrate(app)
    config = app.extensions["migrate"].migrate.get_config()
    config.attributes["engine"] = engine
    with _one_thread:
        command.upgrade(config, step)


def _make_data_folder() -> None:
    """Make the folder of SQLite's file: SQLite makes only the file."""
    # SQLite itself reports a folder that cannot be made.
    with suppress(OSError):
        current_app.config["SHOP_DATA_DIR"].mkdir(parents=True, exist_ok=True)


def _load_flask_migrate(app: Flask) -> None:
    from flask_migrate import Migrate

    if "migrate" not in app.extensions:
        Migrate(app, db, directory=str(DIRECTORY))


def _is_ours_to_fill() -> bool:
    """Tell whether the database is empty, or was empty before an upgrade that has not ended yet.

    MariaDB shows the tables of an upgrade one by one, the version table first.
    """
    tables = inspect(db.engine).get_table_names()
    return not tables or "alembic_version" in tables


def _await_upgrade() -> None:
    """Wait for the upgrade that another process may be in: MariaDB shows it step by step."""
    if db.engine.dialect.name == "mysql":
        with db.engine.connect() as connection:
            connection.exec_driver_sql(f"SELECT GET_LOCK({LOCK_NAME}, {AWAITED_SECONDS})")
            connection.exec_driver_sql(f"SELECT RELEASE_LOCK({LOCK_NAME})")


def _ensure_schema() -> ResponseReturnValue | None:
    """Create the schema in an empty database; answer 503 until the owner upgrades an old one."""
    if current_app.extensions.get("schema_is_current") or request.endpoint in UNCHECKED:
        return None
    _make_data_folder()
    try:
        found = revision()
        if found is None and _is_ours_to_fill():
            upgrade()
        elif found is not None and found < head():
            _await_upgrade()
        check()
    except (WrongSchema, WrongEncoding) as error:
        words = _("Please come back later. (For the owner: %(what)s)", what=error.message)
        title = _("The shop is not ready yet")
        return page(error.status, error.code, title, words, resend_to=same_address())
    current_app.extensions["schema_is_current"] = True
    return None
