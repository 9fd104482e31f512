"""Version stamps: a number for each part of the shop, which changes with everything its pages show.

A page that was made under the present numbers is still right. They stand in the database, so all
processes agree.
"""

import secrets
from typing import Any

from flask import Flask
from sqlalchemy import BigInteger, event, insert, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Mapped, ORMExecuteState, Session, mapped_column

from shop.db import Base, Key, changed_rows, db, end_read

Stamps = dict[str, int]


class Stamp(Base):
    """The stamp of a part of the shop, by the name that its tables carry in `info["stamp"]`."""

    __tablename__ = "stamps"

    name: Mapped[str] = mapped_column(Key, primary_key=True)
    # Random, so that a restored backup brings back the stamp of just what it holds.
    value: Mapped[int] = mapped_column(BigInteger)


def init_stamps(app: Flask) -> None:
    """Give every write() that changes what a page shows a new stamp."""
    if not event.contains(db.session, "after_flush", _note_rows):
        event.listen(db.session, "after_flush", _note_rows)
        event.listen(db.session, "do_orm_execute", _note_statement)
        event.listen(db.session, "before_commit", _move)


def read() -> Stamps:
    """Return the stamps of all parts; to be read before the rows that a page shows.

    Asks the driver itself: on a page that is already made this is the only statement. An open read
    transaction is ended: what it read may be older than the stamps, and a small pool has no second
    connection for everybody.
    """
    if db.session.registry.has():
        end_read()
    engine, statement = db.engine, "SELECT name, value FROM stamps"
    try:
        connection = engine.raw_connection()
        try:
            cursor = connection.cursor()
            cursor.execute(statement)
            return dict(cursor.fetchall())
        finally:
            connection.close()
    except engine.dialect.loaded_dbapi.Error as error:
        raise OperationalError(statement, None, error) from error


def renew() -> None:
    """Have every part's stamp change with the present write()."""
    found = {table.info["stamp"] for table in Base.metadata.tables.values() if table.info}
    db.session().info.setdefault("stamps", set()).update(found)


def _note_rows(session: Session, _context: Any) -> None:
    for row in (*session.new, *session.dirty, *session.deleted):
        _note(session, row.__table__)


def _note_statement(state: ORMExecuteState) -> None:
    if state.is_insert or state.is_update or state.is_delete:
        _note(state.session, getattr(state.statement, "table", None))


def _note(session: Session, table: Any) -> None:
    if table is not None and "stamp" in table.info:
        session.info.setdefault("stamps", set()).add(table.info["stamp"])


def _move(session: Session) -> None:
    """Write the new stamps, last and in one order: whoever holds one waits for nobody."""
    session.flush()
    for name in sorted(session.info.pop("stamps", ())):
        value = secrets.randbits(62)
        if not changed_rows(update(Stamp).where(Stamp.name == name).values(value=value)):
            changed_rows(insert(Stamp).values(name=name, value=value))
