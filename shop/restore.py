"""The way back from a backup: all of it in the place of all that is here, or nothing."""

import base64
import json
import tempfile
from datetime import datetime, timedelta
from typing import Any
from zipfile import ZipFile

from flask import current_app
from sqlalchemy import (
    DateTime,
    Engine,
    LargeBinary,
    MetaData,
    create_engine,
    func,
    insert,
    select,
    text,
    update,
)

from shop import migrations, stamps
from shop.backup import LEFT_OUT, ROWS_AT_ONCE, Backup, BadBackup, member
from shop.db import Base, changed_rows, db, end_read, insert_once, now, write
from shop.orders import place
from shop.orders.models import Order
from shop.payments import gateway
from shop.payments.models import KeyValue

# How long Stripe is looked back for numbers that were given: a slip may be paid after days.
LOOKED_BACK = timedelta(days=90)


def here() -> dict[str, Any]:
    """Return what a restore would take the place of: `shop`, `owners`, `orders`, `live` ones."""
    kept = db.session.get(KeyValue, "shop")
    count = select(func.count()).select_from(Order)
    found = {
        "shop": kept.value if kept else "",
        "owners": db.session.scalar(select(func.count(Base.metadata.tables["owners"].c.id))),
        "orders": db.session.scalar(count),
        "live": db.session.scalar(count.where(Order.mode == "live")),
    }
    end_read()
    return found


def restore(backup: Backup) -> None:
    """Put a backup in the place of all that is here, or change nothing; signs every owner out.

    An older one is brought up to this version on the way. Orders that come after have higher
    numbers than any that was given here.
    """
    migrations.upgrade()
    with tempfile.TemporaryDirectory(dir=current_app.config["SHOP_DATA_DIR"]) as folder:
        source = create_engine(f"sqlite:///{folder}/backup.sqlite3")
        try:
            migrations.upgrade_other(source, backup.revision)
            _load(backup, source)
            migrations.upgrade_other(source, "head")
            end_read()
            # At this level MariaDB keeps new rows out of a table that is being emptied until the
            # end. PostgreSQL is told to lock its tables, and SQLite has one writer.
            is_mysql = db.engine.dialect.name == "mysql"
            write(lambda: _replace(source), "REPEATABLE READ" if is_mysql else None)
        finally:
            source.dispose()
    _raise_counter()


def ask_for_numbers() -> int:
    """Ask Stripe for the highest number that an order of this shop has, and go on above it.

    Return that number, 0 for none. Raises StripeUnreachable and StripeRefused.
    """
    shop_id = here()["shop"]
    number = gateway.highest_number(shop_id, now() - LOOKED_BACK) if shop_id else 0

    def unit() -> None:
        _count_above(number)
        _count_above_rows()

    write(unit)
    _raise_counter()
    return number


def _load(backup: Backup, engine: Engine) -> None:
    """Put the rows of a backup into tables of its own revision."""
    found = MetaData()
    found.reflect(engine)
    if set(backup.rows) ^ (set(found.tables) - set(LEFT_OUT)):
        raise BadBackup(reason="not the tables of a shop")
    with ZipFile(backup.path) as file, engine.begin() as connection:
        # The steps may have put rows into new tables.
        for table in reversed(found.sorted_tables):
            if table.name != "alembic_version":
                connection.execute(table.delete())
        for name in backup.rows:
            table = found.tables[name]
            dates = [c.name for c in table.columns if isinstance(c.type, DateTime)]
            blobs = [c.name for c in table.columns if isinstance(c.type, LargeBinary)]
            batch: list[dict[str, Any]] = []
            with file.open(member(name)) as lines:
                for line in lines:
                    row = json.loads(line)
                    row |= {n: row[n] and datetime.fromisoformat(row[n]) for n in dates}
                    row |= {n: row[n] and base64.b64decode(row[n]) for n in blobs}
                    batch.append(row)
                    if len(batch) == ROWS_AT_ONCE:
                        connection.execute(table.insert(), batch)
                        batch = []
            if batch:
                connection.execute(table.insert(), batch)


def _replace(source: Engine) -> None:
    """Put what `source` has in the place of all rows here, inside write()."""
    tables = Base.metadata.sorted_tables
    kind = db.engine.dialect.name
    if kind == "postgresql":
        # What workers write meanwhile waits, and does not stay between the rows of the backup.
        names = ", ".join(table.name for table in tables)
        db.session.execute(text(f"LOCK TABLE {names} IN EXCLUSIVE MODE"))
    # What an earlier restore kept counts too, though its orders are gone.
    number = max(db.session.scalar(select(func.max(Order.id))) or 0, _floor())
    # MySQL looks at each row's foreign key as it goes: a table's youngest rows go first.
    order = " ORDER BY id DESC" if kind == "mysql" else ""
    for table in reversed(tables):
        own = any(key.column.table is table for key in table.foreign_keys)
        changed_rows(text(f"DELETE FROM {table.name}{order if own else ''}"))  # noqa: S608 — ours
    with source.connect() as connection:
        for table in tables:
            if table.name in LEFT_OUT:
                continue
            rows = connection.execute(select(table).order_by(*table.primary_key.columns)).mappings()
            for batch in rows.partitions(ROWS_AT_ONCE):
                db.session.execute(insert(table), [dict(row) for row in batch])
    db.session.expire_all()
    owners = Base.metadata.tables["owners"]
    changed_rows(update(owners).values(link_hash=None, link_ends_at=None))
    _count_above(number)
    _count_above_rows()
    stamps.renew()


def _count_above(number: int) -> None:
    """Have the orders that come have higher numbers than this one, inside write()."""
    floor = str(max(number, _floor()))
    if not insert_once(KeyValue, name=place.FLOOR, value=floor):
        changed_rows(update(KeyValue).where(KeyValue.name == place.FLOOR).values(value=floor))
    db.session.expire_all()


def _count_above_rows() -> None:
    """Have PostgreSQL count on above the rows that are there, and above the floor of the orders.

    Inside write(). MariaDB does so by itself, and SQLite counts by the rows: see orders.place.
    """
    if db.engine.dialect.name != "postgresql":
        return
    for table in Base.metadata.sorted_tables:
        if "id" not in table.columns:
            continue
        sequence = db.session.scalar(select(func.pg_get_serial_sequence(table.name, "id")))
        if sequence:
            counted = text(f"SELECT last_value FROM {sequence}")  # noqa: S608 — its own name
            reached = [db.session.scalar(counted), db.session.scalar(select(func.max(table.c.id)))]
            if table.name == "orders":
                reached.append(_floor())
            db.session.execute(select(func.setval(sequence, max(n or 1 for n in reached))))


def _raise_counter() -> None:
    """Have MariaDB and MySQL count on above the floor of the orders; it ends a transaction."""
    if db.engine.dialect.name == "mysql":
        floor = _floor()
        end_read()
        with db.engine.begin() as connection:
            connection.execute(text(f"ALTER TABLE orders AUTO_INCREMENT = {floor + 1}"))


def _floor() -> int:
    kept = db.session.get(KeyValue, place.FLOOR)
    return int(kept.value) if kept else 0
