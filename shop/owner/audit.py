"""What owners do, written down in the transaction that does it."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from flask_login import current_user
from sqlalchemy import select

from shop.db import db, write
from shop.owner.models import AuditEntry

T = TypeVar("T")


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


def latest_entries(most: int = 50) -> Sequence[AuditEntry]:
    """Return what was done last, the latest first."""
    return db.session.scalars(select(AuditEntry).order_by(AuditEntry.id.desc()).limit(most)).all()
