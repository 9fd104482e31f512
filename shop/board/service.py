"""Reading and writing the board."""

from collections.abc import Sequence
from dataclasses import dataclass

from flask_babel import lazy_gettext as _l
from sqlalchemy import select, update

from shop.board.models import Reply, Topic
from shop.db import changed_rows, db, write
from shop.errors import ShopError

PAGE_SIZE = 20
REPLIES_SHOWN = 200


class TopicMissing(ShopError):
    """There is no such topic (any more)."""

    status = 404
    code = "no_topic"
    message = _l("This topic does not exist, or no longer does.")


@dataclass(frozen=True)
class TopicPage:
    """A page of topics, newest first; `next_before` names the next page, None on the last."""

    topics: Sequence[Topic]
    next_before: int | None


def newest_topics(before: int | None) -> TopicPage:
    """Return the topics older than the one with id `before`, or the newest."""
    query = select(Topic).order_by(Topic.id.desc()).limit(PAGE_SIZE + 1)
    if before is not None:
        query = query.where(Topic.id < before)
    topics = db.session.scalars(query).all()
    shown = topics[:PAGE_SIZE]
    return TopicPage(shown, shown[-1].id if len(topics) > PAGE_SIZE else None)


def get_topic(topic_id: int) -> Topic:
    """Return the topic; raise TopicMissing where there is none."""
    topic = db.session.get(Topic, topic_id)
    if topic is None:
        raise TopicMissing
    return topic


def replies_after(topic_id: int, after: int) -> tuple[Sequence[Reply], int | None]:
    """Return replies in the order they came, and the id to go on after, None at the end."""
    query = (
        select(Reply)
        .where(Reply.topic_id == topic_id, Reply.id > after)
        .order_by(Reply.id)
        .limit(REPLIES_SHOWN + 1)
    )
    replies = db.session.scalars(query).all()
    shown = replies[:REPLIES_SHOWN]
    return shown, shown[-1].id if len(replies) > REPLIES_SHOWN else None


def post_topic(comment: str, name: str) -> int:
    """Post a topic and return its id."""

    def unit() -> int:
        topic = Topic(comment=comment, name=name)
        db.session.add(topic)
        db.session.flush()
        return topic.id

    return write(unit)


def post_reply(topic_id: int, comment: str, name: str) -> int:
    """Answer a topic and return the reply's id; raise TopicMissing where it is gone."""

    def unit() -> int:
        count = update(Topic).where(Topic.id == topic_id)
        if not changed_rows(count.values(reply_count=Topic.reply_count + 1)):
            raise TopicMissing
        reply = Reply(topic_id=topic_id, comment=comment, name=name)
        db.session.add(reply)
        db.session.flush()
        return reply.id

    return write(unit)
