"""The sandbox's database: one SQLite file that several processes may share."""

import json
import secrets
import sqlite3
import string
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

Document = dict[str, Any]

SCHEMA = """
create table objects (
    seq integer primary key autoincrement, id text not null unique, kind text not null,
    created integer not null, doc text not null
);
create index objects_kind on objects (kind, seq);
create table schedule (
    id integer primary key, due integer not null, action text not null, object text not null
);
create index schedule_due on schedule (due);
create table deliveries (
    id integer primary key autoincrement, event text not null, type text not null,
    status text not null, attempts integer not null default 0, response_code integer, error text,
    next_attempt_at integer, claimed_until real not null default 0, endpoint text, url text
);
create index deliveries_status on deliveries (status, next_attempt_at);
create table idempotency (
    key text primary key, fingerprint text not null, request_id text not null,
    claimed_at real not null, created integer not null, status integer, doc text
);
create table settings (name text primary key, value text not null);
"""
# What each version lacks that the next one has.
UPGRADES = [
    """
update objects set doc = json_set(
    doc, '$.branding_settings', json_object('display_name', null),
    '$._.branding', json('{}'), '$._.typed', json('{}'),
    '$._.methods', json_extract(doc, '$.payment_method_types'), '$._.customer',
    json_object('email', json_extract(doc, '$._.email'), 'name', null, 'phone', null,
                'address', null)
) where kind = 'checkout.session'
""",
    "alter table deliveries add column endpoint text; alter table deliveries add column url text",
]
VERSION = len(UPGRADES) + 1
ALPHABET = string.ascii_letters + string.digits


def new_id(prefix: str, length: int = 24) -> str:
    """Return a random id in Stripe's format, such as `ch_3kd…`."""
    return f"{prefix}_{''.join(secrets.choice(ALPHABET) for _ in range(length))}"


class Transaction:
    """One transaction. `now` is the sandbox's clock, `real_now` the machine's, both in seconds."""

    def __init__(self, connection: sqlite3.Connection, start_url: str | None) -> None:
        self.execute = connection.execute
        self.start_url = start_url
        self.real_now = int(time.time())
        self.now = self.real_now + int(self.setting("clock_offset", 0))
        self.request: Document = {"id": None, "idempotency_key": None}
        self.emitted: list[str] = []

    def get(self, object_id: str, kind: str) -> Document | None:
        """Return the document, or None where there is none of that kind."""
        row = self.execute(
            "select doc from objects where id = ? and kind = ?", (object_id, kind)
        ).fetchone()
        return json.loads(row[0]) if row else None

    def put(self, doc: Document) -> Document:
        """Store the document, new or changed, and return it."""
        self.execute(
            "insert into objects (id, kind, created, doc) values (?, ?, ?, ?)"
            " on conflict (id) do update set doc = excluded.doc",
            (doc["id"], doc["object"], doc["created"], json.dumps(doc)),
        )
        return doc

    def delete(self, object_id: str) -> None:
        """Delete the document."""
        self.execute("delete from objects where id = ?", (object_id,))

    def find(
        self,
        kind: str,
        conditions: Sequence[tuple[str, object]] = (),
        *,
        limit: int,
        oldest_first: bool = False,
    ) -> list[Document]:
        """Return up to `limit` documents, newest first. Conditions are (SQL, value) pairs."""
        where = " and ".join(["kind = ?", *(sql for sql, _ in conditions)])
        order = "asc" if oldest_first else "desc"
        rows = self.execute(
            f"select doc from objects where {where} order by seq {order} limit ?",  # noqa: S608
            (kind, *(value for _, value in conditions), limit),
        )
        return [json.loads(row[0]) for row in rows]

    def seq(self, object_id: str) -> int | None:
        """Return the object's place in the order of creation, None for an unknown one."""
        row = self.execute("select seq from objects where id = ?", (object_id,)).fetchone()
        return row[0] if row else None

    def setting(self, name: str, default: Any) -> Any:
        """Return a stored setting, or the default."""
        row = self.execute("select value from settings where name = ?", (name,)).fetchone()
        return json.loads(row[0]) if row else default

    def set(self, settings: Mapping[str, Any]) -> None:
        """Store settings."""
        for name, value in settings.items():
            self.execute(
                "insert into settings values (?, ?) on conflict do update set value = ?",
                (name, json.dumps(value), json.dumps(value)),
            )

    def schedule(self, due: int, action: str, object_id: str) -> None:
        """Run the action of `clock.ACTIONS` on the object when the sandbox's clock passes `due`."""
        self.execute(
            "insert into schedule (due, action, object) values (?, ?, ?)",
            (due, action, object_id),
        )


class Store:
    """Opens transactions; the file is made at the first one.

    `start_url` is the address of the receiver that is there from the start, "" where that has
    none, and None where there is no such receiver.
    """

    def __init__(self, database: Path | str, start_url: str | None) -> None:
        self._path = Path(database)
        self._start_url = start_url

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """Yield a transaction that only reads."""
        with self._transaction("begin") as transaction:
            yield transaction

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """Yield a transaction that may write; commits at the end, rolls back on an exception."""
        with self._transaction("begin immediate") as transaction:
            yield transaction

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[Transaction]:
        with closing(self._connect()) as connection:
            connection.execute(begin)
            try:
                yield Transaction(connection, self._start_url)
            except BaseException:
                connection.execute("rollback")
                raise
            connection.execute("commit")

    def _connect(self) -> sqlite3.Connection:
        with suppress(OSError):  # SQLite itself reports a folder that cannot be made
            self._path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self._path, timeout=30, isolation_level=None)
        if _version(connection) < VERSION:
            # Two processes may start at once: the second waits here, then finds the tables made.
            connection.execute("begin immediate")
            version = _version(connection)
            missing = ";".join(UPGRADES[version - 1 :]) if version else SCHEMA
            for statement in missing.split(";"):
                connection.execute(statement)
            connection.execute(f"pragma user_version = {VERSION}")
            connection.execute("commit")
        return connection


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("pragma user_version").fetchone()[0])
