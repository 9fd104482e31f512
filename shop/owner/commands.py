"""`flask shop owner …` and `flask shop demo`: who may enter the back office."""

import sys

import click
from sqlalchemy import select

from shop import demo as samples
from shop.cli import Command, ShopGroup
from shop.db import db, end_read, write
from shop.i18n import format_moment
from shop.owner import owners
from shop.owner.models import Owner
from shop.security import external_url

owner = ShopGroup("owner", help="Who may enter the back office.")
PASSWORD = click.option(
    "--password-stdin", is_flag=True, help="Take the password from standard input."
)


@owner.command()
@click.argument("email")
@PASSWORD
def add(email: str, password_stdin: bool) -> None:
    """Let the person with this mail address into the back office."""
    owners.add(email, _password(password_stdin))
    click.echo(f"{email.strip().lower()} may sign in at {external_url('owner.login')}.")


@owner.command()
@click.argument("email")
@PASSWORD
def passwd(email: str, password_stdin: bool) -> None:
    """Give an owner another password, and sign all their browsers out."""
    owners.replace_password(owners.get(email), _password(password_stdin))
    click.echo("The password is changed, and every browser is signed out.")


@owner.command()
@click.argument("email")
def link(email: str) -> None:
    """Print a way in for an owner who has forgotten the password: once, within an hour."""
    token = owners.make_link(owners.get(email))
    click.echo(external_url("owner.way_in", token=token))


@owner.command()
@click.argument("email")
@click.option("--yes", is_flag=True, help="Do not ask.")
def remove(email: str, yes: bool) -> None:
    """Let an owner in no more. What they did stays written down."""
    found = owners.get(email)
    owner_id, address = found.id, found.email
    end_read()  # who takes their time to answer keeps nobody from writing
    if not yes:
        click.confirm(f"Shall {address} enter no more?", abort=True)
    write(lambda: owners.remove(owner_id))
    click.echo(f"{address} is no owner any more.")


@owner.command("list")
def list_owners() -> None:
    """List who may enter the back office, and since when."""
    found = db.session.scalars(select(Owner).order_by(Owner.id)).all()
    for one in found:
        demo_only = " (to look around, on this machine alone)" if one.is_demo else ""
        click.echo(f"{one.email}, since {format_moment(one.created_at)}{demo_only}")
    if not found:
        click.echo("Nobody yet: flask shop owner add EMAIL")


@click.command(cls=Command)
def demo() -> None:
    """Put sample goods on the shelves and topics on the board. Safe to repeat.

    To look around, before there are goods of your own.
    """
    added = samples.fill()
    samples.hang_pictures()
    click.echo(f"Added {added} samples." if added else "The samples are there already.")
    password = owners.make_demo_owner()
    if password:
        click.echo(f"The back office: {external_url('owner.login')}")
        click.echo(f"  address  {owners.DEMO_EMAIL}")
        click.echo(f"  password {password}  (a new one each time; good on this machine alone)")


def _password(from_stdin: bool) -> str:
    """Return a password from standard input, else typed twice."""
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    typed: str = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    return typed
