"""Who may enter the back office, where they are signed in, and what they did."""

from datetime import datetime

from sqlalchemy import ForeignKey, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from shop.db import Base, Key, RowId, UtcDateTime, now


class Owner(Base):
    """A person who runs the shop. The address is in lower case."""

    __tablename__ = "owners"

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    email: Mapped[str] = mapped_column(Key, unique=True)
    password_hash: Mapped[str] = mapped_column(Text)
    # Made by `flask shop demo` to look around with: good on the developer's own machine alone.
    is_demo: Mapped[bool] = mapped_column(default=False)
    # Of a way in without the password, once: a hash of what its address ends with.
    link_hash: Mapped[str | None] = mapped_column(Key, unique=True)
    link_ends_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=now)


class OwnerSession(Base):
    """A browser in which an owner is signed in; without its row the cookie opens nothing."""

    __tablename__ = "owner_sessions"

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    # Of the token in the cookie: who reads the database cannot sign in with it.
    token_hash: Mapped[str] = mapped_column(Key, unique=True)
    owner_id: Mapped[int] = mapped_column(ForeignKey("owners.id"), index=True)
    browser: Mapped[str] = mapped_column(Text, default="")
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    seen_at: Mapped[datetime] = mapped_column(UtcDateTime, default=now)

    owner: Mapped[Owner] = relationship(lazy="joined")


class AuditEntry(Base):
    """What an owner did. It stays when the owner is gone."""

    __tablename__ = "audit"

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    # The address of the owner, or what else acted.
    who: Mapped[str] = mapped_column(Text)
    action: Mapped[str] = mapped_column(Key)
    # A name of goods, say.
    subject: Mapped[str] = mapped_column(Text, default="")
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
