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
from shop.db import Base, changed_rows, db, end_read, now, write
from shop.orders import place
from shop.orders.models import Order
from shop.payments import gateway
from shop.payments.models import KeyValue

# How long Stripe is looked back for numbers that were given: a slip may be paid after days.
LOOKED_BACK = timedelta(days=90)


def here() -> dict[str, Any]:
    """Return what a restore would take the place of: `shop`, `orders`, `live` ones, `newest_at`."""
    kept = db.session.get(KeyValue, "shop")
    count = select(func.count()).select_from(Order)
    found = {
        "shop": kept.value if kept else "",
        "orders": db.session.scalar(count),
        "live": db.session.scalar(count.where(Order.mode == "live")),
        "newest_at": db.session.scalar(select(func.max(Order.created_at))),
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
            number = db.session.scalar(select(func.max(Order.id))) or 0
            end_read()
            write(lambda: _replace(source, number))
        finally:
            source.dispose()
    _continue_counting()


def ask_for_numbers() -> int:
    """Ask Stripe for the highest number that an order of this shop has, and go on above it.

    Return that number, 0 for none. Raises StripeUnreachable and StripeRefused.
    """
    shop_id = here()["shop"]
    number = gateway.highest_number(shop_id, now() - LOOKED_BACK) if shop_id else 0
    write(lambda: _count_above(number))
    _continue_counting()
    return number


def _load(backup: Backup, engine: Engine) -> None:
    """Put the rows of a backup into tables of its own revision."""
    found = MetaData()
    found.reflect(engine)
    if set(backup.rows) - set(found.tables):
        raise BadBackup(reason="tables that no shop has")
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


def _replace(source: Engine, number: int) -> None:
    """Put what `source` has in the place of all rows here, inside write()."""
    tables = Base.metadata.sorted_tables
    # MySQL looks at each row's foreign key as it goes: a table's youngest rows go first.
    order = " ORDER BY id DESC" if db.engine.dialect.name == "mysql" else ""
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
    owners = Base.metadata.tables["owners"]
    changed_rows(update(owners).values(link_hash=None, link_ends_at=None))
    _count_above(number)
    stamps.renew()


def _count_above(number: int) -> None:
    """Have the orders that come have higher numbers than this one, inside write()."""
    kept = db.session.get(KeyValue, place.FLOOR)
    floor = max(number, int(kept.value) if kept else 0)
    if kept is None:
        db.session.add(KeyValue(name=place.FLOOR, value=str(floor)))
    else:
        kept.value = str(floor)


def _continue_counting() -> None:
    """Have servers count on above the rows that are there, and orders above their floor.

    SQLite counts by the rows alone: see orders.place.
    """
    kind = db.engine.dialect.name
    kept = db.session.get(KeyValue, place.FLOOR)
    floor = int(kept.value) if kept else 0
    end_read()
    if kind == "mysql":
        with db.engine.begin() as connection:
            connection.execute(text(f"ALTER TABLE orders AUTO_INCREMENT = {floor + 1}"))
    if kind != "postgresql":
        return
    with db.engine.begin() as connection:
        for table in Base.metadata.sorted_tables:
            name = connection.scalar(
                text("SELECT pg_get_serial_sequence(:table, 'id')"), {"table": table.name}
            ) if "id" in table.columns else None  # fmt: skip
            if name:
                least = floor if table.name == "orders" else 0
                highest = connection.scalar(select(func.max(table.c.id))) or 0
                counted = (
                    connection.scalar(
                        text(f"SELECT last_value FROM {name}")  # noqa: S608 — PostgreSQL named it
                    )
                    or 0
                )
                reached = max(least, highest, counted)
                connection.execute(text("SELECT setval(:name, :n)"), {"name": name, "n": reached})
