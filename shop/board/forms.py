"""The form of topics and replies."""

from typing import Any

from flask_babel import gettext
from flask_babel import lazy_gettext as _l
from flask_wtf import FlaskForm
from wtforms import Field, StringField, TextAreaField, ValidationError

from shop.security import sent_broken_text

COMMENT_LENGTH = 2000
NAME_LENGTH = 40


def tidy(text: Any) -> str:
    """Return the text as it is kept: one kind of line break, nothing around it."""
    return (text or "").replace("\r\n", "\n").replace("\r", "\n").strip()


def storable_text(_form: FlaskForm, field: Field) -> None:
    """Refuse what is no text: the invisible NUL, or bytes that stand for no character."""
    if "\x00" in field.data or sent_broken_text():
        field.data = field.data.replace("\x00", "")
        raise ValidationError(
            gettext(
                "There is a character in it that cannot be saved. We took it out; "
                "please look and post again."
            )
        )


class CommentForm(FlaskForm):  # type: ignore[misc]
    """What a visitor writes: the text and, if they like, a name."""

    comment = TextAreaField(_l("Your text"), filters=[tidy], validators=[storable_text])
    name = StringField(_l("Name"), filters=[tidy], validators=[storable_text])

    def validate_comment(self, field: Field) -> None:
        """Refuse an empty or an overlong text."""
        if not field.data:
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
