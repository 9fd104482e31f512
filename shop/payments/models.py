"""An order's payments at Stripe: attempts, disputes and the inbox of events."""

import json
from datetime import UTC, datetime, timedelta

from flask import current_app
from sqlalchemy import BigInteger, ForeignKey, Text, UniqueConstraint, delete, select, update
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
from shop.orders.models import new_token
from shop.payments.gateway.objects import Event


class Attempt(Base):
    """One try to collect the money of an order, written before Stripe is called."""

    __tablename__ = "attempts"
    __table_args__ = (UniqueConstraint("order_id", "number"),)

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    order_id: Mapped[int] = mapped_column(ForeignKey("orders.id"))
    # The order's id while the attempt is open: the database allows one open attempt per order.
    open_order_id: Mapped[int | None] = mapped_column(RowId, unique=True)
    number: Mapped[int]
    kind: Mapped[str] = mapped_column(Key, default="checkout")
    # Stripe's idempotency key, and exactly what goes out under it.
    key: Mapped[str] = mapped_column(Key, unique=True)
    params: Mapped[str] = mapped_column(Text)
    # The id of the session or charge at Stripe, once its answer has come.
    stripe_id: Mapped[str | None] = mapped_column(Key, unique=True)
    url: Mapped[str | None] = mapped_column(Text)
    # Of a slip: what is typed in at each store, as JSON; see Slip.
    slip_codes: Mapped[str | None] = mapped_column(Text)
    # open, withdrawn (about to be ended), paid, declined, expired, or failed: Stripe refused it.
    outcome: Mapped[str] = mapped_column(Key, default="open")
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)
    # When Stripe was last asked about it outside an event.
    checked_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    @property
    def pay_by(self) -> datetime | None:
        """Until when a slip can be paid; what ends within the hour is the page of the session."""
        return self.expires_at if self.expires_at > self.created_at + timedelta(hours=1) else None

    @property
    def codes(self) -> list[list[str]]:
        """Of each store where a slip can be paid: its name, and the numbers that it asks for."""
        return json.loads(self.slip_codes or "[]")  # type: ignore[no-any-return]


class Dispute(Base):
    """A payment that the cardholder's bank took back, for now or for good; `state` is Stripe's.

    https://docs.stripe.com/api/disputes/object
    """

    __tablename__ = "disputes"

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    order_id: Mapped[int] = mapped_column(ForeignKey("orders.id"), index=True)
    stripe_id: Mapped[str] = mapped_column(Key, unique=True)
    amount: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str] = mapped_column(Key)
    reason: Mapped[str] = mapped_column(Key)
    state: Mapped[str] = mapped_column(Key)
    opened_at: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    # Until when Stripe takes the owner's answer.
    due_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    closed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class KeyValue(Base):
    """What this database knows of itself: its random id, and how far the events were read."""

    __tablename__ = "key_values"

    name: Mapped[str] = mapped_column(Key, primary_key=True)
    value: Mapped[str] = mapped_column(Text)


def shop_id() -> str:
    """Return the random id of this database, made here when first asked for; inside write().

    What is paid carries it, so that a copy of the database knows its own payments at Stripe.
    """
    found = db.session.get(KeyValue, "shop")
    if found is None:
        insert_once(KeyValue, name="shop", value=new_token())
        found = db.session.get_one(KeyValue, "shop")
    return found.value


def kept(name: str) -> str | None:
    """Return what is kept under a name for the current mode."""
    mine = select(KeyValue.value).where(KeyValue.name == _in_mode(name))
    return db.session.scalar(mine)


def keep(name: str, value: str) -> None:
    """Keep a value for the current mode, inside write(), in place of the one before."""
    key = _in_mode(name)
    if not insert_once(KeyValue, name=key, value=value):
        changed_rows(update(KeyValue).where(KeyValue.name == key).values(value=value))


def forget(name: str) -> None:
    """Keep nothing under a name for the current mode any more, inside write()."""
    changed_rows(delete(KeyValue).where(KeyValue.name == _in_mode(name)))


def recall(name: str) -> datetime:
    """Return the moment that is kept for the current mode, else one that is long ago."""
    moment = datetime.fromtimestamp(int(kept(name) or 0), UTC)
    end_read()
    return moment


def remember(name: str, moment: datetime) -> None:
    """Keep a moment for the current mode; the one before is forgotten."""
    write(lambda: keep(name, str(int(moment.timestamp()))))


def _in_mode(name: str) -> str:
    return f"{name} {current_app.config['SHOP_MODE']}"


class StripeEvent(Base):
    """The inbox: an event is written here in the transaction of what it caused, once."""

    __tablename__ = "stripe_events"

    id: Mapped[str] = mapped_column(Key, primary_key=True)
    type: Mapped[str] = mapped_column(Key)
    object_id: Mapped[str] = mapped_column(Key)
    received_at: Mapped[datetime] = mapped_column(UtcDateTime, default=now, index=True)


def take_event(event: Event) -> bool:
    """Put an event into the inbox, inside write(); return whether it was not there yet."""
    return insert_once(
        StripeEvent, id=event.id, type=event.type, object_id=event.object_id, received_at=now()
    )
