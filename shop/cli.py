"""`flask shop …`: what the owner does at a command line."""

import json
import sqlite3
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import sleep
from typing import Any

import click
from flask import current_app
from flask.cli import AppGroup, with_appcontext
from sqlalchemy import exc, select

from shop import backup, migrations, terminal
from shop import doctor as self_check
from shop import restore as unpacked
from shop.db import db, end_read, now, write
from shop.errors import ShopError
from shop.i18n import format_moment
from shop.mail import outbox
from shop.money import Money
from shop.orders import export, ledger, place, queries, shipping, states
from shop.orders.models import LedgerEntry
from shop.payments import connect, refunds, review
from shop.payments.gateway import StripeRefused
from shop.payments.models import Dispute, remember
from shop.payments.reconcile import reconcile as run_reconcile

# Stripe's messages come within a second or two.
PROOF_SECONDS = 30


class Command(click.Command):
    """A command that runs on a database which fits this code, and on no other."""

    def invoke(self, ctx: click.Context) -> Any:
        """Check the database, then run the command."""
        with_appcontext(migrations.check)()
        states.act_as("flask shop", "command")
        return super().invoke(ctx)


class ShopGroup(AppGroup):
    """Commands that say in one line what went wrong."""

    command_class = Command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read what was typed before the command's name."""
        with _in_one_line():
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a refusal of the shop or of its database ends it with status 1."""
        with _in_one_line():
            return super().invoke(ctx)


@contextmanager
def _in_one_line() -> Iterator[None]:
    try:
        yield
    except click.exceptions.NoArgsIsHelpError:
        raise
    except click.UsageError as error:
        more = f" More: {error.ctx.command_path} --help" if error.ctx else ""
        # Without its context it is shown without the lines about usage.
        raise click.UsageError(error.format_message() + more) from error
    except queries.OrderMissing as error:
        raise click.ClickException(
            "We cannot find this order. flask shop orders lists all of them; those of another mode "
            "than the shop's cannot be changed."
        ) from error
    except ShopError as error:
        raise click.ClickException(error.message) from error
    except exc.DBAPIError as error:
        raise click.ClickException(_said_by_database(error)) from error
    except exc.TimeoutError as error:
        raise click.ClickException("The database is busy. Try again in a minute.") from error


def _said_by_database(error: exc.DBAPIError) -> str:
    """Return what the database said, and where to look."""
    said = str(error.orig.args[-1] if error.orig and error.orig.args else error.orig)
    reason = " ".join(said.splitlines()[:1]).rstrip(".?")
    where = "whether its server runs, and what its user may do there"
    if isinstance(error.orig, sqlite3.Error):
        where = "SHOP_DATA_DIR, and whether the shop may write there"
    return f"The database does not answer as it should: {reason}. Look at DATABASE_URL, {where}."


shop = ShopGroup("shop", help="Look after the shop.")
mail = ShopGroup("mail", help="The outbox: what has left, what waits, what failed.")
shop.add_command(mail)


@shop.command(cls=click.Command)
def init() -> None:
    """Make the data folder, the secret and the newest schema. Safe to repeat.

    Before the shop opens, and after each update of its code.
    """
    if migrations.is_old():
        click.echo(
            "Updating the database. Stop the shop's workers first if they still run: the old code "
            "cannot read the new tables."
        )
    migrations.upgrade()
    click.echo(f"Ready. The data is in {current_app.config['SHOP_DATA_DIR']}.")


@shop.command(cls=click.Command)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def doctor(as_json: bool) -> None:
    """Look the shop over: its host, its database, Stripe, mail, and what the law asks for.

    After you have set something, and whenever something seems odd. Ends with 1 if it is broken.
    """
    found = self_check.examine(from_outside=True)
    _print([one.to_dict() for one in found] if as_json else terminal.finding_lines(found))
    if any(one.verdict == "broken" for one in found):
        raise SystemExit(1)


@shop.command()
@click.argument("number", type=int, required=False)
@click.option("--state", type=click.Choice(tuple(terminal.STATES)), help="Only orders in this one.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def orders(number: int | None, state: str | None, as_json: bool) -> None:
    """List the orders, or tell all that is known of order NUMBER.

    What needs you stands first: money to decide about, disputes to answer; then what is to be sent.
    Have a look every day, and at one order when its customer asks.
    """
    if number is not None and state is not None:
        raise click.UsageError("Give a number or a state, not both.")
    if number is not None:
        order = queries.find_by_number(number, only_in_mode=False)
        disputed = select(Dispute).where(Dispute.order_id == order.id).order_by(Dispute.id)
        about = select(outbox.Mail).where(outbox.Mail.subject == f"order-{order.id}")
        mails = db.session.scalars(about.order_by(outbox.Mail.id)).all()
        found = [order]
        lines = terminal.order_story(order, db.session.scalars(disputed).all(), mails)
    else:
        found = list(queries.list_orders(state))
        disputes = db.session.scalars(select(Dispute).order_by(Dispute.id)).all()
        lines = terminal.order_table(found, disputes)
    _print([export.to_dict(order) for order in found] if as_json else lines)


@shop.command()
@click.option("--dry-run", is_flag=True, help="Only say what would change.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def reconcile(dry_run: bool, as_json: bool) -> None:
    """Put right what Stripe's messages should have told, and compare both books.

    To be run once a day by the host's cron, and whenever the shop was down for a while.
    """
    report = run_reconcile(dry_run, _progress)
    if as_json:
        click.echo(json.dumps(report.to_dict(), indent=2))
    else:
        for line in terminal.report_lines(report, dry_run):
            click.echo(line)
    if not dry_run and any(not row.order for row in report.mismatches):
        # Orders that a restored backup does not have: their numbers are not given again.
        _count_above_stripes()
    for one in dict.fromkeys(report.skipped):
        said = f"Skipped {one}: it is not as Stripe describes such things. Please look at it there."
        click.echo(said, err=True)
    if report.failures:
        raise click.ClickException(
            f"Not done: {', '.join(report.failures)}. What is written down here stays as it is; "
            "run this again in a few minutes."
        )


@shop.command("connect")
@click.option("--check", is_flag=True, help="Only compare what is at Stripe with what is needed.")
def connect_webhook(check: bool) -> None:
    """Make or repair this shop's webhook at Stripe, and see that its messages arrive.

    Once Stripe's key and the shop's public address are set, and when payments are learned of late.
    """
    if check:
        found = connect.problems()
        for _kind, words in found:
            click.echo(words)
        if found:
            raise click.ClickException("To mend it: flask shop connect")
        click.echo(f"Connected: {connect.state().url}")
        return
    connect.connect()
    click.echo("The webhook is made. Waiting for Stripe's first message …")
    deliver = current_app.extensions.get("deliver_events", lambda: None)
    for _try in range(PROOF_SECONDS):
        deliver()
        if connect.state().state == "connected":
            click.echo(f"Connected: {connect.state().url}")
            return
        sleep(1)
    raise click.ClickException(
        f"No message has come within {PROOF_SECONDS} seconds. Does the shop run, and does "
        f"{connect.state().url} lead to it from the internet? Look again with --check."
    )


@shop.command()
@click.argument("number", type=int)
@click.option("--amount", type=int, help="How much, in minor units; all that is left if not given.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--key", help="A name for this wish: the same name again is the same refund.")
def refund(number: int, amount: int | None, yes: bool, key: str | None) -> None:
    """Give the money of order NUMBER back, all or a part of it.

    For goods that are returned, broken or not to be had. It says what went back before, and asks.
    """
    order = queries.find_by_number(number)
    entries = ledger.entries(order.id)
    for entry in entries:
        if entry.is_refund:
            money = terminal.in_words(entry.money)
            click.echo(f"{money} went back on {format_moment(entry.created_at)}.")
    parts = ledger.refundable(entries)
    what = f"all that is left, {_left(entries)},"
    if amount is not None and parts:
        what = terminal.in_words(Money(amount, parts[0][0].currency))
    end_read()  # who takes their time to answer keeps nobody from writing
    if not yes and parts:
        click.confirm(f"Refund {what} of order {number}?", abort=True)
        key = key or refunds.new_key()
    _say_refunded(refunds.refund(number, amount, key), number)


@shop.command()
@click.argument("number", type=int)
@click.argument("outcome", type=click.Choice(("paid", "refunded")))
@click.option("--yes", is_flag=True, help="Do not ask.")
def decide(number: int, outcome: str, yes: bool) -> None:
    """Decide about order NUMBER: take its money as paid, or give it back.

    For an order that needs your decision: it was paid late, or its money does not fit it.
    """
    order = queries.find_by_number(number)
    if order.state != "needs_review":
        raise review.NothingToDecide
    left, total = _left(ledger.entries(order.id)) or "no money", terminal.in_words(order.total)
    question = f"Take {left} as payment of order {number}, which costs {total}, and send the goods?"
    if outcome == "refunded":
        question = f"Refund all the money of order {number}, {left}?"
    end_read()
    if not yes:
        click.confirm(question, abort=True)
    if outcome == "refunded":
        _say_refunded(review.give_back(number), number)
        return
    missing = review.take_as_paid(number)
    click.echo(f"Order {number} is paid.")
    if missing:
        click.echo(
            f"But there are not enough left of “{missing}”: nothing was taken off the shelf. "
            "Write to the customer, or refund the order."
        )


@shop.command()
@click.argument("number", type=int)
@click.option("--carrier", default="", help="Who brings it, such as DHL or ヤマト運輸.")
@click.option("--tracking", default="", help="The number by which it is followed there.")
def ship(number: int, carrier: str, tracking: str) -> None:
    """Write down that order NUMBER is on its way, and tell the customer by mail.

    When you have handed the parcel in.
    """
    try:
        write(lambda: shipping.ship(number, carrier, tracking))
    except shipping.NotReady as error:
        order = queries.find_by_number(number)
        why = f"it is {terminal.STATES[order.state]}, and only what is paid is sent"
        if order.shipped_at is not None:
            why = f"it was shipped on {format_moment(order.shipped_at)}"
        raise click.ClickException(f"Order {number}: {why}. Nothing changed.") from error
    order = queries.find_by_number(number)
    told = (
        f"A mail to {order.email} is in the outbox."
        if order.email
        else ("Nobody is told: the order has no mail address.")
    )
    click.echo(f"Order {number} is shipped: {terminal.goods(order)}. {told}")


@mail.command("send")
@click.option("--failed", is_flag=True, help="First put back in line what has failed.")
def mail_send(failed: bool) -> None:
    """Send every message that is due.

    To be run every few minutes by the host's cron, and with --failed once what was wrong with the
    mail server is mended.
    """
    if failed:
        outbox.put_back()
    total = outbox.count_due()
    left: list[bool] = []
    for one in outbox.send_each(most=1000):
        left.append(one)
        _progress(len(left), max(total, len(left)))
    if len(left) < total and sys.stderr.isatty():
        click.echo(err=True)
    remember("mail_run", now())
    click.echo(f"{left.count(True)} sent, {left.count(False)} failed.")
    if not all(left):
        click.echo("Why, and when they are tried again: flask shop mail list")


@mail.command("list")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def mail_list(as_json: bool) -> None:
    """Show the outbox, newest last: what has left, what waits until when, what failed and why.

    When somebody says that no mail came.
    """
    _print(outbox.list_mails() if as_json else terminal.mail_table(outbox.newest()))


@shop.command("backup")
@click.argument("file", type=click.Path(path_type=Path), required=False)
def make_backup(file: Path | None) -> None:
    """Write all that the shop knows into FILE, or into the data folder, and read it back.

    Once a day, by the host's cron; keep a copy on another machine. It has customers' addresses.
    """
    _say_backup(backup.make(file))


@shop.command(cls=click.Command)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--yes", is_flag=True, help="Do not ask, where no real orders are here.")
@click.option("--over-live", is_flag=True, help="With --yes: not even over real orders.")
@click.option("--other-shop", is_flag=True, help="Take the backup of another shop.")
def restore(file: Path, yes: bool, over_live: bool, other_shop: bool) -> None:
    """Put the backup in FILE in the place of all that is here.

    What is here is backed up first. Every owner is signed out, and orders go on with new numbers.
    """
    found = backup.read(file)
    migrations.upgrade()
    present = unpacked.here()
    is_in_use = present["orders"] or present["owners"]
    if is_in_use and present["shop"] != found.shop and not other_shop:
        raise click.ClickException(
            "This backup is of another shop, and this one is in use. Nothing was changed. If you "
            "mean it, say --other-shop."
        )
    if is_in_use:
        click.echo(f"Here: {present['orders']} orders, {present['live']} with real money.")
        click.echo(f"In the backup of {format_moment(found.made_at)}: {found.orders} orders.")
        if not yes:
            click.confirm("Put the backup in the place of all that is here?", abort=True)
        if present["live"] and not (yes and over_live):
            name = current_app.config["SHOP_NAME"]
            if yes or click.prompt(f"Real orders are here. Type {name} to go on") != name:
                raise click.ClickException(
                    "Real orders are here, so nothing was changed. Type the shop's name when "
                    "asked, or say --yes --over-live."
                )
        _say_backup(backup.make(kind="before-restore"))
    unpacked.restore(found)
    click.echo(f"Restored: {found.orders} orders, with all that was in the backup.")
    if _count_above_stripes():
        click.echo("New orders have higher numbers than any that Stripe knows.")
    click.echo("What was paid after the backup: flask shop reconcile")


def _count_above_stripes() -> bool:
    """Go on above the numbers that Stripe knows; say it where Stripe cannot be asked."""
    try:
        place.refuse_where_off()
        unpacked.ask_for_numbers()
    except (ShopError, StripeRefused) as error:
        click.echo(
            f"Stripe could not be asked which numbers were given ({error}). Before anybody buys: "
            "flask shop reconcile", err=True,
        )  # fmt: skip
        return False
    return True


def _say_backup(made: backup.Backup) -> None:
    size = made.path.stat().st_size / 2**20
    rows = sum(made.rows.values())
    click.echo(f"{made.path}: {made.orders} orders, {rows} rows, {size:.1f} MB, read back.")


def _print(rows: list[dict[str, Any]] | Iterable[str]) -> None:
    """Print lines as they are, and a list for programs as JSON."""
    lines = [json.dumps(rows, indent=2)] if isinstance(rows, list) else list(rows)
    end_read()  # who reads page by page keeps nobody from writing
    for line in lines:
        click.echo(line)


def _progress(done: int, total: int) -> None:
    """Show on a terminal how far the work is."""
    if sys.stderr.isatty():
        click.echo(f"\r{done} of {total}", nl=done == total and total > 0, err=True)


def _left(entries: Sequence[LedgerEntry]) -> str:
    """Return what can go back of each payment, in its own currency."""
    parts = [Money(rest, payment.currency) for payment, rest in ledger.refundable(entries)]
    return " + ".join(map(terminal.in_words, parts))


def _say_refunded(amounts: list[Money], number: int) -> None:
    for money in amounts:
        click.echo(f"{terminal.in_words(money)} of order {number} goes back to the customer.")
