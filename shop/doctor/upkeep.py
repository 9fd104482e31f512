"""What an owner sees to: regular tasks, backups, the law, goods, owners.

Each check returns a Finding, or None where there is nothing to look at.
"""

from datetime import timedelta

from flask import current_app
from flask_babel import gettext as _
from sqlalchemy import select

from shop.catalog import legal
from shop.catalog.models import Product
from shop.db import Base, db, now
from shop.doctor.host import Finding
from shop.doctor.partners import is_at_stripe, mode
from shop.i18n import format_moment
from shop.orders import queries
from shop.payments.models import recall

CRON_EVERY = timedelta(hours=26)
BOOKS_EVERY = timedelta(hours=48)
BACKUP_EVERY = timedelta(days=7)


def cron() -> Finding | None:
    """Tell when waiting mails were last sent by the host's clock."""
    todo = _("Let your host run “flask shop mail send” every few minutes and “flask shop reconcile”"
             " once a day, or fetch /tasks with SHOP_TASK_TOKEN.")  # fmt: skip
    return _regular("cron", "mail_run", CRON_EVERY, todo)


def books() -> Finding | None:
    """Tell when the books were last compared with Stripe's."""
    todo = _("Let your host run “flask shop reconcile” once a day.")
    return _regular("books", "compared", BOOKS_EVERY, todo)


def backup() -> Finding | None:
    """Tell when the last backup of live orders was made."""
    todo = _("Run “flask shop backup”, and keep the file elsewhere.")
    return _regular("backup", "backup", BACKUP_EVERY, todo) if mode() == "live" else None


def _regular(name: str, key: str, most: timedelta, todo: str) -> Finding | None:
    """Tell whether what is to be done again and again was done in time, once there are orders."""
    if not is_at_stripe() or queries.newest_paid(now()) is None:
        return None
    last = recall(key)
    what = _("Last done on %(day)s.", day=format_moment(last))
    if not last.timestamp():
        what = _("Not done yet.")
    if last < now() - most:
        return Finding(name, "look", what, todo)
    return Finding(name, "ok", what)


def notice() -> Finding | None:
    """Tell what the legal notice of a live shop lacks."""
    if mode() != "live":
        return None
    missing = legal.missing()
    if not missing:
        return Finding("legal", "ok", _("Nothing that the law asks for is missing."))
    what = _("Japanese law asks for what is still missing: %(names)s.", names=", ".join(missing))
    return Finding("legal", "look", what, _("Fill it in under Details in the back office."))


def card() -> Finding | None:
    """Warn of a way to pay that Japan's rules do not allow."""
    config = current_app.config
    if not (config["SHOP_LEGACY_CHARGE"] and mode() == "live" and config["SHOP_CURRENCY"] == "jpy"):
        return None
    what = _("Japan asks for 3-D Secure, which the legacy card page cannot do.")
    return Finding("card", "broken", what, _("Set SHOP_LEGACY_CHARGE=off."))


def goods() -> Finding:
    """Tell whether there is anything to buy."""
    on_sale = select(Product.id).where(Product.active, Product.parent_id.is_(None)).limit(1)
    if db.session.scalar(on_sale) is not None:
        return Finding("goods", "ok", _("There is something to buy."))
    what = _("Nothing is on the shelf.")
    return Finding("goods", "look", what, _("Put something there under Goods in the back office."))


def owners() -> Finding:
    """Tell whether anybody may enter the back office."""
    table = Base.metadata.tables["owners"]
    if db.session.scalar(select(table.c.id).limit(1)) is not None:
        return Finding("owners", "ok", _("Somebody may enter the back office."))
    what = _("Nobody can enter the back office.")
    return Finding("owners", "look", what, _("Run: flask shop owner add you@example.com"))
