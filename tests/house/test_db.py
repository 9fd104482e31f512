"""The database: one way to write, which waits, tries again and gives up in words; engine rules."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import event, insert, select, text, update
from sqlalchemy.exc import DataError, IntegrityError, OperationalError

from shop.board.models import Reply, Topic
from shop.catalog.models import Product
from shop.db import changed_rows, db, insert_once, now, write
from shop.errors import DatabaseBusy
from shop.payments.models import StripeEvent
from shop.sqlite import journal_mode
from tests.actors import Browser, Buyer
from tests.databases import on_all
from tests.pages import form_to


class Lock:
    """Another program that holds the write lock of this test's database."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(
            path, isolation_level=None, timeout=0, check_same_thread=False
        )

    def take(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")

    def release(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def lock(tmp_path: Path, app: Flask) -> Iterator[Lock]:
    """Another program's lock; the shop itself does not wait inside SQLite in these tests."""
    with app.app_context():
        event.listen(db.engine, "connect", lambda raw, _: raw.execute("PRAGMA busy_timeout = 0"))
    with closing(Lock(tmp_path / "shop.sqlite3")) as lock:
        yield lock


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits between tries, which take no time here."""
    waited: list[float] = []
    monkeypatch.setattr("shop.db.time.sleep", waited.append)
    return waited


@pytest.fixture
def inside(app: Flask) -> Iterator[None]:
    with app.app_context():
        yield


def add_topic(comment: str = "new") -> int:
    topic = Topic(comment=comment)
    db.session.add(topic)
    db.session.flush()
    return topic.id


def comments() -> list[str]:
    return list(db.session.scalars(select(Topic.comment).order_by(Topic.id.desc())))


def test_what_a_unit_writes_is_kept_and_its_answer_returned(app: Flask) -> None:
    with app.app_context():
        new = write(add_topic)
    with app.app_context():
        assert comments()[0] == "new"
        assert db.session.scalar(select(Topic.id).order_by(Topic.id.desc())) == new


def test_a_unit_that_fails_leaves_nothing_and_can_be_followed(inside: None) -> None:
    def fail() -> None:
        add_topic("half")
        raise KeyError("half")

    with pytest.raises(KeyError):
        write(fail)
    assert "half" not in comments()
    write(add_topic)
    assert comments()[0] == "new"


def test_writing_inside_writing_is_refused_and_nothing_is_kept(inside: None) -> None:
    def nested() -> None:
        add_topic("outer")
        write(lambda: add_topic("inner"))

    with pytest.raises(RuntimeError, match="inside"):
        write(nested)
    assert not {"outer", "inner"} & set(comments())
    write(add_topic)


@pytest.mark.parametrize("kind", ["new", "dirty", "deleted"])
def test_changes_made_before_are_refused(inside: None, kind: str) -> None:
    topic = db.session.scalars(select(Topic)).first()
    assert topic is not None
    if kind == "new":
        db.session.add(Topic(comment="before"))
    elif kind == "dirty":
        topic.comment = "before"
    else:
        db.session.delete(topic)
    with pytest.raises(RuntimeError, match="outside"):
        write(add_topic)


def test_nothing_is_flushed_or_committed_outside(inside: None) -> None:
    db.session.add(Topic(comment="before"))
    with pytest.raises(RuntimeError):
        db.session.flush()
    db.session.rollback()
    with pytest.raises(RuntimeError):
        db.session.commit()


@pytest.mark.parametrize(
    "statement",
    [
        update(Topic).values(comment="lost"),
        insert(Topic).values(comment="lost"),
        Topic.__table__.delete(),  # type: ignore[attr-defined]
    ],
    ids=["update", "insert", "delete"],
)
def test_a_statement_that_writes_outside_is_refused_instead_of_lost(
    inside: None, statement: Any
) -> None:
    with pytest.raises(RuntimeError):
        db.session.execute(statement)
    with pytest.raises(RuntimeError):
        changed_rows(statement)


def test_the_write_lock_is_held_from_the_beginning_even_after_a_read(
    inside: None, tmp_path: Path
) -> None:
    comments()

    def unit() -> None:
        other = Lock(tmp_path / "shop.sqlite3")
        with closing(other), pytest.raises(sqlite3.OperationalError, match="locked"):
            other.take()

    write(unit)


def test_a_busy_database_is_tried_again_and_the_unit_runs_once(
    app: Flask, lock: Lock, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 2:
            lock.release()

    monkeypatch.setattr("shop.db.time.sleep", wait)
    runs = []
    lock.take()
    with app.app_context():
        write(lambda: runs.append(add_topic()))
        assert comments()[0] == "new"
    assert len(runs) == 1
    assert len(waited) == 2


def test_a_database_that_stays_busy_is_given_up_in_words(
    app: Flask, lock: Lock, waits: list[float]
) -> None:
    lock.take()
    with app.app_context(), pytest.raises(DatabaseBusy) as caught:
        write(add_topic)
    assert "Nothing was saved" in caught.value.message
    assert 1 <= len(waits) < 10
    assert sum(waits) < 2


def test_a_visitor_waits_for_one_lock_not_for_one_after_the_other(
    app: Flask, lock: Lock, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 1000, 31))
    monkeypatch.setattr("shop.db.time.monotonic", lambda: next(clock))
    lock.take()
    with app.app_context(), pytest.raises(DatabaseBusy):
        write(add_topic)
    assert waits == []


def test_a_busy_database_is_a_503_that_keeps_the_text_for_another_try(
    app: Flask, lock: Lock, waits: list[float]
) -> None:
    browser = Browser(app)
    browser.get("/")
    lock.take()
    busy = browser.submit("/", {"comment": "Hello\n<b>again</b>", "name": "Aya"})
    assert busy.status == 503
    assert int(busy.headers["Retry-After"]) > 0
    assert "Nothing was saved" in busy.words
    form = form_to(busy.text, "/")
    assert form is not None
    assert form.fields["comment"] == "Hello\n<b>again</b>"
    lock.release()
    assert browser.post(form.action, form.fields).status == 303
    assert "<b>again</b>" in browser.get("/").words


def test_pages_are_read_while_somebody_writes(app: Flask, lock: Lock) -> None:
    lock.take()
    browser = Browser(app)
    for page in ("/", "/topics/1", "/shop/", "/shop/t-shirt", "/cart", "/healthz"):
        assert browser.get(page).status == 200


def test_an_open_page_keeps_nobody_from_beginning_to_write(inside: None, tmp_path: Path) -> None:
    comments()
    with closing(Lock(tmp_path / "shop.sqlite3")) as other:
        other.take()


def test_whoever_comes_second_with_a_unique_key_finds_the_first(inside: None) -> None:
    runs = []

    def unit() -> str:
        runs.append(1)
        if len(runs) == 1:  # as if the other one's row had come between looking and inserting
            db.session.add(Product(slug="t-shirt", name="Another", unit_amount=1))
            db.session.flush()
        found = db.session.scalar(select(Product).where(Product.slug == "t-shirt"))
        assert found is not None
        return found.name

    assert write(unit) == "T-shirt"
    assert len(runs) == 2


def test_a_row_that_never_fits_surfaces_as_what_it_is(inside: None, waits: list[float]) -> None:
    runs = []

    def unit() -> None:
        runs.append(1)
        db.session.add(Product(slug="t-shirt", name="Another", unit_amount=1))

    with pytest.raises(IntegrityError):
        write(unit)
    assert len(runs) < 10


@pytest.mark.parametrize(
    ("attributes", "again"),
    [
        ({"sqlstate": "40001"}, True),
        ({"sqlstate": "40P01"}, True),
        ({"args": (1213, "deadlock")}, True),
        ({"args": (1020, "changed")}, True),
        ({"sqlstate": "22P02"}, False),
        ({"args": (1146, "no table")}, False),
    ],
    ids=str,
)
def test_a_unit_runs_again_when_a_server_asks_for_it(
    inside: None, waits: list[float], attributes: dict[str, Any], again: bool
) -> None:
    cause = Exception(*attributes.get("args", ()))
    cause.sqlstate = attributes.get("sqlstate")  # type: ignore[attr-defined]
    runs = []

    def unit() -> str:
        runs.append(add_topic())
        if len(runs) == 1:
            raise OperationalError("UPDATE", {}, cause)
        return "done"

    if again:
        assert write(unit) == "done"
        assert comments().count("new") == 1
    else:
        with pytest.raises(OperationalError):
            write(unit)
    assert len(runs) == (2 if again else 1)


def test_many_writers_at_once_all_get_their_turn(make_app: Callable[..., Flask]) -> None:
    apps = [make_app() for _ in range(4)]

    def work(app: Flask) -> None:
        for _ in range(5):
            with app.app_context():
                write(lambda: changed_rows(update(Topic).values(reply_count=Topic.reply_count + 1)))

    threads = [threading.Thread(target=work, args=(app,)) for app in apps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with apps[0].app_context():
        assert set(db.session.scalars(select(Topic.reply_count))) == {20}


def test_insert_once_says_whether_it_was_first(inside: None) -> None:
    row = {"slug": "unique", "name": "One", "description": "", "unit_amount": 1, "active": True}
    assert write(lambda: insert_once(Product, **row)) is True
    assert write(lambda: insert_once(Product, **row)) is False


# --- engine rules ---------------------------------------------------------------------------


@on_all
def test_two_who_insert_the_same_the_other_way_round_both_get_their_turn(app: Flask) -> None:
    """A server ends one of the two, and only the whole unit can be run again."""
    meet = threading.Barrier(2, timeout=20)

    def insert_both(first: str, second: str) -> list[bool]:
        tries: list[None] = []

        def unit() -> list[bool]:
            tries.append(None)
            inserted = [insert_event(first)]
            if is_server and len(tries) == 1:
                meet.wait()
            return [*inserted, insert_event(second)]

        with app.app_context():
            is_server = db.engine.dialect.name != "sqlite"
            return write(unit)

    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(insert_both, ("evt_a", "evt_b"), ("evt_b", "evt_a")))
    assert sorted(done) == [[False, False], [True, True]]


def insert_event(event_id: str) -> bool:
    return insert_once(StripeEvent, id=event_id, type="x", object_id="x", received_at=now())


def test_foreign_keys_are_kept(inside: None) -> None:
    def orphan() -> None:
        db.session.add(Reply(topic_id=987654, comment="to nobody"))

    with pytest.raises(IntegrityError):
        write(orphan)


@pytest.mark.parametrize(
    ("version", "journal"),
    [
        ((3, 40, 1), "DELETE"),
        ((3, 44, 5), "DELETE"),
        ((3, 44, 6), "WAL"),
        ((3, 45, 9), "DELETE"),
        ((3, 50, 6), "DELETE"),
        ((3, 50, 7), "WAL"),
        ((3, 51, 2), "DELETE"),
        ((3, 51, 3), "WAL"),
        ((3, 52, 0), "WAL"),
        ((4, 0, 0), "WAL"),
    ],
)
def test_the_journal_is_wal_only_where_sqlite_keeps_its_promises(
    version: tuple[int, int, int], journal: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts(monkeypatch, ("/", "ext4"))
    monkeypatch.setattr(sqlite3, "sqlite_version_info", version)
    mode, synchronous, why = journal_mode(str(tmp_path / "shop.sqlite3"))
    assert (mode, synchronous) == (journal, "FULL" if journal == "WAL" else "EXTRA")
    assert why


@pytest.mark.parametrize(
    ("kind", "journal"),
    [
        *[(kind, "WAL") for kind in ("ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay")],
        *[(kind, "DELETE") for kind in (
            "nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "fuse", "fuseblk", "9p", "virtiofs",
            "vboxsf", "prl_fs", "vmhgfs", "ocfs2", "gfs2", "ext45", "EXT4", "new", "",
        )],
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["data", "my data", "a\\b\tc", "日本"])
def test_the_journal_is_wal_on_a_disk_known_to_be_local_only(
    kind: str, journal: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, other = str(tmp_path / name), "nfs4" if journal == "WAL" else "ext4"
    mounts(monkeypatch, (here, kind), ("/", other), (str(tmp_path), other), (here + "2", other))
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 52, 0))
    mode, _, why = journal_mode(f"{here}/shop.sqlite3")
    assert mode == journal
    assert f"({kind})" in why


@pytest.mark.parametrize(("first", "then"), [("ext4", "nfs4"), ("nfs4", "ext4")])
def test_of_two_disks_at_one_place_the_later_counts(
    first: str, then: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts(monkeypatch, (str(tmp_path), first), (str(tmp_path), then))
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 52, 0))
    expected = "WAL" if then == "ext4" else "DELETE"
    assert journal_mode(str(tmp_path / "shop.sqlite3"))[0] == expected


@pytest.mark.parametrize("content", [None, "", "nonsense\n - \n1 2 3 4 / - \n"])
def test_a_machine_that_names_no_disks_gets_the_careful_journal(
    content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mountinfo(monkeypatch, content)
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 52, 0))
    assert journal_mode(str(tmp_path / "shop.sqlite3"))[0] == "DELETE"


def mounts(monkeypatch: pytest.MonkeyPatch, *disks: tuple[str, str]) -> None:
    """Let this machine have these disks."""
    escapes = {ord(letter): f"\\{ord(letter):03o}" for letter in " \t\n\\"}
    lines = [
        f"36 35 98:0 / {point.translate(escapes)} rw,noatime shared:1 - {kind} /dev/sda1 rw\n"
        for point, kind in disks
    ]
    mountinfo(monkeypatch, "".join(lines))


def mountinfo(monkeypatch: pytest.MonkeyPatch, content: str | None) -> None:
    original = Path.read_text

    def read_text(path: Path, *args: Any, **options: Any) -> str:
        if str(path) != "/proc/self/mountinfo":
            return original(path, *args, **options)
        if content is None:
            raise FileNotFoundError(path)
        return content

    monkeypatch.setattr(Path, "read_text", read_text)


def test_connections_follow_the_rules(app: Flask, tmp_path: Path) -> None:
    journal, synchronous, _ = journal_mode(str(tmp_path / "shop.sqlite3"))
    with app.app_context(), db.engine.connect() as connection:

        def pragma(name: str) -> Any:
            return connection.execute(text(f"PRAGMA {name}")).scalar()

        assert pragma("journal_mode") == journal.lower()
        assert pragma("synchronous") == {"FULL": 2, "EXTRA": 3}[synchronous]
        assert pragma("foreign_keys") == 1
        assert pragma("busy_timeout") == 30_000


def test_a_database_in_memory_serves_too(make_app: Callable[..., Flask]) -> None:
    browser = Browser(make_app(DATABASE_URL="sqlite://"))
    assert browser.submit("/", {"comment": "kept in memory"}).status == 303
    assert "kept in memory" in browser.get("/").words


def test_an_instant_comes_back_as_the_same_instant(inside: None) -> None:
    tokyo = datetime(2026, 1, 1, 8, 0, tzinfo=timezone(timedelta(hours=9)))

    def unit() -> int:
        topic = Topic(comment="new year", created_at=tokyo)
        db.session.add(topic)
        db.session.flush()
        return topic.id

    kept = db.session.get_one(Topic, write(unit)).created_at
    assert kept == tokyo
    assert kept.tzinfo is UTC


# --- a database that is away ----------------------------------------------------------------


@pytest.fixture
def broken(make_app: Callable[..., Flask], tmp_path: Path) -> Flask:
    """A shop whose database stopped working after the start."""
    app = make_app()
    assert Browser(app).get("/").status == 200
    with app.app_context():
        db.engine.dispose()
    (tmp_path / "shop.sqlite3").unlink()
    (tmp_path / "shop.sqlite3").mkdir()
    return app


def test_health_is_503_when_the_database_does_not_answer(broken: Flask) -> None:
    answer = Browser(broken).get("/healthz")
    assert answer.status == 503
    assert answer.json["status"] != "ok"


def test_health_is_ok_otherwise(browser: Browser) -> None:
    answer = browser.get("/healthz")
    assert (answer.status, answer.json) == (200, {"status": "ok"})


def test_pages_say_that_the_database_is_away(broken: Flask) -> None:
    for page in ("/", "/topics/1", "/shop/"):
        answer = Browser(broken).get(page)
        assert answer.status == 503
        assert int(answer.headers["Retry-After"]) > 0
        assert "database does not answer" in answer.words


def test_text_outlives_a_database_that_is_away(
    app: Flask, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    browser = Browser(app)
    token = browser.token()
    with closing(sqlite3.connect(tmp_path / "shop.sqlite3")) as other:
        other.execute("ALTER TABLE topics RENAME TO gone")
        answer = browser.post("/", {"comment": "my own words", "csrf_token": token})
        other.execute("ALTER TABLE gone RENAME TO topics")
    assert answer.status == 503
    assert "OperationalError" in caplog.text
    assert "my own words" not in caplog.text
    form = form_to(answer.text, "/")
    assert form is not None
    assert form.fields["comment"] == "my own words"
    assert browser.post("/", form.fields).status == 303


# --- keys and texts -------------------------------------------------------------------------


@on_all
def test_a_key_with_something_behind_it_is_another_key(app: Flask) -> None:
    buyer = Buyer(app)
    order = buyer.order()
    paths = ("/orders/{}".format, "/payments/success?session_id={}".format, "/shop/{}".format)
    keys = (order["order"], order["id"], "t-shirt")
    for path, key in zip(paths, keys, strict=True):
        assert buyer.get(path(key)).status == 200
        for other in (f"{key}%20", f"{key}%20%20", f"%20{key}", f"{key}%09", f"{key}%00",
                      f"{key}%C2%A0", f"{key}%E2%80%8B", key.swapcase()):  # fmt: skip
            assert buyer.get(path(other)).status == 404, (path(other), key)


@on_all
def test_what_does_not_fit_is_refused_and_never_cut(app: Flask) -> None:
    with app.app_context():
        if db.engine.dialect.name == "sqlite":  # has no lengths
            return
        event = {"id": "evt_1", "type": "x" * 256, "object_id": "x", "received_at": now()}
        with pytest.raises(DataError):
            write(lambda: insert_once(StripeEvent, **event))
        if db.engine.dialect.name == "mysql":
            assert "STRICT_ALL_TABLES" in str(db.session.scalar(text("SELECT @@sql_mode")))
