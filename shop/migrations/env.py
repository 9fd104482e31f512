"""How Alembic runs the steps: in one transaction where the database can, one process at a time."""

from alembic import context
from sqlalchemy import Connection

from shop.db import Base, db

LOCK = 7463  # any number that is always the same


def run() -> None:
    """Run the steps on the shop's own engine."""
    with db.engine.connect().execution_options(write=True) as connection:
        if connection.dialect.name == "sqlite":
            _run_on_sqlite(connection)
        else:
            _run_on_server(connection)


def _run_on_sqlite(connection: Connection) -> None:
    # SQLite alters a table by copying it, which foreign keys would take for a deletion. The switch
    # does nothing inside a transaction, so it goes past SQLAlchemy, which would begin one.
    raw = connection.connection
    raw.execute("PRAGMA foreign_keys = OFF")
    try:
        with connection.begin():
            _run_steps(connection)
            broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
            if broken:
                raise RuntimeError(f"rows without their parents: {broken[:5]}")
    finally:
        raw.execute("PRAGMA foreign_keys = ON")


def _run_on_server(connection: Connection) -> None:
    with connection.begin():
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK})")
            _run_steps(connection)
            return
        connection.exec_driver_sql(f"SELECT GET_LOCK('shop-{LOCK}', 60)")
        try:
            _run_steps(connection)
        finally:
            connection.exec_driver_sql(f"SELECT RELEASE_LOCK('shop-{LOCK}')")


def _run_steps(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()


run()
