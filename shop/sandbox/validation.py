"""Stripe's rules beyond the types: required parameters, lengths, ranges, amounts."""

import re
from typing import Any
from urllib.parse import urlsplit

from .errors import ParameterError, missing_object, missing_parameter
from .money import MAXIMUM_AMOUNT, minimum_amount

COLOR = re.compile(r"#[0-9A-Fa-f]{6}")
HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?")


def check_metadata(given: Any, param: str) -> dict[str, str]:
    """Return metadata within Stripe's limits: 50 pairs, keys of 40 and values of 500 characters."""
    pairs: dict[str, str] = given or {}
    if len(pairs) > 50:
        raise ParameterError("You can have up to 50 keys in metadata.", param=param)
    for key, value in pairs.items():
        if len(key) > 40:
            text = f"Metadata keys can have up to 40 characters: {key[:60]}…"
            raise ParameterError(text, param=param)
        if len(value) > 500:
            text = f"Metadata values can have up to 500 characters, but you passed in {len(value)}."
            raise ParameterError(text, param=f"{param}[{key}]")
    return pairs


def merge_metadata(current: dict[str, str], given: Any) -> dict[str, str]:
    """Return metadata after an update: "" removes one key, or all where it is given as a whole."""
    pairs = {**current, **given} if given != "" else {}
    return check_metadata({key: value for key, value in pairs.items() if value}, "metadata")


def check_session(params: dict[str, Any]) -> None:
    """Refuse a session that Stripe would refuse."""
    for name in ("mode", "success_url", "line_items"):
        if not params.get(name):
            raise missing_parameter(name)
    for name in ("customer", "customer_account"):
        if params.get(name):
            raise missing_object(params[name], "customer", name)
    check_length(params.get("client_reference_id", ""), 200, "client_reference_id")
    for place, text in params.get("custom_text", {}).items():
        check_length(text and text["message"], 1200, f"custom_text[{place}][message]")
    for name in ("background_color", "button_color"):
        color = params.get("branding_settings", {}).get(name)
        if color and not COLOR.fullmatch(color):
            text = f"Invalid hex color: {color[:20]}"
            raise ParameterError(text, param=f"branding_settings[{name}]")
    email = params.get("customer_email")
    if email is not None and not is_email(email):
        text = f"Invalid email address: {email[:100]}"
        raise ParameterError(text, param="customer_email", code="email_invalid")
    for name in ("success_url", "cancel_url"):
        if name in params:
            check_url(params[name], name)
    if len(params["line_items"]) > 100:
        raise ParameterError("Array line_items exceeded maximum 100.", param="line_items")


def check_length(text: str, most: int, param: str) -> None:
    """Refuse a text with more than `most` characters."""
    if len(text) > most:
        error = f"Invalid string: can have up to {most} characters, but this has {len(text)}"
        raise ParameterError(error, param=param)


def is_email(text: str) -> bool:
    """Return whether the text looks like an e-mail address that could be reached."""
    shape = re.fullmatch(r"[^\s@,;<>]+@[^\s@,;<>.]+(\.[^\s@,;<>.]+)+", text)
    return bool(shape) and text.isprintable() and len(text) <= 254


def check_url(text: str, param: str) -> None:
    """Refuse what is no http(s) address to which a browser can be sent."""
    try:
        parts = urlsplit(text)
        host = HOST.fullmatch(parts.netloc.rpartition("@")[2])
    except ValueError:
        host = None
    if not (host and parts.scheme in ("http", "https") and text.isprintable()):
        raise ParameterError("Not a valid URL", param=param, code="url_invalid")


def check_line(line: dict[str, Any], param: str) -> None:
    """Refuse a line without `price_data`, or with an impossible price or quantity."""
    if "price" in line:
        raise missing_object(line["price"], "price", f"{param}[price]")
    if "price_data" not in line:
        raise missing_parameter(f"{param}[price_data]")
    data = line["price_data"]
    for name in ("product_data", "unit_amount"):
        if name not in data:
            raise missing_parameter(f"{param}[price_data][{name}]")
    check_minimum(data["unit_amount"], 0, f"{param}[price_data][unit_amount]")
    check_minimum(line.get("quantity", 1), 1, f"{param}[quantity]")
    about = data["product_data"]
    check_metadata(about.get("metadata"), f"{param}[price_data][product_data][metadata]")
    images = about.get("images", [])
    param = f"{param}[price_data][product_data]"
    if len(images) > 8:
        raise ParameterError("Array images exceeded maximum 8.", param=f"{param}[images]")
    for n, url in enumerate(images):
        check_url(url, f"{param}[images][{n}]")
    if not about["name"]:
        param = f"{param}[name]"
        text = f"You passed an empty string for '{param}'."
        raise ParameterError(text, param=param, code="parameter_invalid_empty")


def check_minimum(number: int, minimum: int, param: str) -> None:
    """Refuse a number below the minimum."""
    if number < minimum:
        text = f"This value must be greater than or equal to {minimum}."
        raise ParameterError(text, param=param, code="parameter_invalid_integer")


def check_amount(amount: int, currency: str, param: str) -> None:
    """Refuse an amount (minor units) that is smaller or larger than Stripe takes."""
    if not (len(currency) == 3 and currency.isascii() and currency.isalpha()):
        text = f"Invalid currency: {currency[:20]}."
        raise ParameterError(text, param="currency")
    least = minimum_amount(currency)
    if amount < least:
        text = f"The amount must add up to at least {least} ({currency}, minor units)."
        raise ParameterError(text, param=param, code="amount_too_small")
    if amount > MAXIMUM_AMOUNT:
        text = f"The amount must be no more than {MAXIMUM_AMOUNT} ({currency}, minor units)."
        raise ParameterError(text, param=param, code="amount_too_large")
