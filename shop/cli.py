"""`flask shop …`: what the owner does at a command line."""

import json
import sys
from typing import Any

import click
from flask import current_app
from flask.cli import AppGroup
from sqlalchemy import select
from sqlalchemy.exc import InterfaceError, OperationalError

from shop.errors import ShopError


class ShopGroup(AppGroup):
    """Commands that say in one line what went wrong."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a refusal of the shop or of its database ends it with status 1."""
        try:
            return super().invoke(ctx)
        except ShopError as error:
            raise click.ClickException(error.message) from error
        except (OperationalError, InterfaceError) as error:
            raise click.ClickException(
                f"The database does not answer as it should: {error.orig}. Look at DATABASE_URL, "
                "whether its server runs, and whether flask shop init was run."
            ) from error


shop = ShopGroup("shop", help="Look after the shop.")
mail = AppGroup("mail", help="The outbox.")
shop.add_command(mail)


@shop.command()
def init() -> None:
    """Make the data folder, the secret and the newest schema. Safe to repeat."""
    from shop import migrations

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
    from shop.demo import fill

    added = fill()
    click.echo(f"Added {added} samples." if added else "The samples are there already.")


@shop.command()
@click.option("--state", help="Only orders in this state.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def orders(state: str | None, as_json: bool) -> None:
    """List the orders, oldest first."""
    from shop.db import db, end_read
    from shop.orders.models import Order

    query = select(Order).order_by(Order.id)
    found = db.session.scalars(query.where(Order.state == state) if state else query).all()
    if as_json:
        lines = [json.dumps([_order_json(order) for order in found], indent=2)]
    else:
        lines = [_order_line(order) for order in found]
    end_read()  # who reads page by page keeps nobody from writing
    for line in lines:
        click.echo(line)


@shop.command()
@click.option("--dry-run", is_flag=True, help="Only say what would change.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def reconcile(dry_run: bool, as_json: bool) -> None:
    """Ask Stripe about every payment that is still open."""
    from shop.payments.reconcile import reconcile as run

    report = run(dry_run, _progress)
    if as_json:
        click.echo(json.dumps(report.to_dict(), indent=2))
    else:
        for row in report.mismatches:
            click.echo(f"{row.order}: {row.kind}, {row.ours} here, {row.stripe} at Stripe")
        click.echo(f"{report.checked} asked about, {report.settled} settled.")
    if report.unanswered:
        raise click.ClickException(
            "We cannot reach the payment service just now. What it did not answer stays as it is; "
            "run this again in a few minutes."
        )


@shop.command()
@click.argument("number", type=int)
@click.option("--amount", type=int, help="How much, in minor units; all that is left if not given.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def refund(number: int, amount: int | None, yes: bool) -> None:
    """Give the money of an order back, all or a part of it."""
    from shop.db import end_read
    from shop.orders import queries
    from shop.payments import refunds

    order = queries.find_by_number(number)
    left = _amount(refunds.left_of(order.id), order.currency)
    what = f"all that is left, {left}," if amount is None else _amount(amount, order.currency)
    end_read()  # who takes their time to answer keeps nobody from writing
    _confirm(f"Refund {what} of order {number}?", yes)
    _say_refunded(refunds.refund(number, amount), number)


@shop.command()
@click.argument("number", type=int)
@click.argument("outcome", type=click.Choice(("paid", "refunded")))
@click.option("--yes", is_flag=True, help="Do not ask.")
def decide(number: int, outcome: str, yes: bool) -> None:
    """Decide about an order that needs review: take its money as paid, or give it back."""
    from shop.payments import review

    if outcome == "paid":
        _confirm(f"Take the money of order {number} as its payment, and send the goods?", yes)
        review.take_as_paid(number)
        click.echo(f"Order {number} is paid.")
        return
    _confirm(f"Refund all the money of order {number}?", yes)
    _say_refunded(review.give_back(number), number)


@shop.command()
@click.argument("number", type=int)
def ship(number: int) -> None:
    """Write down that an order is on its way, and tell the customer."""
    from shop.orders import shipping

    shipping.ship(number)
    click.echo(f"Order {number} is shipped.")


@mail.command("send")
@click.option("--failed", is_flag=True, help="First put back in line what has failed.")
def mail_send(failed: bool) -> None:
    """Send every message that is due."""
    from shop.mail.outbox import count_due, put_back, send_each

    if failed:
        put_back()
    total = count_due()
    left: list[bool] = []
    for one in send_each(most=1000):
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
    from shop.db import end_read
    from shop.mail.outbox import list_mails, newest

    lines = [json.dumps(list_mails(), indent=2)] if as_json else [_mail_line(m) for m in newest()]
    end_read()
    for line in lines:
        click.echo(line)


def _progress(done: int, total: int) -> None:
    """Show on a terminal how far the work is."""
    if sys.stderr.isatty():
        click.echo(f"\r{done} of {total}", nl=done == total and total > 0, err=True)


def _confirm(question: str, yes: bool) -> None:
    if not yes:
        click.confirm(question, abort=True)


def _say_refunded(amounts: list[Any], number: int) -> None:
    for money in amounts:
        amount = money.format(current_app.config["SHOP_LOCALE"])
        click.echo(f"{amount} of order {number} goes back to the customer.")


def _amount(amount: int, currency: str) -> str:
    from shop.money import Money

    return Money(amount, currency).format(current_app.config["SHOP_LOCALE"])


def _mail_line(row: Any) -> str:
    zone = current_app.config["SHOP_TIMEZONE"]
    due = f"{row.due_at.astimezone(zone):%Y-%m-%d %H:%M}" if row.state == "waiting" else ""
    tried = f"{row.state:<8} {row.attempts:>2}x  {due:<16}"
    return f"{tried}  {row.kind:<20} {row.recipient}  {row.error}"


def _order_line(order: Any) -> str:
    total = order.total.format(current_app.config["SHOP_LOCALE"])
    return f"{order.number:>6}  {order.state:<18} {total:>12}  {order.mode:<8} {order.email or ''}"


def _order_json(order: Any) -> dict[str, Any]:
    payments = [entry.stripe_id for entry in order.ledger if entry.kind == "payment"]
    extra = {
        "payment_intent": payments[0] if payments else None,
        "created": order.created_at.isoformat(),
    }
    fields: dict[str, Any] = order.to_dict()
    return fields | extra
