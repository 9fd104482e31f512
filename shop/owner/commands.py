"""What the back office has at a command line: its owners, the goods, and samples of both."""

import json
import os
import sys
from pathlib import Path
from typing import Any, BinaryIO
from zipfile import ZIP_DEFLATED, ZipFile

import click
from sqlalchemy import select

from shop import archive, privacy, terminal
from shop import demo as samples
from shop.catalog import goods as shelf
from shop.catalog import sheet, stocking
from shop.catalog.models import Product
from shop.cli import Command, ShopGroup
from shop.db import db, end_read, write
from shop.i18n import format_moment
from shop.owner import owners
from shop.owner.audit import record
from shop.owner.models import Owner
from shop.security import external_url

GOOD_FIELDS = ("id", "name", "unit_amount", "stock", "active")
PARENT_FIELDS = ("slug", "description", "tax_rate", "needs_shipping")
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
    write(lambda: owners.remove(owner_id, address))
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


goods = ShopGroup("goods", help="What is on the shelves.")


@goods.command("list")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def list_goods(as_json: bool) -> None:
    """List all goods in the shop's order, hidden ones too, with their variants under them."""
    found = shelf.list_all()
    if as_json:
        click.echo(json.dumps([_good_json(one) for one in found], indent=2))
        return
    rows = [row for one in found for row in (_good_row(one), *map(_good_row, one.all_variants))]
    for line in terminal.table(("name", "price", "stock", "address", ""), rows, right=(1, 2)):
        click.echo(line)


@goods.command("export")
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path))
def export_goods(path: Path) -> None:
    """Write all goods into FILE: a table (.csv), or with their pictures (.zip).

    To edit them in a spreadsheet, or to move them to another shop.
    """
    with archive.new_file(path) as file:
        if path.suffix.lower() != ".zip":
            file.writelines(row.encode() for row in sheet.lines())
        else:
            with ZipFile(file, "w", ZIP_DEFLATED) as made:
                made.writestr("goods.csv", "".join(sheet.lines()))
                for name, data in sheet.picture_files():
                    made.writestr(name, data)
    click.echo(f"The goods are in {path}.")


@goods.command("import")
@click.argument("file", type=click.File("rb"))
@click.option("--dry-run", is_flag=True, help="Only say what would change.")
def import_goods(file: BinaryIO, dry_run: bool) -> None:
    """Take goods from FILE: a table (.csv), or a zip with a table and its pictures.

    Goods that are there are found by slug, or else by name, and changed; new ones are added;
    nothing is removed. It does everything or, where a line is wrong, nothing.
    """
    read = sheet.read(file)
    if read.ignored:
        click.echo(f"Left out, because nobody knows them here: {', '.join(read.ignored)}")
    try:
        steps = (
            stocking.rehearse(read)
            if dry_run
            else stocking.take(
                read, lambda words: record("goods_imported", words, who=owners.COMMAND)
            )
        )
    except stocking.BadRows as bad:
        said = "".join(f"\nLine {number}: {why}" for number, why in bad.lines)
        raise click.ClickException(f"{bad.message}{said}") from bad
    rows = [(str(one.line), one.title, one.changes or one.what) for one in steps]
    news = [row for row, step in zip(rows, steps, strict=True) if step.what != "same"]
    for line in terminal.table(("line", "product", ""), news, right=(0,)) if news else ():
        click.echo(line)
    done = stocking.summary(steps)
    click.echo(f"{done}. Nothing was changed: this was a dry run." if dry_run else f"{done}.")


@click.command(cls=Command)
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path))
def export(path: Path) -> None:
    """Write everything in open formats into FILE, a zip that must not be there yet.

    To look into with other programs, or to leave. It has your customers' addresses in it.
    """
    archive.write_to(path)
    click.echo(f"Everything is in {path}: {os.path.getsize(path):,} bytes.")


@click.command(cls=Command)
@click.argument("email")
@click.option("--yes", is_flag=True, help="Do not ask.")
def erase(email: str, yes: bool) -> None:
    """Erase the person with this mail address from orders, mails and the board.

    When somebody asks to be forgotten. It says what there is, and asks.
    """
    found = privacy.find_person(email)
    end_read()  # who takes their time to answer keeps nobody from writing
    click.echo(f"Of {email} there is here: {found.words}.")
    if found.orders:
        click.echo(f"Orders: {', '.join(map(str, found.orders))}")
    click.echo(privacy.STAYS)
    if not yes:
        click.confirm("Erase this person? It cannot be taken back.", abort=True)
    erased = privacy.erase(
        email, lambda person: record("person_erased", person.words, owners.COMMAND)
    )
    click.echo(f"Erased: {erased.words}.")


def _good_row(product: Product) -> tuple[str, ...]:
    has_stock = product.stock is not None and not product.all_variants
    return (
        product.title,
        terminal.in_words(product.price),
        str(product.stock) if has_stock else "",
        f"/shop/{product.slug}" if product.slug else "",
        "" if product.active else "hidden",
    )


def _good_json(product: Product) -> dict[str, Any]:
    own = {name: getattr(product, name) for name in GOOD_FIELDS}
    if product.parent_id is None:
        own |= {name: getattr(product, name) for name in PARENT_FIELDS}
        own["currency"] = product.price.currency
        own["variants"] = [_good_json(variant) for variant in product.all_variants]
    return own


def _password(from_stdin: bool) -> str:
    """Return a password from standard input, else typed twice."""
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    typed: str = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    return typed
