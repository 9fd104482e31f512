"""The form of topics and replies."""

import re
from typing import Any

from flask_babel import gettext
from flask_babel import lazy_gettext as _l
from flask_wtf import FlaskForm
from wtforms import Field, StringField, TextAreaField, ValidationError

COMMENT_LENGTH = 2000
NAME_LENGTH = 40
# Characters that nobody sees. PostgreSQL refuses NUL, and XML refuses them all.
CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


def tidy(text: Any) -> str:
    """Return the text with one kind of line break, no control characters and no space around it."""
    text = (text or "").replace("\r\n", "\n").replace("\r", "\n")
    return CONTROLS.sub("", text).strip()


class CommentForm(FlaskForm):  # type: ignore[misc]
    """What a visitor writes: the text and, if they like, a name."""

    comment = TextAreaField(_l("Your text"), filters=[tidy])
    name = StringField(_l("Name"), filters=[tidy])

    def validate_comment(self, field: Field) -> None:
        """Refuse an empty or an overlong text."""
        if not any(char.isprintable() and not char.isspace() for char in field.data):
            raise ValidationError(gettext("Please write something first."))
        if len(field.data) > COMMENT_LENGTH:
            raise ValidationError(
                gettext(
                    "That is %(count)s characters; at most %(most)s fit. Please shorten it.",
                    count=len(field.data),
                    most=COMMENT_LENGTH,
                )
            )

    def validate_name(self, field: Field) -> None:
        """Refuse an overlong name."""
        if len(field.data) > NAME_LENGTH or "\n" in field.data:
            raise ValidationError(
                gettext("A name has at most %(most)s characters, on one line.", most=NAME_LENGTH)
            )
