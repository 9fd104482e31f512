"""`flask shop …`: what the owner does at a command line."""

import json
import sqlite3
import sys
from collections.abc import Iterable
from typing import Any

import click
from flask import current_app
from flask.cli import AppGroup, with_appcontext
from sqlalchemy import exc, select

from shop import demo as samples
from shop import migrations
from shop.db import db, end_read
from shop.errors import ShopError
from shop.i18n import format_moment
from shop.mail import outbox
from shop.money import Money
from shop.orders import ledger, queries, shipping
from shop.orders.models import Order
from shop.payments import refunds, review
from shop.payments.reconcile import reconcile as run_reconcile
from shop.payments.report import Mismatch, Report


class Command(click.Command):
    """A command that runs on a database which fits this code, and on no other."""

    def invoke(self, ctx: click.Context) -> Any:
        """Check the database, then run the command."""
        with_appcontext(migrations.check)()
        return super().invoke(ctx)


class ShopGroup(AppGroup):
    """Commands that say in one line what went wrong."""

    command_class = Command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a refusal of the shop or of its database ends it with status 1."""
        try:
            return super().invoke(ctx)
        except ShopError as error:
            raise click.ClickException(error.message) from error
        except exc.DBAPIError as error:
            raise click.ClickException(_in_one_line(error)) from error
        except exc.TimeoutError as error:
            raise click.ClickException("The database is busy. Try again in a minute.") from error


def _in_one_line(error: exc.DBAPIError) -> str:
    """Return what the database said, and where to look."""
    said = str(error.orig.args[-1] if error.orig and error.orig.args else error.orig)
    reason = " ".join(said.splitlines()[:1]).rstrip(".?")
    where = "whether its server runs, and what its user may do there"
    if isinstance(error.orig, sqlite3.Error):
        where = "SHOP_DATA_DIR, and whether the shop may write there"
    return f"The database does not answer as it should: {reason}. Look at DATABASE_URL, {where}."


shop = ShopGroup("shop", help="Look after the shop.")
mail = ShopGroup("mail", help="The outbox.")
shop.add_command(mail)


@shop.command(cls=click.Command)
def init() -> None:
    """Make the data folder, the secret and the newest schema. Safe to repeat."""
    if migrations.is_old():
        click.echo(
            "Updating the database. Stop the shop's workers first if they still run: the old code "
            "cannot read the new tables."
        )
    migrations.upgrade()
    click.echo(f"Ready. The data is in {current_app.config['SHOP_DATA_DIR']}.")


@shop.command()
def demo() -> None:
    """Put sample goods on the shelves and topics on the board. Safe to repeat."""
    added = samples.fill()
    click.echo(f"Added {added} samples." if added else "The samples are there already.")


@shop.command()
@click.option("--state", help="Only orders in this state.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def orders(state: str | None, as_json: bool) -> None:
    """List the orders, oldest first."""
    query = select(Order).order_by(Order.id)
    found = db.session.scalars(query.where(Order.state == state) if state else query).all()
    _print([_order_json(order) for order in found] if as_json else map(_order_line, found))


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
        for line in _report_lines(report, dry_run):
            click.echo(line)
    for one in dict.fromkeys(report.skipped):
        said = f"Skipped {one}: it is not as Stripe describes such things. Please look at it there."
        click.echo(said, err=True)
    if report.failures:
        raise click.ClickException(
            f"Not done: {', '.join(report.failures)}. What is written down here stays as it is; "
            "run this again in a few minutes."
        )


@shop.command()
@click.argument("number", type=int)
@click.option("--amount", type=int, help="How much, in minor units; all that is left if not given.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--key", help="A name for this wish: the same name again is the same refund.")
def refund(number: int, amount: int | None, yes: bool, key: str | None) -> None:
    """Give the money of an order back, all or a part of it."""
    order = queries.find_by_number(number)
    entries = ledger.entries(order.id)
    for entry in entries:
        if entry.is_refund:
            click.echo(f"{_in_words(entry.money)} went back on {format_moment(entry.created_at)}.")
    wanted = ledger.sums(entries).left_amount if amount is None else amount
    currency = entries[0].currency if entries else order.currency
    what = _in_words(Money(wanted, currency))
    if amount is None:
        what = f"all that is left, {what},"
    end_read()  # who takes their time to answer keeps nobody from writing
    if not yes:
        click.confirm(f"Refund {what} of order {number}?", abort=True)
        key = key or refunds.new_key()
    _say_refunded(refunds.refund(number, amount, key), number)


@shop.command()
@click.argument("number", type=int)
@click.argument("outcome", type=click.Choice(("paid", "refunded")))
@click.option("--yes", is_flag=True, help="Do not ask.")
def decide(number: int, outcome: str, yes: bool) -> None:
    """Decide about an order that needs review: take its money as paid, or give it back."""
    question = f"Take the money of order {number} as its payment, and send the goods?"
    if outcome == "refunded":
        question = f"Refund all the money of order {number}?"
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
def ship(number: int) -> None:
    """Write down that an order is on its way, and tell the customer."""
    shipping.ship(number)
    click.echo(f"Order {number} is shipped.")


@mail.command("send")
@click.option("--failed", is_flag=True, help="First put back in line what has failed.")
def mail_send(failed: bool) -> None:
    """Send every message that is due."""
    if failed:
        outbox.put_back()
    total = outbox.count_due()
    left: list[bool] = []
    for one in outbox.send_each(most=1000):
        left.append(one)
        _progress(len(left), max(total, len(left)))
    if len(left) < total and sys.stderr.isatty():
        click.echo(err=True)
    click.echo(f"{left.count(True)} sent, {left.count(False)} failed.")
    if not all(left):
        click.echo("Why, and when they are tried again: flask shop mail list")


@mail.command("list")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def mail_list(as_json: bool) -> None:
    """Show the outbox, newest last."""
    _print(outbox.list_mails() if as_json else map(_mail_line, outbox.newest()))


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


def _report_lines(report: Report, dry_run: bool) -> list[str]:
    lines = [_mismatch_line(row) for row in report.mismatches]
    end_read()
    asked = f"{_count(report.checked, 'open payment')} asked about"
    put_right = "nothing written" if dry_run else f"{_count(report.settled, 'order')} put right"
    lines.append(f"{asked}, {put_right}.")
    if report.is_compared:
        agree = "agrees" if report.agreed == 1 else "agree"
        lines.append(f"{_count(report.agreed, 'payment')} {agree} with Stripe.")
    return lines


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _mismatch_line(row: Mismatch) -> str:
    if not row.order:
        return f"Stripe has the payment {row.stripe} of {row.ours}, which is not here."
    number = queries.get_order(row.order).number
    said = {
        "state": f"{row.ours} here, {row.stripe} at Stripe",
        "amount": f"paid {row.ours} here, {row.stripe} at Stripe (minor units)",
        "refund": f"refunded {row.ours} here, {row.stripe} at Stripe (minor units)",
        "dispute": "disputed at Stripe, not here",
        "unknown_at_stripe": f"{row.ours} here, but Stripe does not know its payment",
        "missing_here": f"{row.ours} here; Stripe has its payment {row.stripe}, which is not here",
    }
    return f"Order {number}: {said[row.kind]}."


def _say_refunded(amounts: list[Money], number: int) -> None:
    for money in amounts:
        click.echo(f"{_in_words(money)} of order {number} goes back to the customer.")


def _in_words(money: Money) -> str:
    return money.format(current_app.config["SHOP_LOCALE"])


def _mail_line(row: outbox.Mail) -> str:
    zone = current_app.config["SHOP_TIMEZONE"]
    due = f"{row.due_at.astimezone(zone):%Y-%m-%d %H:%M}" if row.state == "waiting" else ""
    tried = f"{row.state:<8} {row.attempts:>2}x  {due:<16}"
    return f"{tried}  {row.kind:<20} {row.recipient}  {row.error}"


def _order_line(order: Order) -> str:
    total = _in_words(order.total)
    return f"{order.number:>6}  {order.state:<18} {total:>12}  {order.mode:<8} {order.email or ''}"


def _order_json(order: Order) -> dict[str, Any]:
    payments = [entry.stripe_id for entry in order.ledger if entry.kind == "payment"]
    extra = {"payment_intent": (payments or [None])[0], "created": order.created_at.isoformat()}
    return order.to_dict() | extra
