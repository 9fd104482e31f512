"""The checkout form: the fields that a session asks for, and what was typed into them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from . import cards
from .cards import Card
from .data import load
from .store import Document
from .validation import is_email

# Japanese addresses go from the large to the small, and the name comes last.
SHIPPING = {
    "en": "name line1 line2 city state postal_code country".split(),
    "ja": "postal_code state city line1 line2 country name".split(),
}
ADDRESS = ("city", "country", "line1", "line2", "postal_code", "state")
NEEDED_IN_JAPAN = ("city", "state")
LONGEST = 200


@dataclass
class Form:
    """The checkout form as typed, with an error text for each wrong field."""

    values: dict[str, str]
    errors: dict[str, str] = field(default_factory=dict)
    declined: str = ""
    card: Card | None = None

    def typed(self) -> dict[str, str]:
        """Return what was typed without the card, which is never stored."""
        return {name: self.values[name] for name in self.values.keys() - {"number", "expiry"}}

    def customer(self) -> Document:
        """Return the customer with None for what was not asked or left empty."""
        typed = {name: self.values.get(name) or None for name in ("email", "name", "phone")}
        address = {name: self.values.get(name) or None for name in ADDRESS}
        return {**typed, "address": address if address["country"] else None}


def new_form(session: Document) -> Form:
    """Return the form of a session to which nobody has typed anything yet."""
    countries = (session["shipping_address_collection"] or {}).get("allowed_countries", [""])
    method, email = session["payment_method_types"][0], session["customer_email"] or ""
    return Form({"email": email, "country": countries[0], "method": method})


def fields_asked(session: Document, language: str) -> list[str]:
    """Return the names of the fields for delivery and phone, in the language's order."""
    names = SHIPPING[language] if session["shipping_address_collection"] else []
    return [*names, *(["phone"] if session["phone_number_collection"]["enabled"] else [])]


def read_form(session: Document, given: Mapping[str, str], text: Mapping[str, str]) -> Form:
    """Return the form as typed, with its errors but those of the card."""
    asked = fields_asked(session, text["lang"])
    narrow = ("email", "number", "expiry", "postal_code", "phone")
    form = Form({name: given.get(name, "").strip() for name in ("method", *narrow, *asked)})
    form.values |= {name: cards.normalise(form.values[name]) for name in narrow}
    form.values["method"] = form.values["method"] or "card"
    if not is_email(form.values["email"]):
        form.errors["email"] = text["bad_email"]
    for name in asked:
        error = _delivery_error(session, form.values, name)
        if error:
            form.errors[name] = text[error]
    if form.values["method"] not in session["payment_method_types"]:
        form.errors["method"] = text["bad_method"]
        form.values["method"] = session["payment_method_types"][0]
    return form


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
    in_japan = country == "JP" and name in NEEDED_IN_JAPAN
    postal = name == "postal_code" and country not in load("countries")["without_postal_code"]
    needed = name in ("name", "line1") or in_japan or postal
    return "empty_field" if needed and not value else None


def read_card(form: Form, cvc: str, now: int, text: Mapping[str, str]) -> None:
    """Add the card to the form where all fields are right, its errors otherwise."""
    number, expiry = cards.card_digits(form.values["number"]), form.values["expiry"]
    month_year, cvc = cards.parse_expiry(expiry), cards.normalise(cvc)
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
