"""The outbox: messages, kept until they have left.

A message is written here in the transaction of what it tells about: it is neither lost nor sent for
something that never happened. Sending comes later and can fail without harm.
"""

import json
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from email import policy
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime
from functools import partial
from typing import Any

from flask import current_app, render_template
from sqlalchemy import Text, UniqueConstraint, func, or_, select, update
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
from shop.i18n import force_locale
from shop.mail import smtp
from shop.parsers import mail_address

# Longer than any conversation with a mail server in which every answer comes just in time.
LEASE = timedelta(seconds=90)
# How long to wait after the first failure, the second, …; then every six hours, up to MOST_TRIES.
BACK_OFF = (1, 5, 15, 60, 360)
MOST_TRIES = 12
# Plain ASCII on the wire, whatever is written: every server can pass it on unchanged.
ON_THE_WIRE = policy.default.clone(cte_type="7bit")


class Mail(Base):
    """A message in the outbox: `waiting`, `sent` or `failed`."""

    __tablename__ = "mails"
    __table_args__ = (UniqueConstraint("subject", "kind", "about"),)

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    # What it is about, such as `order-7`. It is the only one of its kind about that, unless `about`
    # says which, the second refund say. No NULL here: a unique key with a NULL keeps nothing out.
    subject: Mapped[str] = mapped_column(Key)
    kind: Mapped[str] = mapped_column(Key)
    about: Mapped[str] = mapped_column(Key, default="")
    recipient: Mapped[str] = mapped_column(Text)
    language: Mapped[str] = mapped_column(Key)
    # What the templates say it with, as JSON.
    context: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(Key, default="waiting")
    attempts: Mapped[int] = mapped_column(default=0)
    due_at: Mapped[datetime] = mapped_column(UtcDateTime, default=now, index=True)
    lease_expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    error: Mapped[str] = mapped_column(Text, default="")
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=now)


def put(
    subject: str, kind: str, to: str, language: str, context: dict[str, Any], about: str = ""
) -> None:
    """Put a message into the outbox, inside write(); the same message only once."""
    insert_once(
        Mail,
        subject=subject,
        kind=kind,
        about=about,
        recipient=to,
        language=language,
        context=json.dumps(context),
    )


def put_again(subject: str, kind: str, to: str, language: str, context: dict[str, Any]) -> None:
    """Put a message into the outbox, inside write(), as a new one each time it is asked for."""
    values = {"recipient": to, "language": language, "context": json.dumps(context)}
    line = {"state": "waiting", "attempts": 0, "due_at": now(), "error": "", "created_at": now()}
    earlier = update(Mail).where(Mail.subject == subject, Mail.kind == kind)
    # Its lease stays: while the message is just leaving, nobody else may send it too.
    if not changed_rows(earlier.values(values | line)):
        put(subject, kind, to, language, context)


def send_due(most: int = 1) -> int:
    """Send up to `most` messages that are due; return how many left. Failures wait and are kept."""
    return sum(send_each(most))


def send_each(most: int) -> Iterator[bool]:
    """Send up to `most` messages that are due, one with each step; yield whether it left."""
    for _ in range(most):
        mail = _lease()
        if mail is None:
            return
        yield _send(mail)


def put_back() -> None:
    """Make all messages that wait or were given up due at once, with all their tries before them.

    For an owner who has mended what kept them.
    """

    def unit() -> None:
        values = {"state": "waiting", "attempts": 0, "due_at": now(), "lease_expires_at": None}
        changed_rows(update(Mail).where(Mail.state == "failed").values(values))
        changed_rows(update(Mail).where(Mail.state == "waiting").values(due_at=now()))

    write(unit)


def count_due() -> int:
    """Return how many messages could be sent now."""
    count = db.session.scalar(select(func.count()).select_from(Mail).where(_free()))
    end_read()
    return count or 0


def newest(most: int = 1000) -> list[Mail]:
    """Return the newest messages, newest last."""
    mails = db.session.scalars(select(Mail).order_by(Mail.id.desc()).limit(most)).all()
    return list(reversed(mails))


def list_mails() -> list[dict[str, Any]]:
    """Return the newest messages as the JSON of the command line."""
    return [
        {
            "order": json.loads(mail.context)["order"],
            "kind": mail.kind,
            "to": mail.recipient,
            "state": mail.state,
            "attempts": mail.attempts,
            "error": mail.error,
        }
        for mail in newest()
    ]


def _free() -> Any:
    """Return the condition of a message that is due and that nobody is sending."""
    unleased = or_(Mail.lease_expires_at.is_(None), Mail.lease_expires_at < now())
    return (Mail.state == "waiting") & (Mail.due_at <= now()) & unleased


def _lease() -> int | None:
    """Claim the message that is due longest and return its id: nobody else sends it meanwhile."""
    while True:
        first = select(Mail.id).where(_free()).order_by(Mail.due_at, Mail.id).limit(1)
        mail_id = db.session.scalar(first)
        end_read()
        values = {"lease_expires_at": now() + LEASE, "attempts": Mail.attempts + 1}
        claim = update(Mail).where(Mail.id == mail_id, _free()).values(values)
        if mail_id is None or write(partial(changed_rows, claim)):
            return mail_id


def _send(mail_id: int) -> bool:
    mail = db.session.get_one(Mail, mail_id)
    attempts = mail.attempts
    try:
        message = _compose(mail)
        end_read()
        smtp.send(current_app.config["MAIL_URL"], message)
    # Whatever it is, it is kept with the message, where the owner sees it, and tried again later.
    except Exception as error:
        _keep_failure(mail_id, attempts, error)
        return False
    # Put in again meanwhile, it has no tries yet: what left was the message before it.
    left = update(Mail).where(Mail.id == mail_id, Mail.attempts >= attempts)
    sent = {"state": "sent", "error": "", "lease_expires_at": None}
    write(lambda: changed_rows(left.values(sent)))
    return True


def _keep_failure(mail_id: int, attempts: int, error: Exception) -> None:
    """Note why the message did not leave, and when it is tried again, if at all."""
    named = isinstance(error, smtp.NotSent)
    text = str(error) if named else f"{type(error).__name__}: {error}"
    # On one line that every database can keep.
    reason = " ".join("".join(c if c.isprintable() else " " for c in text).split())[:500]
    # The customers' addresses are nobody's business who reads the log.
    public = re.sub(r"[^\s<>]+@[^\s<>]+", "[address]", reason)
    current_app.logger.warning("mail %s was not sent: %s", mail_id, public)
    for_good = isinstance(error, smtp.RecipientRefused) or attempts >= MOST_TRIES
    minutes = BACK_OFF[min(attempts, len(BACK_OFF)) - 1]
    values = {
        "state": "failed" if for_good else "waiting",
        "due_at": now() + timedelta(minutes=minutes),
        "lease_expires_at": None,
        "error": reason,
    }
    # Another process may have taken it over after a lease that ran out.
    ours = (Mail.id == mail_id) & (Mail.attempts == attempts) & (Mail.state == "waiting")
    soon = now() + timedelta(minutes=BACK_OFF[0])

    def unit() -> None:
        changed_rows(update(Mail).where(ours).values(values))
        if isinstance(error, smtp.ServerAway):
            # The others would only cost the next visitors as long, one after the other.
            changed_rows(update(Mail).where(_free(), Mail.id != mail_id).values(due_at=soon))

    write(unit)


def _compose(mail: Mail) -> EmailMessage:
    """Return the message in the reader's language, as text and as HTML."""
    context = json.loads(mail.context)
    message = EmailMessage(ON_THE_WIRE)
    with force_locale(mail.language):
        names = {"order": context, "language": mail.language}
        subject = render_template(f"mail/{mail.kind}.subject.txt", **names)
        message.set_content(render_template(f"mail/{mail.kind}.txt", **names))
        message.add_alternative(render_template(f"mail/{mail.kind}.html", **names), subtype="html")
    message["Subject"] = " ".join(subject.split())
    sender = _address(current_app.config["SHOP_MAIL_FROM"])
    message["From"] = sender
    try:
        message["To"] = _address(mail.recipient)
    except ValueError as error:
        raise smtp.RecipientRefused(f"{mail.recipient!r} is not one mail address") from error
    message["Date"] = format_datetime(mail.created_at)
    # The same for every try, so that a mail program shows a repeated one once.
    name = f"{mail.subject}.{mail.kind}-{mail.about}".removesuffix("-")
    message["Message-ID"] = f"<{name}.{mail.created_at:%Y%m%d%H%M%S}@{sender.domain}>"
    return message


def _address(text: str) -> Address:
    """Return the address as mail servers take it; raise ValueError for none, several or odd ones.

    Taken apart here: the parser of the library reads a recipient into what is none, and refuses
    the dots that old addresses of Japanese telephones have where no others may (`a..b.@`).
    """
    local, _, domain = mail_address(text).rpartition("@")
    if not local.isascii() or not text.isprintable():
        raise ValueError(text)
    return Address(username=local, domain=domain.encode("idna").decode())
