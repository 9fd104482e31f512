"""The board's pages."""

from flask import redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from shop.board import bp, service
from shop.board.forms import CommentForm
from shop.errors import wants_json
from shop.parsers import whole_number
from shop.security import visitor
from shop.throttle import Limit, TooFast, by_known_network, count

# A lively talk stays below, also of several people in one house; a machine does not. There are no
# puzzles to solve here, so this is what keeps the board readable.
POSTS = 20
POSTS_PER_NETWORK = 60
POSTS_SECONDS = 300


@bp.get("/")
def index() -> ResponseReturnValue:
    """Show the newest topics, the form, and the shop window beside them."""
    return _index_page(CommentForm())


@bp.post("/")
def post_topic() -> ResponseReturnValue:
    """Post a topic, or show the form again with everything typed."""
    form = CommentForm(request.form)
    if not form.validate():
        return _index_page(form), 422
    refusal = _refusal()
    if refusal is not None:
        return _index_page(form, refusal), refusal.status, refusal.headers
    service.post_topic(form.comment.data or "", form.name.data or "")
    return redirect(url_for("board.index"), 303)


@bp.get("/topics/<row:topic_id>")
def topic(topic_id: int) -> ResponseReturnValue:
    """Show a topic with its replies."""
    return _topic_page(topic_id, CommentForm())


@bp.post("/topics/<row:topic_id>/replies")
def post_reply(topic_id: int) -> ResponseReturnValue:
    """Answer a topic, or show the form again with everything typed."""
    form = CommentForm(request.form)
    try:
        if not form.validate():
            return _topic_page(topic_id, form), 422
        refusal = _refusal()
        if refusal is not None:
            return _topic_page(topic_id, form, refusal), refusal.status, refusal.headers
        reply = service.post_reply(topic_id, form.comment.data or "", form.name.data or "")
    except service.TopicMissing as missing:
        missing.message = _("This topic is gone. Your text is here: post it as a topic of its own.")
        missing.resend_to = url_for("board.post_topic")
        raise
    return redirect(url_for("board.topic", topic_id=topic_id, _anchor=f"reply-{reply}"), 303)


def _refusal() -> TooFast | None:
    """Count the post; return what to tell who posts faster than people do. Raise it to programs."""
    network = by_known_network(request.remote_addr, POSTS_PER_NETWORK)
    try:
        count("post", POSTS_SECONDS, Limit(f"visitor {visitor()}", POSTS), *network)
    except TooFast as fast:
        fast.message = _(
            "That was a lot in a short time. This text is not posted yet, but it is not lost "
            "either: it is here. Please send it again %(when)s.",
            when=fast.when,
        )
        if wants_json():
            raise
        return fast
    return None


def _index_page(form: CommentForm, refusal: TooFast | None = None) -> str:
    # A mistyped page is the first page.
    page = service.newest_topics(whole_number(request.args.get("before", ""), None))
    return render_template("board/index.html", form=form, page=page, refusal=refusal)


def _topic_page(topic_id: int, form: CommentForm, refusal: TooFast | None = None) -> str:
    topic = service.get_topic(topic_id)
    replies, more_after = service.replies_after(
        topic_id, whole_number(request.args.get("after", ""), 0)
    )
    return render_template(
        "board/topic.html",
        form=form,
        topic=topic,
        replies=replies,
        more_after=more_after,
        refusal=refusal,
    )
