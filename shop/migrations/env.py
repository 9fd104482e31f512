"""Run the steps: in one transaction where the database can do that, one process at a time."""

from alembic import context
from sqlalchemy import Connection

from shop.db import Base, db
from shop.errors import DatabaseBusy
from shop.migrations import LOCK_NAME

LOCK = 7463  # an arbitrary number


def run() -> None:
    """Run the steps on the shop's own engine, or on the one that is given."""
    engine = context.config.attributes.get("engine") or db.engine
    with engine.connect().execution_options(write=True) as connection:
        if connection.dialect.name == "sqlite":
            _run_on_sqlite(connection)
        else:
            _run_on_server(connection)


def _run_on_sqlite(connection: Connection) -> None:
    # A table is altered by copying it and dropping the old one, which foreign keys would take for
    # the deletion of its rows. Inside a transaction, which SQLAlchemy would begin, the PRAGMA does
    # nothing.
    raw = connection.connection
    raw.execute("PRAGMA foreign_keys = OFF")
    try:
        with connection.begin():
            _run_steps(connection)
            broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
            if broken:
                raise RuntimeError(f"rows whose foreign key leads nowhere: {broken[:5]}")
    finally:
        raw.execute("PRAGMA foreign_keys = ON")


def _run_on_server(connection: Connection) -> None:
    with connection.begin():
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK})")
            _run_steps(connection)
            return
        if connection.exec_driver_sql(f"SELECT GET_LOCK({LOCK_NAME}, 60)").scalar() != 1:
            raise DatabaseBusy
        try:
            _run_steps(connection)
        finally:
            connection.exec_driver_sql(f"SELECT RELEASE_LOCK({LOCK_NAME})")


def _run_steps(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()


run()
