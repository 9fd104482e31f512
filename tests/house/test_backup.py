"""A backup is whole or none, fits every database, and brings back a shop in which one can buy."""

import json
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from click.testing import Result
from flask import Flask
from sqlalchemy import insert, select, text

from shop import backup, migrations
from shop import restore as restoring
from shop.db import Base, db, now
from shop.owner import owners
from shop.payments import gateway
from tests import databases
from tests.actors import Browser, Buyer
from tests.conftest import Till
from tests.databases import on_all
from tests.house.test_migrations_servers import bring_to, fill
from tests.owner.conftest import EMAIL, PASSWORD, sign_in

Rows = dict[str, list[dict[str, Any]]]


def run(app: Flask, *arguments: str, given: str | None = None) -> Result:
    result = app.test_cli_runner().invoke(args=["shop", *arguments], input=given)
    assert "Traceback" not in result.output, result.output
    return result


def rows(app: Flask) -> Rows:
    """Return all that is in a backup, as the database has it."""
    with app.app_context(), db.engine.connect() as connection:
        return {
            table.name: [
                dict(row)
                for row in connection.execute(
                    select(table).order_by(*table.primary_key.columns)
                ).mappings()
            ]
            for table in Base.metadata.sorted_tables
            if table.name not in backup.LEFT_OUT
        }


def live_a_while(till: Till) -> None:
    """Sell, wait for money, give some back, write: a row in nearly every table."""
    paid = till.buyer()
    paid.buy(3, 2)
    paid.submit("/", {"comment": "日本語 💥\r\n  two lines", "name": "彩"})
    paid.submit("/topics/1/replies", {"comment": "Yes"})
    waits = till.buyer().order(1)
    till.buyer().post(waits["url"], {"email": "fill_never@example.com", "method": "konbini"})
    assert run(till.app, "refund", "1", "--yes", "--amount", "500").exit_code == 0
    with till.app.app_context():
        owners.add(EMAIL, PASSWORD)


def same(before: Rows, after: Rows) -> None:
    for name in before:
        if name not in ("stamps", "key_values"):
            assert after[name] == before[name], name


@on_all
def test_a_lost_shop_comes_back_and_sells_on(till: Till, tmp_path: Path) -> None:
    live_a_while(till)
    before, file = rows(till.app), tmp_path / "kept.zip"
    said = run(till.app, "backup", str(file)).output
    assert "2 orders" in said
    assert file.stat().st_mode & 0o777 == 0o600
    # Sold after the backup; its row is lost, but not at Stripe.
    late = till.buyer().buy(3, 1)
    again = run(till.app, "restore", str(file), given="n\n")
    assert again.exit_code == 1
    assert "Here: 3 orders, 0 with real money" in again.output
    result = run(till.app, "restore", str(file), given="y\n")
    assert result.exit_code == 0, result.output
    assert "New orders have higher numbers than any that Stripe knows" in result.output
    same(before, rows(till.app))
    assert till.buyer().get(f"/orders/{late}").status == 404
    assert till.stock("last-mugs") == 3
    # Numbers go on above the lost one, after a second restore too, and the books name it.
    assert run(till.app, "restore", str(file), "--yes").exit_code == 0
    token = till.buyer().buy(3, 1)
    assert till.buyer().see(token)["number"] == 4
    assert till.stock("last-mugs") == 2
    report = json.loads(run(till.app, "reconcile", "--json").stdout)
    assert [(row["kind"], row["ours"]) for row in report["mismatches"]] == [
        ("missing_here", "order 3")
    ]
    # What is waited for is still settled, what was refunded can be refunded further.
    till.sandbox.clock(4 * 86400)
    assert run(till.app, "refund", "1", "--yes", "--key", "rest").exit_code == 0
    assert [order["state"] for order in till.orders()] == ["refunded", "cancelled", "paid"]


@on_all
def test_what_others_write_during_a_restore_waits_for_its_end(
    app: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with app.app_context():
        kept = backup.make(tmp_path / "kept.zip")
    is_written = threading.Event()

    def post() -> None:
        topics = Base.metadata.tables["topics"]
        row = {"name": "", "comment": "Meanwhile", "reply_count": 0, "created_at": now()}
        with app.app_context(), db.engine.begin() as connection:
            # A page would wait for its stamp and its throttle already.
            connection.execute(insert(topics).values(row))
        is_written.set()

    poster, renew, seen = threading.Thread(target=post), restoring.stamps.renew, []

    def renew_late() -> None:
        # All rows are replaced, and nothing is committed.
        if not seen:
            poster.start()
            seen.append(is_written.wait(1))
        renew()

    monkeypatch.setattr(restoring.stamps, "renew", renew_late)
    with app.app_context():
        restoring.restore(kept)
    poster.join(30)
    assert (seen, is_written.is_set()) == ([False], True)
    with app.app_context():
        comments = Base.metadata.tables["topics"].c.comment
        assert "Meanwhile" in db.session.scalars(select(comments)).all()


def test_it_goes_from_one_database_to_another_and_back(
    make_app: Callable[..., Flask], tmp_path: Path, filled_database: Path
) -> None:
    till = Till.mounted(make_app())
    live_a_while(till)
    before, app = rows(till.app), till.app
    for number, kind in enumerate((*databases.SERVERS, "sqlite")):
        file, folder = tmp_path / f"{number}.zip", tmp_path / kind
        folder.mkdir()
        assert run(app, "backup", str(file)).exit_code == 0
        app = make_app(
            DATABASE_URL=databases.fresh(kind, folder, filled_database), SHOP_DATA_DIR=folder
        )
        result = run(app, "restore", str(file))
        assert result.exit_code == 0, result.output
        same(before, rows(app))
        # Each table counts on: nothing of what comes has the number of what is there.
        shutil.copy(tmp_path / "sandbox.sqlite3", folder)
        writer = Browser(app)
        assert writer.submit("/", {"comment": f"Here I am, {kind}"}).status == 303
        assert Buyer(app).order()["order"]
        run(app, "restore", str(file), "--yes")


def test_owners_are_signed_out_and_kept_pages_are_made_anew(app: Flask, tmp_path: Path) -> None:
    with app.app_context():
        owners.add(EMAIL, PASSWORD)
        link = owners.make_link(owners.get(EMAIL))
    visitor, owner = Browser(app), Browser(app)
    file = tmp_path / "kept.zip"
    run(app, "backup", str(file))
    sign_in(owner, EMAIL, PASSWORD)
    assert owner.get("/owner/").status == 200
    visitor.submit("/", {"comment": "Written after the backup"})
    assert "Written after" in visitor.get("/").text
    assert run(app, "restore", str(file), given="n\n").exit_code == 1
    assert "Written after" in visitor.get("/").text
    assert run(app, "restore", str(file), given="y\n").exit_code == 0
    assert "Written after" not in visitor.get("/").text
    assert owner.get("/owner/").status == 303
    assert owner.get(f"/owner/way-in/{link}").status != 200
    assert sign_in(owner, EMAIL, PASSWORD).status == 303


def damaged(file: Path) -> dict[str, bytes]:
    whole = file.read_bytes()
    middle = len(whole) // 2
    return {
        "empty": b"",
        "no zip": b"SQLite format 3\x00" * 100,
        "half": whole[:middle],
        "without its end": whole[:-10],
        "a byte changed": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
    }


def rewritten(file: Path, change: Callable[[dict[str, Any]], None]) -> bytes:
    """Return the backup with another manifest."""
    other = file.with_name("other.zip")
    with ZipFile(file) as old, ZipFile(other, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == backup.MANIFEST:
                manifest = json.loads(data)
                change(manifest)
                data = json.dumps(manifest).encode()
            new.writestr(name, data)
    return other.read_bytes()


def test_what_is_no_whole_backup_changes_nothing(app: Flask, tmp_path: Path) -> None:
    live_a_while(Till.mounted(app))
    file = tmp_path / "kept.zip"
    run(app, "backup", str(file))
    before = rows(app)
    cases = damaged(file)
    cases["a newer version"] = rewritten(file, lambda m: m.update(revision="9999"))
    cases["a newer format"] = rewritten(file, lambda m: m.update(format=99))
    cases["no revision"] = rewritten(file, lambda m: m.update(revision=""))
    cases["a table more"] = rewritten(
        file, lambda m: m["tables"].update(spies=m["tables"]["topics"])
    )
    for name, data in cases.items():
        broken = tmp_path / "broken.zip"
        broken.write_bytes(data)
        result = run(app, "restore", str(broken), "--yes")
        assert (result.exit_code, "othing was changed" in result.output) == (1, True), name
        assert ("newer version" in result.output) == name.startswith("a newer"), name
        same(before, rows(app))
    assert run(app, "restore", str(tmp_path / "none.zip")).exit_code == 1
    assert not (tmp_path / "backups").exists()


def test_another_shop_and_real_orders_are_asked_about_twice(app: Flask, tmp_path: Path) -> None:
    Buyer(app).buy()
    file = tmp_path / "kept.zip"
    run(app, "backup", str(file))
    other = tmp_path / "foreign.zip"
    other.write_bytes(rewritten(file, lambda m: m.update(shop="another")))
    refused = run(app, "restore", str(other), "--yes")
    assert (refused.exit_code, "of another shop" in refused.output) == (1, True)
    with app.app_context(), db.engine.begin() as connection:
        connection.execute(text("UPDATE orders SET mode = 'live'"))
    for given in ("y\n", "y\nWrong Shop\n", "n\n"):
        assert run(app, "restore", str(file), given=given).exit_code == 1
    assert run(app, "restore", str(file), "--yes").exit_code == 1
    with app.app_context():
        assert db.session.scalar(text("SELECT mode FROM orders")) == "live"
    assert run(app, "restore", str(file), given="y\nCorner Shop\n").exit_code == 0
    with app.app_context():
        assert db.session.scalar(text("SELECT mode FROM orders")) == "sandbox"
    # What was here before is kept beside the shop's data.
    assert len(list((tmp_path / "backups").glob("before-restore-*.zip"))) == 1


def test_an_older_backup_is_brought_up_to_this_version(
    make_app: Callable[..., Flask], tmp_path: Path
) -> None:
    old = make_app(DATABASE_URL=None, SHOP_DATA_DIR=tmp_path / "old")
    (tmp_path / "old").mkdir()
    with old.app_context():
        bring_to("0002")
        fill()
        made = tmp_path / "old.zip"
        found = db.metadata.__class__()
        found.reflect(db.engine)
        tables = {}
        with ZipFile(made, "w") as file, db.engine.connect() as connection:
            for table in found.sorted_tables:
                if table.name in backup.LEFT_OUT:
                    continue
                lines = [
                    json.dumps(dict(row), default=backup._encoded).encode() + b"\n"
                    for row in connection.execute(table.select()).mappings()
                ]
                file.writestr(f"tables/{table.name}.jsonl", b"".join(lines))
                digest = backup.hashlib.sha256(b"".join(lines)).hexdigest()
                tables[table.name] = {"rows": len(lines), "sha256": digest}
            manifest = {
                "format": 1, "revision": "0002", "made_at": "2026-03-01T00:00:00+00:00",
                "shop": "", "name": "Old", "tables": tables,
            }  # fmt: skip
            file.writestr(backup.MANIFEST, json.dumps(manifest))
    with old.app_context():
        migrations.upgrade()
    app = make_app(SHOP_DATA_DIR=tmp_path / "new", DATABASE_URL=None)
    result = run(app, "restore", str(made))
    assert result.exit_code == 0, result.output
    same(rows(old), rows(app))


KILLED = """
import os, sys
from shop import create_app, backup, restore
app = create_app({"SECRET_KEY": "for tests only, 32 characters", "SHOP_DATA_DIR": sys.argv[1]})
with app.app_context():
    from pathlib import Path
    counted = restore._count_above
    def die(number):
        os.kill(os.getpid(), 9)
    restore._count_above = die
    restore.restore(backup.read(Path(sys.argv[2])))
"""


def test_a_restore_that_is_killed_has_changed_nothing(app: Flask, tmp_path: Path) -> None:
    Buyer(app).buy()
    file = tmp_path / "kept.zip"
    run(app, "backup", str(file))
    Buyer(app).buy()
    before = rows(app)
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path), str(file)], check=False,
        cwd=Path(__file__).parents[2], capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr
    same(before, rows(app))
    assert run(app, "restore", str(file), "--yes").exit_code == 0
    assert len(rows(app)["orders"]) == 1


def test_a_backup_that_cannot_be_written_leaves_nothing(app: Flask, tmp_path: Path) -> None:
    there = tmp_path / "there.zip"
    there.write_bytes(b"mine")
    for path in (there, tmp_path / "no folder" / "x.zip", Path("/proc/x.zip")):
        result = run(app, "backup", str(path))
        assert (result.exit_code, "could not be written" in result.output) == (1, True)
    assert there.read_bytes() == b"mine"
    assert not list(tmp_path.glob(".backup-*"))


def test_the_newest_seven_of_each_kind_stay(app: Flask, tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    for day in range(10, 19):
        (folder / f"shop-202601{day}-000000.zip").write_bytes(b"old")
        (folder / f"before-restore-202601{day}-000000.zip").write_bytes(b"old")
    (folder / "shop-before-the-move.zip").write_bytes(b"mine")
    assert run(app, "backup").exit_code == 0
    with app.app_context():
        backup.make(kind="before-restore")
    kept = sorted(path.name for path in folder.iterdir())
    assert [name.startswith("before-restore-") for name in kept] == [True] * 7 + [False] * 8
    assert kept[-1] == "shop-before-the-move.zip"
    assert "shop-20260118-000000.zip" in kept


def test_numbers_that_stripe_does_not_tell_now_are_asked_for_later(
    app: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "kept.zip"
    Buyer(app).buy()
    run(app, "backup", str(file))
    for _order in range(2):
        Buyer(app).buy()
    with app.app_context():
        db.engine.dispose()
    (tmp_path / "shop.sqlite3").unlink()

    def refuse(*_: Any) -> int:
        raise gateway.StripeRefused("no", "not now", is_about_request=True)

    ask = gateway.highest_number
    for report in ("restore", "reconcile"):
        monkeypatch.setattr(gateway, "highest_number", refuse)
        said = run(app, report, *([str(file)] if report == "restore" else []))
        assert "Stripe could not be asked which numbers were given" in said.output
    assert "order 3" in said.output
    monkeypatch.setattr(gateway, "highest_number", ask)
    run(app, "reconcile")
    buyer = Buyer(app)
    assert buyer.see(buyer.order()["order"])["number"] == 4
