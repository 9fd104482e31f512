"""Reading and writing the board."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from flask import current_app
from flask_babel import force_locale
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from sqlalchemy import Row, delete, func, select, update

from shop.board.models import Reply, Topic
from shop.db import changed_rows, db, now, write
from shop.errors import ShopError
from shop.throttle import count_inside

PAGE_SIZE = 20
REPLIES_SHOWN = 200
# A form that is sent twice is sent soon; the same words much later are meant.
SAME_FOR = timedelta(minutes=10)


class TopicMissing(ShopError):
    """There is no such topic (any more)."""

    status = 404
    code = "no_topic"
    message = _l("This topic does not exist, or no longer does.")


@dataclass(frozen=True)
class TopicPage:
    """A page of topics, newest first; `next_before` names the next page, None on the last."""

    topics: Sequence[Row[Any]]
    next_before: int | None


def newest_topics(before: int | None) -> TopicPage:
    """Return the topics older than the one with id `before`, or the newest."""
    # Rows of the table are a third of the price of mapped objects, and a list only shows them.
    query = select(Topic.__table__).order_by(Topic.id.desc()).limit(PAGE_SIZE + 1)
    if before is not None:
        query = query.where(Topic.id < before)
    topics = db.session.execute(query).all()
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


def post_topic(visitor: str, comment: str, name: str) -> int:
    """Post a topic and return its id; raise TooFast where this visitor posts too fast.

    The same text again within ten minutes is the topic that is there already.
    """
    return _post(Topic, visitor, comment, name)


def post_reply(visitor: str, topic_id: int, comment: str, name: str) -> int:
    """Answer a topic and return the reply's id; raise TooFast, and TopicMissing where it is gone.

    The same answer again within ten minutes is the one that is there already.
    """
    return _post(Reply, visitor, comment, name, topic_id=topic_id)


def posts_of(visitors: Collection[str]) -> list[str]:
    """Return the texts that came from these browsers."""
    texts = [select(kind.comment).where(kind.visitor.in_(visitors)) for kind in (Topic, Reply)]
    return [*db.session.scalars(texts[0]), *db.session.scalars(texts[1])]


def erase(visitors: Collection[str]) -> None:
    """Take what came from these browsers off the board, inside write().

    A topic that others have answered keeps its place, without its text and name.
    """
    own = Reply.visitor.in_(visitors)
    mine = set(db.session.scalars(select(Topic.id).where(Topic.visitor.in_(visitors))))
    answered = set(db.session.scalars(select(Reply.topic_id).where(own)))
    with force_locale(current_app.config["SHOP_LOCALE"]):
        placeholder = {"visitor": None, "name": "", "comment": _("Removed at the writer’s wish.")}
    for topic_id in sorted(mine | answered):
        topic = update(Topic).where(Topic.id == topic_id)
        # Who answers counts it here first, so from now on nobody does.
        changed_rows(topic.values(reply_count=Topic.reply_count))
        changed_rows(delete(Reply).where(Reply.topic_id == topic_id, own))
        count = select(func.count()).select_from(Reply).where(Reply.topic_id == topic_id)
        left = db.session.scalar(count)
        if left or topic_id not in mine:
            more = placeholder if topic_id in mine else {}
            changed_rows(topic.values(reply_count=left, **more))
        else:
            changed_rows(delete(Topic).where(Topic.id == topic_id))


class _PostedAlready(Exception):
    def __init__(self, post_id: int) -> None:
        self.post_id = post_id


def _post(
    kind: type[Topic] | type[Reply], visitor: str, comment: str, name: str, **parent: int
) -> int:
    def unit() -> int:
        # Of two forms at once the second waits here until the first is posted.
        fast = count_inside("post", f"visitor {visitor}")
        recent = select(kind.id, kind.comment).filter_by(visitor=visitor, **parent)
        recent = recent.where(kind.created_at > now() - SAME_FOR).order_by(kind.id)
        for post_id, text in db.session.execute(recent).all():
            if text == comment:  # to MariaDB, "A" is "a"
                raise _PostedAlready(post_id)  # and undo the count
        if parent:
            answered = update(Topic).where(Topic.id == parent["topic_id"])
            if not changed_rows(answered.values(reply_count=Topic.reply_count + 1)):
                raise TopicMissing
        if fast:
            raise fast
        post = kind(visitor=visitor, comment=comment, name=name, **parent)
        db.session.add(post)
        db.session.flush()
        return post.id

    try:
        return write(unit)
    except _PostedAlready as there:
        return there.post_id
