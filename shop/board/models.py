"""Topics and their replies."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, Text
from sqlalchemy.orm import Mapped, mapped_column

from shop.db import Base, Key, RowId, UtcDateTime, now


class Topic(Base):
    """What a visitor posted. `comment` is plain text."""

    __tablename__ = "topics"
    __table_args__ = (Index(None, "visitor", "created_at"), {"info": {"stamp": "board"}})

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    # The browser that it came from. Posts of the owner, and the oldest ones, have none.
    visitor: Mapped[str | None] = mapped_column(Key)
    name: Mapped[str] = mapped_column(Text, default="")
    comment: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    # Kept with the topic, so that a list of topics counts no replies.
    reply_count: Mapped[int] = mapped_column(default=0)


class Reply(Base):
    """A reply to a topic. Replies have no replies."""

    __tablename__ = "replies"
    __table_args__ = (Index(None, "visitor", "created_at"), {"info": {"stamp": "board"}})

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    topic_id: Mapped[int] = mapped_column(ForeignKey("topics.id", ondelete="CASCADE"), index=True)
    visitor: Mapped[str | None] = mapped_column(Key)
    name: Mapped[str] = mapped_column(Text, default="")
    comment: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
