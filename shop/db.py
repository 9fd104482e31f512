"""The database: what all tables share, the rules of the engines, and write() for all writing."""

import random
import sqlite3
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import import_module
from typing import Any, TypeVar

from flask import Flask
from flask_babel import lazy_gettext as _l
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import (
    BigInteger,
    DateTime,
    Integer,
    MetaData,
    String,
    Table,
    event,
    make_url,
    text,
)
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase, ORMExecuteState, Session
from sqlalchemy.types import TypeDecorator

from shop.config import ConfigError
from shop.database_url import connect_arguments
from shop.errors import DatabaseBusy, ShopError
from shop.sqlite import init_sqlite, journal_mode

T = TypeVar("T")
MYSQL_DUPLICATE = 1062
WRITE_TRIES = 4
# A visitor waits no longer for a lock, and the host ends a request that takes longer.
BUSY_SECONDS = 30
FACTS = {
    "sqlite": {
        "version": "SELECT sqlite_version()",
        "encoding": "PRAGMA encoding",
        "journal": "PRAGMA journal_mode",
    },
    "postgresql": {"version": "SHOW server_version", "encoding": "SHOW server_encoding"},
    "mysql": {
        "version": "SELECT VERSION()",
        "encoding": "SELECT GROUP_CONCAT(DISTINCT character_set_name)"
        " FROM information_schema.columns WHERE table_schema = DATABASE()"
        " AND FIND_IN_SET(table_name, :tables)",
        "sql_mode": "SELECT @@sql_mode",
    },
}


class WrongEncoding(ShopError):
    """The database was made for the letters of some languages alone."""

    status = 503
    code = "database"
    message = _l(
        "The database keeps text as %(encoding)s and would lose letters. Make one with ENCODING "
        "'UTF8' and name it in DATABASE_URL."
    )


class Base(DeclarativeBase):
    """What all tables share: one naming convention, so that migrations can name constraints."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class UtcDateTime(TypeDecorator[datetime]):
    """An instant: stored as naive UTC, which all three databases keep alike; aware in Python."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:
        """Return the naive UTC time that is stored."""
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: Any, dialect: Any) -> datetime | None:
        """Return the aware time that was stored."""
        return None if value is None else value.replace(tzinfo=UTC)


class Key(TypeDecorator[str]):
    """A token, slug or Stripe's id: compared letter by letter, the spaces behind it included."""

    impl = String(255)
    cache_ok = True

    def load_dialect_impl(self, dialect: Any) -> Any:
        """Return the type with the collation that is exact; the usual ones are not."""
        if dialect.name not in ("mysql", "mariadb"):
            return String(255)
        exact = "utf8mb4_nopad_bin" if dialect.is_mariadb else "utf8mb4_0900_bin"
        return String(255, collation=exact)


Base.registry.update_type_annotation_map({datetime: UtcDateTime})
# SQLite counts rows in an INTEGER only.
RowId = BigInteger().with_variant(Integer, "sqlite")
db = SQLAlchemy(model_class=Base)


def is_key(raw: str) -> bool:
    """Tell whether `raw` could stand in a Key column; PostgreSQL refuses even to look for NUL."""
    return 0 < len(raw) <= 255 and raw.isascii() and raw.isprintable()


def now() -> datetime:
    """Return the present instant, in UTC and to the second, as the database keeps it."""
    return datetime.now(UTC).replace(microsecond=0)


def init_database(app: Flask) -> None:
    """Set the engine up by the rules of its kind; connects to nothing."""
    url = make_url(app.config["DATABASE_URL"] or "sqlite:///shop.sqlite3")
    # What a statement carries is the visitors': the log tells it to nobody.
    options: dict[str, Any] = {"hide_parameters": True}
    if url.get_backend_name() == "sqlite":
        if url.database not in (None, "", ":memory:") and "uri" not in url.query:
            url = url.set(database=str(app.config["SHOP_DATA_DIR"] / str(url.database)))
        options["connect_args"] = {"timeout": BUSY_SECONDS, "isolation_level": None}
    else:
        options |= {"pool_size": 2, "max_overflow": 8, "pool_pre_ping": True, "pool_recycle": 280}
        options["isolation_level"] = "READ COMMITTED"
        options["connect_args"] = connect_arguments(url)
    app.config["SQLALCHEMY_DATABASE_URI"] = url
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = options
    try:
        db.init_app(app)
    except ImportError as error:
        raise ConfigError(
            f"DATABASE_URL: the driver for this database is not installed ({error.name}). "
            'Right: pip install "psycopg[binary]" for PostgreSQL, pip install pymysql for MySQL'
        ) from error
    with app.app_context():
        engine = db.engine
    if engine.dialect.name == "sqlite":
        init_sqlite(engine)
    if not event.contains(db.session, "before_flush", _refuse_change):
        event.listen(db.session, "before_flush", _refuse_change)
        event.listen(db.session, "before_commit", _refuse_change)
        event.listen(db.session, "do_orm_execute", _refuse_statement)
        event.listen(Table, "before_create", _use_utf8mb4)


def write(unit: Callable[[], T], isolation: str | None = None) -> T:
    """Run `unit` in one write transaction, commit, and return what it returned.

    `isolation`: another level than the engine's usual one.

    The whole unit runs again when the database asks for it (deadlock, serialisation, busy) and when
    somebody else was first with a unique key, whose row it then finds. So it must do nothing that a
    rollback cannot undo. Raises DatabaseBusy when the tries are used up.
    """
    session = db.session()
    if session.info.get("writing"):
        raise RuntimeError("write() inside write()")
    if session.new or session.dirty or session.deleted:
        raise RuntimeError("changes made outside write()")
    deadline = time.monotonic() + BUSY_SECONDS
    for attempt in range(WRITE_TRIES):
        try:
            return _write_once(session, unit, isolation)
        except DBAPIError as error:
            last = attempt == WRITE_TRIES - 1 or time.monotonic() > deadline
            if isinstance(error, IntegrityError) and not last:
                continue
            if not _is_passing(error):
                raise
            if last:
                raise DatabaseBusy from error
            time.sleep(random.uniform(0.01, 0.05) * 2**attempt)  # noqa: S311 — spreads, guards nothing
    raise AssertionError("unreachable")


def end_read() -> None:
    """End the open read transaction: nothing may be held open while another server is asked."""
    db.session.rollback()


def insert_once(model: type[Base], **values: Any) -> bool:
    """Insert a row unless its unique key is there already; return whether it was inserted."""
    table: Any = model.__table__  # through the mapped class no row count comes back
    dialect = db.session.get_bind().dialect.name
    if dialect not in ("mysql", "mariadb"):
        insert = import_module(f"sqlalchemy.dialects.{dialect}").insert(table).values(**values)
        return changed_rows(insert.on_conflict_do_nothing()) == 1
    # INSERT IGNORE would swallow more than a key that is there: clipped values, missing parents.
    # A key that is there undoes the statement alone, so no savepoint is wanted; after a deadlock it
    # would be gone, and its loss would hide what write() tries again for.
    try:
        db.session.execute(table.insert().values(**values))
    except IntegrityError as error:
        if error.orig is not None and error.orig.args[0] == MYSQL_DUPLICATE:
            return False
        raise
    return True


def health() -> tuple[dict[str, str], int]:
    """Return the answer of /healthz and its status: 503 where the database does not answer."""
    try:
        db.session.execute(text("SELECT 1"))
    except SQLAlchemyError:
        return {"status": "no database"}, 503
    return {"status": "ok"}, 200


def facts() -> dict[str, str]:
    """Return how the database is set up, for the self-check and for the check at the start.

    `version`, and `encoding`, what text is kept in; of SQLite `journal` and `reason`; of a server
    `prepared_statements`, and of MySQL and MariaDB `sql_mode`.
    """
    kind = db.engine.dialect.name
    values = {"tables": ",".join(Base.metadata.tables)}
    found = {
        name: str(db.session.scalar(text(question), values if ":tables" in question else {}))
        for name, question in FACTS[kind].items()
    }
    end_read()
    if kind == "sqlite":
        return found | {"reason": str(journal_mode(db.engine.url.database)[2])}
    return found | {"prepared_statements": "off"}


def check_encoding() -> None:
    """Raise WrongEncoding where the database cannot keep every letter."""
    encoding = facts()["encoding"] if db.engine.dialect.name == "postgresql" else "UTF8"
    if encoding != "UTF8":
        raise WrongEncoding(encoding=encoding)


def changed_rows(statement: Any) -> int:
    """Execute an INSERT, UPDATE or DELETE and return how many rows it touched."""
    options = {"synchronize_session": False, "preserve_rowcount": True}
    count: int = db.session.execute(statement, execution_options=options).rowcount  # type: ignore[attr-defined]
    if count < 0:
        raise RuntimeError("the driver does not say how many rows were touched")
    return count


def _use_utf8mb4(table: Table, *_: Any, **__: Any) -> None:
    """Make a new table independent of what the server or the database has as its usual."""
    table.dialect_kwargs["mysql_charset"] = "utf8mb4"
    table.dialect_kwargs["mysql_engine"] = "InnoDB"


def _write_once(session: Session, unit: Callable[[], T], isolation: str | None) -> T:
    session.rollback()  # execution options are ignored once a read has begun a transaction
    session.info["writing"] = True
    try:
        options = {"isolation_level": isolation} if isolation else {}
        session.connection(execution_options={"write": True, **options})
        result = unit()
        session.commit()
    except BaseException:
        session.rollback()
        raise
    finally:
        del session.info["writing"]
    return result


def _is_passing(error: DBAPIError) -> bool:
    """Tell whether the same transaction may succeed when it is run once more."""
    cause: Any = error.orig
    if isinstance(cause, sqlite3.Error):
        code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
        return code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
    state = getattr(cause, "sqlstate", None)
    number = cause.args[0] if cause is not None and cause.args else None
    return state in ("40001", "40P01") or number in (1213, 1020, 1205)


def _refuse_change(session: Session, *_: Any) -> None:
    if not session.info.get("writing"):
        raise RuntimeError("changes are written and committed inside write() only")


def _refuse_statement(state: ORMExecuteState) -> None:
    if state.is_insert or state.is_update or state.is_delete:
        _refuse_change(state.session)
