"""The board's pages."""

from flask import redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from shop.board import bp, service
from shop.board.forms import CommentForm
from shop.board.links import linked
from shop.errors import wants_json
from shop.pages import kept_page
from shop.parsers import whole_number
from shop.security import visitor
from shop.throttle import TooFast

bp.add_app_template_filter(linked)


@bp.get("/")
@kept_page
def index() -> str:
    """Show the newest topics, the form, and the shop window beside them."""
    return _index_page(CommentForm())


@bp.post("/")
def post_topic() -> ResponseReturnValue:
    """Post a topic, or show the form again with everything typed."""
    form = CommentForm(request.form)
    if not form.validate():
        return _index_page(form), 422
    try:
        service.post_topic(visitor(), form.comment.data or "", form.name.data or "")
    except TooFast as fast:
        if wants_json():
            raise
        return _index_page(form, fast), fast.status, fast.headers
    return redirect(url_for("board.index"), 303)


@bp.get("/topics/<row:topic_id>")
@kept_page
def topic(topic_id: int) -> str:
    """Show a topic with its replies."""
    return _topic_page(topic_id, CommentForm())


@bp.post("/topics/<row:topic_id>/replies")
def post_reply(topic_id: int) -> ResponseReturnValue:
    """Answer a topic, or show the form again with everything typed."""
    form = CommentForm(request.form)
    try:
        if not form.validate():
            return _topic_page(topic_id, form), 422
        reply = service.post_reply(
            visitor(), topic_id, form.comment.data or "", form.name.data or ""
        )
    except TooFast as fast:
        if wants_json():
            raise
        return _topic_page(topic_id, form, fast), fast.status, fast.headers
    except service.TopicMissing as missing:
        missing.message = _("This topic is gone. Your text is here: post it as a topic of its own.")
        missing.resend_to = url_for("board.post_topic")
        raise
    return redirect(url_for("board.topic", topic_id=topic_id, _anchor=f"reply-{reply}"), 303)


def _index_page(form: CommentForm, fast: TooFast | None = None) -> str:
    # A mistyped page is the first page.
    page = service.newest_topics(whole_number(request.args.get("before", ""), None))
    return render_template("board/index.html", form=form, page=page, refusal=fast)


def _topic_page(topic_id: int, form: CommentForm, fast: TooFast | None = None) -> str:
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
        refusal=fast,
    )
