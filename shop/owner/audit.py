"""What owners do, written down in the transaction that does it."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from flask_babel import lazy_gettext as _l
from flask_login import current_user
from sqlalchemy import select

from shop.db import db, write
from shop.owner.models import AuditEntry

T = TypeVar("T")
PAGE_SIZE = 50
# What the trail says of an action; %(subject)s is what it was about.
ACTIONS = {
    "signed_in": _l("Signed in: %(subject)s"),
    "signed_out": _l("Signed out"),
    "signed_out_elsewhere": _l("Signed all other browsers out"),
    "session_ended": _l("Signed a browser out"),
    "password_changed": _l("Changed the password"),
    "password_set": _l("New password by command: %(subject)s"),
    "link_made": _l("Way in made by command: %(subject)s"),
    "owner_added": _l("May enter: %(subject)s"),
    "owner_removed": _l("May enter no more: %(subject)s"),
    "goods_added": _l("Put on the shelf: %(subject)s"),
    "goods_changed": _l("Changed: %(subject)s"),
    "goods_moved": _l("Moved: %(subject)s"),
    "goods_shown": _l("Shown in the shop: %(subject)s"),
    "goods_hidden": _l("Hidden: %(subject)s"),
    "address_written": _l("Wrote down where order %(subject)s goes"),
    "refund_asked": _l("Asked for a refund: %(subject)s"),
    "review_paid": _l("Took the money as payment of order %(subject)s"),
    "review_refunded": _l("Gave back the money of order %(subject)s"),
    "restocked": _l("Put back on the shelf: order %(subject)s"),
    "note_written": _l("Note on order %(subject)s"),
    "mail_resent": _l("Mail sent again: %(subject)s"),
    "order_packed": _l("Packed order %(subject)s"),
    "order_shipped": _l("Sent order %(subject)s"),
    "delivery_added": _l("Delivery added: %(subject)s"),
    "delivery_changed": _l("Delivery changed: %(subject)s"),
    "delivery_moved": _l("Delivery moved: %(subject)s"),
    "delivery_removed": _l("Delivery removed: %(subject)s"),
    "details_changed": _l("Changed the shop’s details: %(subject)s"),
    "connected": _l("Connected Stripe: %(subject)s"),
    "mail_tested": _l("Sent a test mail to %(subject)s"),
    "goods_imported": _l("Took goods from a table: %(subject)s"),
    "backup_made": _l("Took a backup: %(subject)s"),
    "data_exported": _l("Took everything out in open formats"),
    "person_erased": _l("Erased a person: %(subject)s"),
    "picture_added": _l("Picture added: %(subject)s"),
    "picture_changed": _l("Picture changed: %(subject)s"),
    "picture_removed": _l("Picture removed: %(subject)s"),
}


def record(action: str, subject: str = "", who: str = "") -> None:
    """Write down what an owner does, inside write()."""
    entry = AuditEntry(who=who or current_user.email, action=action, subject=subject[:200])
    db.session.add(entry)


def recorded(unit: Callable[[], T], action: str, subject: str = "") -> T:
    """Run `unit` in a write transaction that also says what the owner did; return its result."""

    def both() -> T:
        result = unit()
        record(action, subject)
        return result

    return write(both)


def latest_entries(before: int | None = None, most: int = PAGE_SIZE) -> Sequence[AuditEntry]:
    """Return what was done last, or before the entry with the id `before`, the latest first."""
    latest = select(AuditEntry).order_by(AuditEntry.id.desc()).limit(most)
    earlier = latest if before is None else latest.where(AuditEntry.id < before)
    return db.session.scalars(earlier).all()
