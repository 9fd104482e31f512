"""Custom fields: what else a shop asks on the checkout page."""

import re
from typing import Any

from . import objects
from .errors import ParameterError, missing_parameter
from .store import Document
from .validation import check_length

MOST = 3


def make_fields(given: list[dict[str, Any]]) -> list[Document]:
    """Return the fields as a session has them; raises ParameterError for impossible ones."""
    if len(given) > MOST:
        raise ParameterError(f"Array custom_fields exceeded maximum {MOST}.", param="custom_fields")
    if len({one["key"] for one in given}) < len(given):
        raise ParameterError("Each key must be unique.", param="custom_fields")
    return [_make_field(one, f"custom_fields[{n}]") for n, one in enumerate(given)]


def _make_field(given: dict[str, Any], param: str) -> Document:
    kind = given["type"]
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,200}", given["key"]):
        raise ParameterError("Keys have letters and digits only.", param=f"{param}[key]")
    check_length(given["label"]["custom"], 50, f"{param}[label][custom]")
    for other in ("dropdown", "numeric", "text"):
        if other in given and other != kind:
            text = f"You passed `{other}` for a field of the type `{kind}`."
            raise ParameterError(text, param=f"{param}[{other}]")
    details = given.get(kind, {})
    if kind == "dropdown" and not details.get("options"):
        raise missing_parameter(f"{param}[dropdown][options]")
    return {"optional": False, **given, kind: objects.shape(f"field_{kind}", **details)}


def form_name(field: Document) -> str:
    """Return the name of the field on the page."""
    return f"custom_{field['key']}"


def answer_error(field: Document, answer: str) -> str | None:
    """Return the name of the text that says what is wrong with an answer, None for a right one."""
    details = field[field["type"]]
    if not answer:
        return None if field["optional"] else "empty_field"
    if field["type"] == "dropdown":
        known = [option["value"] for option in details["options"]]
        return None if answer in known else "bad_option"
    if field["type"] == "numeric" and not (answer.isascii() and answer.isdecimal()):
        return "bad_digits"
    least, most = details["minimum_length"] or 1, details["maximum_length"] or 255
    return None if least <= len(answer) <= most and answer.isprintable() else "bad_length"
