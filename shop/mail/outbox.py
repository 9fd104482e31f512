"""The outbox: every message is a row here until it has left, and after.

The row is written in the transaction that the message tells about, so that no message is lost and
none tells of something that was rolled back. Sending comes later, and may fail without harm.
"""

import json
import re
from collections.abc import Collection, Iterable, Iterator
from datetime import datetime, timedelta
from email import policy
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime
from functools import partial
from typing import Any

from flask import current_app, render_template
from flask_babel import force_locale
from sqlalchemy import Text, UniqueConstraint, Update, bindparam, func, or_, select, update
from sqlalchemy.orm import Mapped, mapped_column

from shop.db import (
    Base,
    Key,
    RowId,
    UtcDateTime,
    changed_rows,
    db,
    end_read,
    insert_once,
    now,
    write,
)
from shop.mail import smtp
from shop.parsers import ascii_domain, mail_address

# Longer than a conversation with a mail server in which every answer comes just in time.
LEASE = timedelta(seconds=90)
# Minutes to wait after the first failure, the second, …; the last holds until MOST_TRIES.
BACK_OFF = (1, 5, 15, 60, 360)
MOST_TRIES = 12
OVERDUE = timedelta(hours=1)
# Plain ASCII on the wire, which every mail server passes on unchanged.
ON_THE_WIRE = policy.default.clone(cte_type="7bit")


class Mail(Base):
    """A message in the outbox: `waiting`, `sent`, `failed`, or `erased` with its person."""

    __tablename__ = "mails"
    __table_args__ = (UniqueConstraint("subject", "kind", "about"),)

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    # What the message is about, such as `order-7`. One subject has one message of a kind, unless
    # `about` tells several apart, such as "2" for the second refund. None of the three is NULL: a
    # unique key lets rows with a NULL through.
    subject: Mapped[str] = mapped_column(Key)
    kind: Mapped[str] = mapped_column(Key)
    about: Mapped[str] = mapped_column(Key, default="")
    recipient: Mapped[str] = mapped_column(Text)
    language: Mapped[str] = mapped_column(Key)
    # The values for the templates, as JSON.
    context: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(Key, default="waiting")
    attempts: Mapped[int] = mapped_column(default=0)
    due_at: Mapped[datetime] = mapped_column(default=now, index=True)
    lease_expires_at: Mapped[datetime | None]
    error: Mapped[str] = mapped_column(Text, default="")
    created_at: Mapped[datetime] = mapped_column(default=now)


# Made once: the outbox is looked at after every POST.
NOW = bindparam("now", callable_=now, type_=UtcDateTime)
# Messages that are due and that no process is sending.
FREE = (
    (Mail.state == "waiting")
    & (Mail.due_at <= NOW)
    & or_(Mail.lease_expires_at.is_(None), Mail.lease_expires_at < NOW)
)
LONGEST_DUE = select(Mail.id).where(FREE).order_by(Mail.due_at, Mail.id).limit(1)


def put(
    subject: str, kind: str, to: str, language: str, context: dict[str, Any], about: str = ""
) -> None:
    """Put a message into the outbox, inside write(); the same message only once."""
    content = {"recipient": to, "language": language, "context": json.dumps(context)}
    insert_once(Mail, subject=subject, kind=kind, about=about, **content)


def put_again(subject: str, kind: str, to: str, language: str, context: dict[str, Any]) -> None:
    """Put a message into the outbox, inside write(), in place of the earlier one of its kind."""
    content = {"recipient": to, "language": language, "context": json.dumps(context)}
    fresh = {"state": "waiting", "attempts": 0, "due_at": now(), "error": "", "created_at": now()}
    # The lease stays: while one process sends the earlier message, no other may send this one.
    earlier = update(Mail).where(Mail.subject == subject, Mail.kind == kind)
    if not changed_rows(earlier.values(content | fresh)):
        put(subject, kind, to, language, context)


def send_due(most: int = 1) -> int:
    """Send up to `most` messages that are due; return how many left. Failures wait and are kept."""
    return sum(send_each(most))


def send_each(most: int) -> Iterator[bool]:
    """Send up to `most` messages that are due, one with each step; yield whether it left."""
    for _ in range(most):
        mail_id = _lease()
        if mail_id is None:
            return
        yield _send(mail_id)


def put_back() -> None:
    """Make every unsent message due now, and give those that failed all their tries again.

    For an owner who has repaired the cause.
    """
    failed = update(Mail).where(Mail.state == "failed").values(state="waiting", attempts=0)
    unsent = update(Mail).where(Mail.state == "waiting").values(due_at=now())
    write(lambda: [changed_rows(statement) for statement in (failed, unsent)])


def about(subject: str) -> list[Mail]:
    """Return the messages about a subject, oldest first."""
    mine = select(Mail).where(Mail.subject == subject).order_by(Mail.id)
    return list(db.session.scalars(mine))


def resend(mail_id: int) -> bool:
    """Have a message sent once more, inside write(); return whether it is there, not erased."""
    again = {"state": "waiting", "attempts": 0, "due_at": now(), "error": ""}
    this = update(Mail).where(Mail.id == mail_id, Mail.state != "erased")
    return changed_rows(this.values(again)) == 1


def send_now(subject: str, kind: str) -> str:
    """Send a message ahead of all others; return why it did not leave, empty where it did."""
    mail = db.session.scalars(select(Mail).filter_by(subject=subject, kind=kind)).one()
    mail_id = mail.id
    end_read()
    if write(partial(changed_rows, _leasing(mail_id))):
        _send(mail_id)
    # Without the lease another process is just sending it.
    error = db.session.get_one(Mail, mail_id).error
    end_read()
    return error


def of_person(subjects: Collection[str], addresses: Collection[str]) -> list[Mail]:
    """Return the messages about these subjects, and those that a customer has at an address."""
    lower = {address.lower() for address in addresses}
    spelt = Mail.recipient.in_(addresses) | func.lower(Mail.recipient).in_(lower)
    theirs = Mail.subject.in_(subjects) | (spelt & ~Mail.kind.startswith("staff_", autoescape=True))
    found = db.session.scalars(select(Mail).where(theirs, Mail.state != "erased"))
    # To MariaDB, "é" is "e".
    return [one for one in found if one.subject in subjects or one.recipient.lower() in lower]


def erase(mails: Iterable[Mail]) -> None:
    """Empty messages, inside write(); that there was one of its kind stays known."""
    empty = {"recipient": "", "context": "{}", "error": "", "state": "erased"}
    ids = [one.id for one in mails]
    changed_rows(update(Mail).where(Mail.id.in_(ids)).values(empty))


def count_due() -> int:
    """Return how many messages could be sent now."""
    count = db.session.scalar(select(func.count()).select_from(Mail).where(FREE))
    end_read()
    return count or 0


def count_failed() -> int:
    """Return how many messages were given up, or wait for another try."""
    late = (Mail.state == "failed") | ((Mail.state == "waiting") & (Mail.error != ""))
    return db.session.scalar(select(func.count()).select_from(Mail).where(late)) or 0


def count_overdue() -> int:
    """Return how many messages have been due for an hour, and nobody has tried to send them."""
    late = (Mail.state == "waiting") & (Mail.error == "") & (Mail.due_at < now() - OVERDUE)
    return db.session.scalar(select(func.count()).select_from(Mail).where(late)) or 0


def try_out(seconds: float) -> None:
    """Talk with the mail server as for a message to the owner, and send none.

    Raises smtp.NotSent, and ValueError for an address that mail servers do not take.
    """
    names = "SHOP_MAIL_FROM", "SHOP_OWNER_EMAIL"
    sender, owner = (_address(current_app.config[name]).addr_spec for name in names)
    smtp.try_out(current_app.config["MAIL_URL"], sender, owner, seconds)


def newest(most: int = 1000, before: int | None = None) -> list[Mail]:
    """Return the newest messages, of those with a smaller id than `before`; newest last."""
    query = select(Mail).order_by(Mail.id.desc()).limit(most)
    if before is not None:
        query = query.where(Mail.id < before)
    return list(reversed(db.session.scalars(query).all()))


def list_mails() -> list[dict[str, Any]]:
    """Return the newest messages as the JSON of the command line."""
    return [
        {"order": json.loads(mail.context).get("order"), "kind": mail.kind, "to": mail.recipient,
         "state": mail.state, "attempts": mail.attempts, "error": mail.error}
        for mail in newest()
    ]  # fmt: skip


def _lease() -> int | None:
    """Lease the message that is due longest and return its id, or None where none is due."""
    while True:
        mail_id: int | None = db.session.scalar(LONGEST_DUE)
        end_read()
        if mail_id is None:
            return None
        if write(partial(changed_rows, _leasing(mail_id))):
            return mail_id


def _leasing(mail_id: int) -> Update:
    values = {"lease_expires_at": now() + LEASE, "attempts": Mail.attempts + 1}
    return update(Mail).where(Mail.id == mail_id, FREE).values(values)


def _send(mail_id: int) -> bool:
    mail = db.session.get_one(Mail, mail_id)
    attempts = mail.attempts
    try:
        message = _compose(mail)
        end_read()
        smtp.send(current_app.config["MAIL_URL"], message)
    # Any failure, even a broken template, is kept with the message, where the owner sees it.
    except Exception as error:
        _keep_failure(mail_id, attempts, error)
        return False
    # Fewer attempts mean that put_again() came meanwhile: the new message has still to be sent.
    this = update(Mail).where(Mail.id == mail_id, Mail.attempts >= attempts)
    this = this.where(Mail.state != "erased")
    write(lambda: changed_rows(this.values(state="sent", error="", lease_expires_at=None)))
    return True


def _keep_failure(mail_id: int, attempts: int, error: Exception) -> None:
    """Keep with the message why it did not leave, and when to try again, if at all."""
    text = str(error) if isinstance(error, smtp.NotSent) else f"{type(error).__name__}: {error}"
    # One line, without the NUL that PostgreSQL refuses.
    reason = " ".join("".join(c if c.isprintable() else " " for c in text).split())[:500]
    # The log is read by more people than the outbox, so no customer's address goes there.
    public = re.sub(r"[^\s<>]+@[^\s<>]+", "[address]", reason)
    current_app.logger.warning("mail %s was not sent: %s", mail_id, public)
    for_good = isinstance(error, smtp.RecipientRefused) or attempts >= MOST_TRIES
    due_at = now() + timedelta(minutes=BACK_OFF[min(attempts, len(BACK_OFF)) - 1])
    values = {"state": "failed" if for_good else "waiting", "lease_expires_at": None}
    # After the lease another process may have taken the message over: its outcome counts then.
    this = update(Mail).where(Mail.id == mail_id, Mail.attempts == attempts)
    mine = this.where(Mail.state == "waiting")
    statements = [mine.values(values | {"due_at": due_at, "error": reason})]
    if isinstance(error, smtp.ServerAway):
        # Each of the others would cost a visitor as long a wait for the same failure.
        others = update(Mail).where(FREE, Mail.id != mail_id)
        statements.append(others.values(due_at=now() + timedelta(minutes=BACK_OFF[0])))
    write(lambda: [changed_rows(statement) for statement in statements])


def render(kind: str, language: str, context: dict[str, Any]) -> tuple[str, str, str]:
    """Return subject, text and HTML of a message as its reader sees them."""
    names = {"order": context, "language": language}
    shop_name = " ".join(current_app.config["SHOP_NAME"].split())
    with force_locale(language):
        subject = " ".join(render_template(f"mail/{kind}.subject.txt", **names).split())
        names |= {"subject": subject, "heading": subject.removesuffix(f" · {shop_name}")}
        text, html = (render_template(f"mail/{kind}.{form}", **names) for form in ("txt", "html"))
    return subject, text, html


def _compose(mail: Mail) -> EmailMessage:
    """Return the message in the reader's language, as text and as HTML."""
    message = EmailMessage(ON_THE_WIRE)
    subject, text, html = render(mail.kind, mail.language, json.loads(mail.context))
    message.set_content(text)
    message.add_alternative(html, subtype="html")
    shop_name = " ".join(current_app.config["SHOP_NAME"].split())
    message["Subject"] = subject
    sender = _address(current_app.config["SHOP_MAIL_FROM"])
    message["From"] = Address(shop_name, sender.username, sender.domain)
    try:
        message["To"] = _address(mail.recipient)
    except ValueError as error:
        raise smtp.RecipientRefused(f"{mail.recipient!r} is not one mail address") from error
    message["Date"] = format_datetime(mail.created_at)
    # The same for every try, so that a mail program shows a repeated message once.
    name = f"{mail.subject}.{mail.kind}-{mail.about}".removesuffix("-")
    message["Message-ID"] = f"<{name}.{mail.created_at:%Y%m%d%H%M%S}@{sender.domain}>"
    return message


def _address(text: str) -> Address:
    """Return the address as mail servers take it; raise ValueError where `text` is not one.

    Address's own parser would read a recipient into some broken texts, and refuses the dots of old
    Japanese telephones' addresses (`a..b.@`).
    """
    local, _, domain = mail_address(text).rpartition("@")
    if not local.isascii() or not text.isprintable():
        raise ValueError(text)
    return Address(username=local, domain=ascii_domain(domain))
