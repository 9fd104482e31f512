"""The checkout form: the fields that a session asks for, and what was typed into them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from . import cards
from .cards import Card
from .custom_fields import answer_error, form_name
from .data import load
from .promotions import apply_code
from .store import Document
from .validation import is_email

# Japanese addresses go from the large to the small, and the name comes last.
SHIPPING = {
    "en": "name line1 line2 city state postal_code country".split(),
    "ja": "postal_code state city line1 line2 country name".split(),
}
ADDRESS = ("city", "country", "line1", "line2", "postal_code", "state")
NARROW = ("email", "number", "expiry", "postal_code", "phone", "promotion_code")
LONGEST = 200


@dataclass
class Form:
    """The checkout form as typed, with an error text for each wrong field."""

    values: dict[str, str]
    errors: dict[str, str] = field(default_factory=dict)
    declined: str = ""
    card: Card | None = None


def new_form(session: Document) -> Form:
    """Return the form of a session to which nobody has typed anything yet."""
    countries = (session["shipping_address_collection"] or {}).get("allowed_countries", [""])
    method, email = session["payment_method_types"][0], session["customer_email"] or ""
    values = {"email": email, "country": countries[0], "method": method}
    for one in session["custom_fields"]:
        values[form_name(one)] = one[one["type"]]["default_value"] or ""
    return Form({**values, "promotion_code": session["_"].get("code", "")})


def fields_asked(session: Document, language: str) -> list[str]:
    """Return the names of the fields for delivery and phone, in the language's order."""
    names = SHIPPING[language] if session["shipping_address_collection"] else []
    return [*names, *(["phone"] if session["phone_number_collection"]["enabled"] else [])]


def country_options(session: Document, language: str) -> list[dict[str, str]]:
    """Return the countries to which the session delivers, sorted by their names."""
    allowed = (session["shipping_address_collection"] or {}).get("allowed_countries", [])
    names = load("countries")[language].items()
    return [{"value": code, "label": name} for code, name in names if code in allowed]


def read_form(
    session: Document, given: Mapping[str, str], now: int, text: Mapping[str, str]
) -> Form:
    """Return the form as typed with its errors, and apply its promotion code to the session.

    With `apply` among the fields the others may be wrong, for they are shown again.
    """
    asked = fields_asked(session, text["lang"])
    own = {form_name(one): one for one in session["custom_fields"]}
    numbers = [name for name, one in own.items() if one["type"] == "numeric"]
    form = Form({name: given.get(name, "").strip() for name in ("method", *NARROW, *asked, *own)})
    form.values |= {name: cards.normalise(form.values[name]) for name in (*NARROW, *numbers)}
    form.values["method"] = form.values["method"] or "card"
    code_error = None
    if session["allow_promotion_codes"] and "promotion_code" in given:
        code_error = apply_code(session, form.values["promotion_code"])
    if "apply" not in given:
        errors = {name: _delivery_error(session, form.values, name) for name in asked}
        errors |= {name: answer_error(one, form.values[name]) for name, one in own.items()}
        errors["email"] = None if is_email(form.values["email"]) else "bad_email"
        form.errors = {name: text[error] for name, error in errors.items() if error}
        if form.values["method"] not in session["payment_method_types"]:
            form.errors["method"] = text["bad_method"]
            form.values["method"] = session["payment_method_types"][0]
        elif form.values["method"] == "card":
            _read_card(form, cards.normalise(given.get("cvc", "")), now, text)
    if code_error:
        form.errors["promotion_code"] = text[code_error]
    return form


def store_answers(session: Document, form: Form) -> None:
    """Keep what was typed in the session, but never the card."""
    values = {name: value or None for name, value in form.values.items()}
    address = {name: values.get(name) for name in ADDRESS}
    customer: Document = {name: values.get(name) for name in ("email", "name", "phone")}
    customer["address"] = address if address["country"] else None
    typed = {name: form.values[name] for name in form.values.keys() - {"number", "expiry"}}
    session["_"] |= {"customer": customer, "typed": typed}
    for one in session["custom_fields"]:
        one[one["type"]]["value"] = values[form_name(one)]


def _delivery_error(session: Document, values: Mapping[str, str], name: str) -> str | None:
    """Return the name of the text that says what is wrong with a field, None for a right one."""
    value, country = values[name], values.get("country")
    if name == "country":
        allowed = session["shipping_address_collection"]["allowed_countries"]
        return None if value in allowed else "bad_country"
    if name == "phone":
        return None if re.fullmatch(r"\+?[0-9 ().-]{6,30}", value) else "bad_phone"
    if len(value) > LONGEST or not value.isprintable():
        return "bad_line"
    in_japan = country == "JP" and name in ("city", "state")
    postal = name == "postal_code" and country not in load("countries")["without_postal_code"]
    needed = name in ("name", "line1") or in_japan or postal
    return "empty_field" if needed and not value else None


def _read_card(form: Form, cvc: str, now: int, text: Mapping[str, str]) -> None:
    """Add the card to the form where all fields are right, its errors otherwise."""
    number, expiry = cards.card_digits(form.values["number"]), form.values["expiry"]
    month_year = cards.parse_expiry(expiry)
    if not cards.is_card_number(number):
        form.errors["number"] = text["bad_number"]
    if month_year is None:
        form.errors["expiry"] = text["bad_expiry"]
    elif cards.is_expired(*month_year, now):
        form.errors["expiry"] = text["past_expiry"]
    if not (cvc.isascii() and cvc.isdecimal() and len(cvc) in (3, 4)):
        form.errors["cvc"] = text["bad_cvc"]
    if month_year and not form.errors:
        form.card = cards.make_card(number, *month_year)
