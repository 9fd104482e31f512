"""A person erased, for good, and everything exported without a secret."""

import csv
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from flask import Flask
from sqlalchemy import select

from shop import backup, privacy, throttle
from shop.board.models import Topic
from shop.db import Base, db, now, write
from shop.mail.outbox import Mail, newest
from shop.orders import queries, states
from shop.orders.models import Order
from shop.payments.models import Attempt, KeyValue
from tests import canaries
from tests.actors import Answer, Browser, Buyer
from tests.conftest import Till
from tests.databases import on_all
from tests.owner.conftest import EMAIL as OWNER
from tests.owner.conftest import PASSWORD
from tests.payments.test_address import kept, order_parcel, pay
from tests.payments.test_card import charge

HANAKO = "hanako@example.com"
HOME = {"name": "山田 花子", "line1": "Orchard Lane 77", "phone": "0312345678"}
REMOVED = "Removed at the writer’s wish."


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    return make_app(SHOP_OWNER_EMAIL="owner@shop.example", STRIPE_PUBLISHABLE_KEY="pk_test_x")


def everything(app: Flask) -> str:
    """Return what stands in all columns of all tables, but for counts and pictures."""
    with app.app_context(), db.engine.connect() as connection:
        rows = [
            (table.name, *row)
            for table in Base.metadata.sorted_tables
            if table.name not in ("picture_files", "throttles")
            for row in connection.execute(select(table))
        ]
    return "\n".join(map(repr, rows))


def counts_of(app: Flask, *who: str) -> int:
    with app.app_context():
        keys = [throttle._key(name, one) for name in throttle.LIMITS for one in who]
        return db.session.query(throttle.Throttle).filter(throttle.Throttle.id.in_(keys)).count()


def visitor_of(app: Flask, number: int) -> str:
    with app.app_context():
        return db.session.get_one(Order, number).visitor


def run(app: Flask, *arguments: str, given: str | None = None) -> Result:
    return app.test_cli_runner().invoke(args=["shop", *arguments], input=given)


def erase(owner: Browser, email: str = HANAKO, **form: str) -> Answer:
    form = {"email": email, "confirm": "yes", "password": PASSWORD} | form
    return owner.submit("/owner/data/erase", form)


def bought(app: Flask, way: str = "card") -> Buyer:
    """Return a buyer whose parcel is paid, or waits for the money."""
    buyer = Buyer(app)
    order = order_parcel(buyer)
    assert pay(buyer, order["url"], way, **HOME).status == 303
    return buyer


@on_all
def test_nothing_is_left_of_who_is_erased(app: Flask, owner: Browser) -> None:
    buyer, other = bought(app), Buyer(app)
    buyer.submit("/", {"comment": "Mine alone", "name": "Hanako"})
    buyer.submit("/", {"comment": "Mine, answered", "name": "Hanako"})
    other.submit("/topics/5/replies", {"comment": "Well said"})
    other.submit("/", {"comment": "Of another"})
    buyer.submit("/topics/5/replies", {"comment": "Thank you, says Hanako"})
    buyer.submit("/topics/6/replies", {"comment": "Hanako agrees"})
    # A card that was declined: no mail address, but the other one.
    declined = {**HOME, "city": "千代田区", "state": "東京都", "postal_code": "100-0001"}
    form = {"product_id": "1", "delivery": "2", "country": "JP", **declined}
    buyer.submit("/cart/items", {"product_id": "4", "quantity": "1"})
    assert charge(buyer, "tok_chargeDeclined", **form).status == 402
    buyer.submit("/orders", {"email": HANAKO})
    owner.submit("/owner/orders/1/note", {"text": "Hanako rang, call her back"})
    owner.submit("/owner/orders/1/ship", {"carrier": "by hand", "tracking": "to 山田 花子"})
    other_order = Buyer(app)
    other_order.buy()
    visitor = visitor_of(app, 1)
    assert visitor == visitor_of(app, 2)
    before = everything(app)
    secrets = [HANAKO, *HOME.values(), "Hanako", visitor]
    assert all(one in before for one in secrets)

    seen = owner.submit("/owner/data/erase", {"email": " Hanako@EXAMPLE.com "})
    assert seen.status == 200
    for words in ("2 orders, 4 posts, 4 mails", "Order 1", "Mine alone", "Stripe keeps records"):
        assert words in seen.words
    etag = other.get("/").headers["ETag"]
    assert counts_of(app, f"address {HANAKO}", f"visitor {visitor}") == 4
    assert erase(owner).status == 303
    page = owner.get("/owner/data").words
    assert "The person is erased: 2 orders, 4 posts, 4 mails." in page
    assert counts_of(app, f"address {HANAKO}", f"visitor {visitor}") == 0
    after = everything(app)
    assert [one for one in secrets if one in after] == []
    assert "aya@example.com" in after

    board = other.get("/", If_None_Match=etag)
    assert board.status == 200
    assert "Mine alone" not in board.words
    thread = other.get("/topics/5")
    assert REMOVED in thread.words
    assert "Well said" in thread.words
    with app.app_context():
        rows = db.session.scalars(select(Topic).where(Topic.id > 3).order_by(Topic.id))
        assert [(one.comment, one.reply_count) for one in rows] == [
            (REMOVED, 1), ("Of another", 0),
        ]  # fmt: skip
        mails = {(one.subject, one.kind): one.state for one in newest()}
        assert mails["order-1", "customer_paid"] == "erased"
        assert mails["order-3", "customer_paid"] == "sent"
    order = owner.get("/owner/orders/1").words
    assert "was erased on" in order
    for words in ("T-shirt", "¥2,600", "Paid", "Thank you for the order erased"):
        assert words in order
    assert (
        "Erased a person: 2 orders, 4 posts, 4 mails hana@" in owner.get("/owner/data/audit").words
    )
    for command in (("mail", "list"), ("mail", "list", "--json"), ("orders", "1"), ("orders",)):
        assert run(app, *command).exit_code == 0
    again = erase(owner)
    assert (again.status, "Nothing here knows this address" in again.words) == (404, True)
    assert f'value="{HANAKO}"' in again.text


@on_all
def test_what_stripe_tells_later_does_not_bring_the_person_back(app: Flask, owner: Browser) -> None:
    till = Till.mounted(app)
    till.sandbox.webhooks("drop")
    buyer = Buyer(app)
    order = order_parcel(buyer)
    assert pay(buyer, order["url"], **HOME).status == 303
    assert buyer.get(f"/payments/success?session_id={order['id']}").status == 303
    # A slip that was given up here, and is paid later.
    late = Buyer(app)
    slip = order_parcel(late)
    assert pay(late, slip["url"], "konbini", **HOME).status == 303
    assert late.get(f"/orders/{slip['order']}").status == 200
    assert kept(app)[1] is not None
    with app.app_context():
        write(lambda: states.cancel(queries.get_order(slip["order"]), "expired"))
    owner.submit("/owner/orders/1/ship", {})
    run(app, "mail", "send")
    assert erase(owner).status == 303

    till.sandbox.webhooks("deliver")
    for event in reversed(till.sandbox.state["events"]):
        till.sandbox.resend(event["id"])
    till.sandbox.clock(600)
    charges = {one["metadata"]["number"]: one["id"] for one in till.sandbox.state["charges"]}
    till.sandbox.call("refunds", charge=charges["1"], amount=500)
    assert owner.submit("/owner/orders/1/recheck", {}).status == 303
    assert owner.submit("/owner/orders/2/recheck", {}).status == 303
    assert run(app, "reconcile").exit_code == 0
    with app.app_context():
        found = db.session.query(Order).order_by(Order.id).all()
        assert [one.state for one in found] == ["partially_refunded", "paid"]
        assert [(one.email, one.address) for one in found] == [(None, None)] * 2
        slips = db.session.scalars(select(Attempt.url)).all()
        assert [one for one in slips if one] == []
        told = [(one.subject, one.kind, one.context) for one in newest() if one.state != "erased"]
    assert [one[:2] for one in told] == [("order-2", "staff_new_order")]
    assert json.loads(told[0][2])["erased"]
    text = everything(app)
    assert [one for one in (HANAKO, *HOME.values()) if one in text] == []
    typed = {**HOME, "country": "JP", "city": "x"}
    refused = owner.submit("/owner/orders/1/address", typed)
    assert (refused.status, "was erased" in refused.words) == (409, True)


@on_all
def test_an_order_on_its_way_keeps_its_person(app: Flask, owner: Browser) -> None:
    bought(app)
    before = everything(app)
    refused = erase(owner)
    assert refused.status == 409
    assert "1 (it is paid and not sent)" in refused.words
    assert f'value="{HANAKO}"' in refused.text
    assert everything(app) == before
    command = run(app, "erase", HANAKO, "--yes")
    assert (command.exit_code, "not sent" in command.output) == (1, True)
    owner.submit("/owner/orders/1/ship", {})
    bought(app, "konbini")
    assert "2 (it waits for its money)" in erase(owner).words
    till = Till.mounted(app)
    till.sandbox.clock(600)
    run(app, "reconcile")
    owner.submit("/owner/orders/2/ship", {})
    charged = till.sandbox.state["charges"][-1]["id"]
    till.sandbox.press(f"charges/{charged}/dispute")
    assert "1 (the bank disputes it)" in erase(owner).words
    till.sandbox.press(f"disputes/{till.sandbox.state['disputes'][0]['id']}/close", outcome="won")
    assert erase(owner).status == 303


def test_an_open_payment_is_ended_first(app: Flask, owner: Browser) -> None:
    buyer = bought(app)
    owner.submit("/owner/orders/1/ship", {})
    waiting = order_parcel(buyer, product_id=3)
    till = Till.mounted(app)
    till.sandbox.api("error")
    refused = erase(owner)
    assert (refused.status, "order 2 can still be paid" in refused.words) == (503, True)
    assert "Nothing was erased" in refused.words
    assert kept(app)[0] is not None
    till.sandbox.api("ok")
    assert erase(owner).status == 303
    assert buyer.see(waiting["order"])["state"] == "cancelled"
    assert till.stock("last-mugs") == 5
    assert pay(buyer, waiting["url"], **HOME).status != 303
    assert HANAKO not in everything(app)


def test_trial_orders_of_another_mode_are_erased_too(
    app: Flask, make_app: Callable[..., Flask]
) -> None:
    buyer = bought(app)
    order_parcel(buyer, product_id=3)
    live = make_app(STRIPE_SECRET_KEY="sk_test_x", STRIPE_WEBHOOK_SECRET="whsec_of_the_shop")
    result = run(live, "erase", HANAKO, given="y\n")
    assert result.exit_code == 0, result.output
    assert "Erased: 2 orders" in result.output
    text = everything(app)
    assert HANAKO not in text
    assert Till.mounted(app).stock("last-mugs") == 5
    assert "flask shop" in text


@pytest.mark.parametrize(
    ("kept_as", "typed"),
    [("aya@例え.jp", "Aya@XN--R8JZ45G.jp"), ("aya@xn--r8jz45g.jp", "aya@例え.JP")],
)
def test_an_address_is_known_however_it_is_written(app: Flask, kept_as: str, typed: str) -> None:
    Buyer(app).buy()
    with app.app_context():

        def unit() -> None:
            order = db.session.get_one(Order, 1)
            order.email, order.shipped_at = kept_as, now()

        write(unit)
        assert privacy.find_person(typed).orders == [1]
        privacy.erase(typed, lambda _found: None)
        assert db.session.get_one(Order, 1).email_key is None


@pytest.mark.parametrize("typed", ["", "nobody", "@", "a@" + "x" * 300, "\x00@\x00", "山田", "%@%"])
def test_an_address_that_nobody_has_is_said(app: Flask, owner: Browser, typed: str) -> None:
    Buyer(app).buy()
    answer = owner.submit("/owner/data/erase", {"email": typed})
    assert (answer.status, "Nothing here knows this address" in answer.words) == (404, True)


def test_the_password_is_asked_for(app: Flask, owner: Browser) -> None:
    Buyer(app).buy()
    run(app, "ship", "1")
    wrong = erase(owner, "aya@example.com", password="wrong")
    assert (wrong.status, "not your password" in wrong.words) == (422, True)
    assert "1 order" in wrong.words
    refused = owner.submit("/owner/data/export", {"password": "wrong"})
    assert (refused.status, "not your password" in refused.words) == (422, True)
    assert Browser(app).submit("/owner/data/export", {"password": PASSWORD}).status == 401


# --- export ---------------------------------------------------------------------------------


def table(archive: zipfile.ZipFile, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(archive.read(name).decode("utf-8-sig"), newline="")))


def exported(owner: Browser) -> zipfile.ZipFile:
    assert owner._client is not None
    form = {"password": PASSWORD, "csrf_token": owner.token()}
    answer = owner._client.post("/owner/data/export", data=form, base_url=owner.base)
    assert answer.status_code == 200
    assert answer.headers["Content-Disposition"].startswith("attachment; filename=shop-20")
    return zipfile.ZipFile(io.BytesIO(answer.get_data()))


@on_all
def test_everything_is_in_the_export_and_no_secret(app: Flask, owner: Browser) -> None:
    buyer = bought(app)
    buyer.submit("/", {"comment": '=1+1\n次の行 "q"', "name": "@aya"})
    buyer.submit("/topics/4/replies", {"comment": "And more"})
    run(app, "owner", "link", OWNER)
    run(app, "refund", "1", "--amount", "100", "--yes")
    with app.app_context():
        write(lambda: db.session.add(KeyValue(name="whsec", value=canaries.WEBHOOK_SECRET)))
    archive = exported(owner)
    assert archive.testzip() is None
    names = set(archive.namelist())
    assert {"README.txt", "orders.csv", "orders.json", "goods.csv", "details.json"} <= names
    readme = archive.read("README.txt").decode()
    assert all(name in readme for name in names - {"README.txt"})
    [order] = table(archive, "orders.csv")
    assert (order["number"], order["amount"], order["email"]) == ("1", "2600", HANAKO)
    [line] = table(archive, "order_lines.csv")
    assert (line["name"], line["unit_amount"], line["tax_rate"]) == ("T-shirt", "2000", "10")
    assert [one["amount"] for one in table(archive, "ledger.csv")] == ["2600", "100"]
    [mine] = [one for one in table(archive, "topics.csv") if one["name"] == "'@aya"]
    assert mine["comment"] == '\'=1+1\n次の行 "q"'
    assert len(table(archive, "replies.csv")) == 1
    assert len(table(archive, "deliveries.csv")) == 2
    [told] = json.loads(archive.read("orders.json"))
    assert told["shipping"]["line1"] == HOME["line1"]
    assert [one["kind"] for one in told["timeline"]][:2] == ["ordered", "paid"]
    everything = b"\n".join(archive.read(name) for name in names).decode()
    for secret in secrets_of(app):
        assert secret not in everything, secret
    assert "Took everything out" in owner.get("/owner/data/audit").words


def secrets_of(app: Flask) -> list[str]:
    """Return what must never leave: every hash, key, token and id of a browser that is stored."""
    hidden = {
        "orders": ("token", "client_reference", "visitor", "cart_id", "dedup_key"),
        "owners": ("password_hash", "link_hash"), "owner_sessions": ("token_hash",),
        "attempts": ("key", "url"), "throttles": ("id",), "key_values": ("value",),
        "topics": ("visitor",), "replies": ("visitor",), "ledger": ("key",),
    }  # fmt: skip
    found: list[Any] = [app.config["SECRET_KEY"], app.config["STRIPE_WEBHOOK_SECRET"]]
    with app.app_context(), db.engine.connect() as connection:
        for name, columns in hidden.items():
            of = Base.metadata.tables[name].c
            rows = connection.execute(select(*(of[column] for column in columns))).all()
            found += [value for row in rows for value in row]
    secrets = [one for one in found if one]
    assert len(secrets) > 15
    return secrets


def test_a_file_that_is_there_is_left_as_it_is(app: Flask, tmp_path: Path) -> None:
    Buyer(app).buy()
    path = tmp_path / "all.zip"
    said = run(app, "export", str(path))
    assert said.exit_code == 0, said.output
    assert path.stat().st_mode & 0o777 == 0o600
    assert zipfile.ZipFile(path).testzip() is None
    before = path.read_bytes()
    again = run(app, "export", str(path))
    assert (again.exit_code, "already" in again.output) == (1, True)
    assert path.read_bytes() == before
    nowhere = run(app, "export", str(tmp_path / "no" / "all.zip"))
    assert (nowhere.exit_code, len(nowhere.output.splitlines())) == (1, 1)


def test_a_disk_that_is_full_leaves_nothing_behind(
    app: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full() -> Any:
        yield b"PK"
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shop.archive.stream", full)
    result = run(app, "export", str(tmp_path / "all.zip"))
    assert (result.exit_code, "No space left" in result.output) == (1, True)
    assert not (tmp_path / "all.zip").exists()


def test_a_mail_that_waits_is_not_sent_to_who_is_erased(app: Flask) -> None:
    Buyer(app).buy()
    run(app, "ship", "1")
    with app.app_context():
        assert [one.state for one in newest() if one.kind == "customer_shipped"] == ["waiting"]
        privacy.erase("aya@example.com", lambda _found: None)
        assert not [one for one in newest() if one.recipient == "aya@example.com"]
        assert {one.state for one in db.session.scalars(select(Mail))} == {"erased"}
    assert "0 sent" in run(app, "mail", "send", "--failed").output


def test_the_trail_goes_back_page_by_page(
    app: Flask, owner: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    for text in ("one", "two", "three"):
        Buyer(app).order()
        owner.submit("/owner/orders/1/note", {"text": text})
    first = owner.get("/owner/data/audit").words
    assert first.count("Note on order 1") == 3
    assert "Earlier" not in first
    assert "Note on order" not in owner.get("/owner/data/audit?before=2").words


def test_a_backup_is_downloaded_for_the_password(
    app: Flask, owner: Browser, tmp_path: Path
) -> None:
    assert "There is no backup yet" in owner.get("/owner/").words
    refused = owner.submit("/owner/data/backup", {"password": "wrong"})
    assert (refused.status, refused.headers["Content-Type"][:9]) == (422, "text/html")
    client: Any = owner._client
    form = {"csrf_token": owner.token(), "password": PASSWORD}
    got = client.post("/owner/data/backup", data=form, base_url=owner.base)
    file = tmp_path / "got.zip"
    file.write_bytes(got.get_data())
    got.close()
    with app.app_context():
        assert backup.read(file).rows["products"] >= 3
    assert "Last backup:" in owner.get("/owner/").words
    assert "Took a backup: shop-" in owner.get("/owner/data/audit").words


def test_an_erased_mail_is_not_sent_again(app: Flask, owner: Browser) -> None:
    Buyer(app).buy()
    assert owner.submit("/owner/orders/1/ship", {}).status == 303
    form = {"email": "aya@example.com", "confirm": "yes", "password": PASSWORD}
    assert owner.submit("/owner/data/erase", form).status == 303
    with app.app_context():
        erased = [mail.id for mail in newest() if mail.state == "erased"]
    assert erased
    page = owner.get("/owner/mail").text
    for mail_id in erased:
        assert f"/owner/mail/{mail_id}/resend" not in page
        assert owner.submit(f"/owner/mail/{mail_id}/resend", {}).status == 404
    with app.app_context():
        assert [mail.id for mail in newest() if mail.state == "erased"] == erased
