"""The form of topics and replies."""

from flask_babel import gettext
from flask_babel import lazy_gettext as _l
from flask_wtf import FlaskForm
from wtforms import Field, StringField, TextAreaField, ValidationError

from shop.parsers import tidy

COMMENT_LENGTH = 2000
NAME_LENGTH = 40


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
