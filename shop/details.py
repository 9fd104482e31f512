"""What the owner sets while the shop runs: who sells, what the law wants said, closed days, accent.

It stands in the database; the environment is for secrets and hosting.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import date, datetime

from flask import current_app, g
from flask_babel import gettext
from sqlalchemy import Text, delete, insert, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Mapped, mapped_column

from shop import accent
from shop.config import LANGUAGES
from shop.db import Base, Key, changed_rows, db
from shop.i18n import current_language, format_day

# Written twice, in the shop's language and in the other one: `returns` and `returns_other`.
TRANSLATED = (
    "about", "name", "responsible", "address", "hours", "fees", "delivery_time", "returns",
    "faulty", "period", "closed_note",
)  # fmt: skip
USUAL_KONBINI_DAYS = 3
MOST_KONBINI_DAYS = 60


class Detail(Base):
    """One thing that the owner has set; what stands as the shop came has no row."""

    __tablename__ = "details"
    __table_args__ = ({"info": {"stamp": "details"}},)

    name: Mapped[str] = mapped_column(Key, primary_key=True)
    value: Mapped[str] = mapped_column(Text)


@dataclass(frozen=True)
class Details:
    """What is set, as texts; an empty one is not set."""

    about: str = ""
    about_other: str = ""
    name: str = ""
    name_other: str = ""
    responsible: str = ""
    responsible_other: str = ""
    address: str = ""
    address_other: str = ""
    # Address and telephone are told to who asks for them, and do not stand on the page.
    on_request: str = ""
    phone: str = ""
    email: str = ""
    hours: str = ""
    hours_other: str = ""
    fees: str = ""
    fees_other: str = ""
    delivery_time: str = ""
    delivery_time_other: str = ""
    returns: str = ""
    returns_other: str = ""
    faulty: str = ""
    faulty_other: str = ""
    period: str = ""
    period_other: str = ""
    registration_number: str = ""
    country: str = ""
    accent: str = ""
    closed_from: str = ""
    closed_until: str = ""
    closed_note: str = ""
    closed_note_other: str = ""
    konbini_days: str = ""
    # "off": goods of which few are left are not sold to who pays at a counter.
    konbini_scarce: str = ""

    def text(self, name: str) -> str:
        """Return one of the TRANSLATED in the reader's language, else as it is written."""
        other: str = getattr(self, f"{name}_other")
        own: str = getattr(self, name)
        return own if current_language() == current_app.config["SHOP_LOCALE"] else other or own

    @property
    def home_country(self) -> str:
        """The seller's country in two letters: what is set, else where the shop's clock is."""
        if self.country:
            return self.country
        from babel.core import get_global

        zone = current_app.config["SHOP_TIMEZONE"].key
        return str(get_global("zone_territories").get(zone, "JP"))

    @property
    def is_japanese(self) -> bool:
        """Whether the law of Japan says what the shop must tell."""
        return self.home_country == "JP"

    @property
    def hold_days(self) -> int:
        """For how many days goods are held for who pays at a counter."""
        return int(self.konbini_days or USUAL_KONBINI_DAYS)

    @property
    def palette(self) -> dict[str, str]:
        """The shop's colour as mails take it."""
        return accent.palette(self.accent or accent.USUAL)

    @property
    def closed_days(self) -> tuple[date, date] | None:
        """The first and the last closed day, None where none are set."""
        if not self.closed_until:
            return None
        first = date.fromisoformat(self.closed_from or self.closed_until)
        return first, date.fromisoformat(self.closed_until)

    @property
    def is_closed(self) -> bool:
        """Whether the shop is closed today."""
        days = self.closed_days
        return days is not None and days[0] <= _today() <= days[1]

    @property
    def closed_words(self) -> str:
        """Until when the shop is closed, and what the owner says of it."""
        days = self.closed_days
        until = gettext("We are back after %(day)s.", day=format_day(days[1])) if days else ""
        return f"{until} {self.text('closed_note')}".strip()


def current() -> Details:
    """Return what is set: read once for each request, not at all under a known stamp."""
    if "details" in g:
        return g.details  # type: ignore[no-any-return]
    stamps: Mapping[str, int] | None = g.get("stamps")
    kept = current_app.extensions.get("details")
    if stamps is not None and kept is not None and kept[0] == stamps.get("details"):
        g.details = kept[1]
        return kept[1]  # type: ignore[no-any-return]
    rows = {row.name: row.value for row in db.session.scalars(select(Detail).limit(MOST_ROWS))}
    found = g.details = Details(**{name: rows[name] for name in NAMES if name in rows})
    if stamps is not None:
        current_app.extensions["details"] = (stamps.get("details"), found)
    return found


def shown() -> Details:
    """Return what is set, for pages; nothing where the database does not answer.

    Those are the pages that say so, and no reader waits for it twice.
    """
    if g.get("database_down"):
        return Details()
    try:
        return current()
    except SQLAlchemyError:
        db.session.rollback()
        return Details()


def change(values: Mapping[str, str]) -> None:
    """Set these, inside write(); an empty text takes one back."""
    changed_rows(delete(Detail).where(Detail.name.in_(values)))
    for name, value in values.items():
        if value:
            changed_rows(insert(Detail).values(name=name, value=value))
    g.pop("details", None)


def other_language() -> str:
    """Return the language of the texts whose names end in `_other`."""
    return next(one for one in LANGUAGES if one != current_app.config["SHOP_LOCALE"])


def _today() -> date:
    return datetime.now(current_app.config["SHOP_TIMEZONE"]).date()


NAMES = tuple(field.name for field in fields(Details))
MOST_ROWS = 2 * len(NAMES)
