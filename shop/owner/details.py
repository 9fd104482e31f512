"""What the owner sets while the shop runs: one form for who sells, the law, closed days, colour."""

import re
import unicodedata
from datetime import date
from typing import Any

from flask import current_app, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from flask_wtf import FlaskForm
from wtforms import (
    BooleanField,
    EmailField,
    Field,
    SelectField,
    StringField,
    TelField,
    TextAreaField,
    ValidationError,
)

from shop import accent
from shop import details as shop_details
from shop.catalog import legal
from shop.owner import bp
from shop.owner.audit import recorded
from shop.owner.forms import OFF, one_line
from shop.parsers import is_mail_address, tidy, whole_number
from shop.payments import gateway
from shop.payments.forms import country_choices

MOST_TEXT = 2000
JAPANESE_NUMBER = re.compile(r"T[0-9]{13}")
SWITCHES = ("on_request", "konbini_scarce")


class DetailsForm(FlaskForm):  # type: ignore[misc]
    """What is set, as the owner writes it; the texts stand a second time in the other language."""

    about = StringField(_l("Who you are, in a sentence"), filters=[one_line])
    name = StringField(_l("Who sells: your name or your company’s"), filters=[one_line])
    responsible = StringField(_l("Who answers for it"), filters=[one_line])
    address = TextAreaField(_l("Address"), filters=[tidy])
    on_request = BooleanField(
        _l("Tell address and telephone only to who asks for them"), false_values=OFF
    )
    phone = TelField(_l("Telephone"), filters=[one_line])
    email = EmailField(_l("E-mail address"), filters=[one_line])
    hours = StringField(_l("Hours"), filters=[one_line])
    country = SelectField(_l("Country"), validate_choice=False)
    registration_number = StringField(_l("Registration number"), filters=[one_line])
    delivery_time = TextAreaField(_l("Time of delivery"), filters=[tidy])
    returns = TextAreaField(_l("Returns"), filters=[tidy])
    faulty = TextAreaField(_l("Faulty goods"), filters=[tidy])
    fees = TextAreaField(_l("Other fees"), filters=[tidy])
    period = TextAreaField(_l("Limits"), filters=[tidy])
    konbini_days = StringField(_l("Days to pay at a convenience store"), filters=[one_line])
    konbini_scarce = BooleanField(
        _l("The last pieces can be paid at a convenience store too"), false_values=OFF
    )
    closed_from = StringField(_l("Closed from"), filters=[one_line])
    closed_until = StringField(_l("Closed until"), filters=[one_line])
    closed_note = StringField(_l("What visitors read meanwhile"), filters=[one_line])
    accent = StringField(_l("Colour"), filters=[one_line])

    def validate_email(self, field: Field) -> None:
        """Refuse what no mail could be sent to."""
        if field.data and not is_mail_address(field.data):
            raise ValidationError(_("That is not an e-mail address."))

    def validate_registration_number(self, field: Field) -> None:
        """Refuse what is no number of a Japanese seller, where the seller is one."""
        text = unicodedata.normalize("NFKC", field.data).replace("-", "").replace(" ", "")
        if self.country.data != "JP" or not text:
            return
        field.data = text.upper()
        if not JAPANESE_NUMBER.fullmatch(field.data):
            raise ValidationError(_("A registration number is T and 13 figures."))

    def validate_country(self, field: Field) -> None:
        """Refuse what is no country."""
        if field.data not in gateway.shipping_countries():
            raise ValidationError(_("Please choose a country of the list."))

    def validate_konbini_days(self, field: Field) -> None:
        """Refuse more days than Stripe gives."""
        most = shop_details.MOST_KONBINI_DAYS
        if not 1 <= whole_number(unicodedata.normalize("NFKC", field.data), 0) <= most:
            raise ValidationError(_("Please write a number from 1 to %(most)s.", most=most))

    def validate_closed_from(self, field: Field) -> None:
        """Refuse what is no day."""
        _day(field.data)

    def validate_closed_until(self, field: Field) -> None:
        """Refuse what is no day, no last day, and a last day before the first."""
        until = _day(field.data)
        if self.closed_from.data and until is None:
            raise ValidationError(_("Please choose the last closed day as well."))
        if until and self.closed_from.data > field.data:
            raise ValidationError(_("The last closed day is before the first."))

    def validate_accent(self, field: Field) -> None:
        """Refuse what is no colour."""
        field.data = (field.data or accent.USUAL).lower()
        if not accent.COLOUR.fullmatch(field.data):
            raise ValidationError(_("Please write a colour like %(usual)s.", usual=accent.USUAL))

    def validate(self, *more: Any, **named: Any) -> bool:
        """Tell whether every field is right, and no text longer than a page takes."""
        is_valid: bool = super().validate(*more, **named)
        for field in self:
            if isinstance(field.data, str) and len(field.data) > MOST_TEXT:
                words = _("That is too long; %(most)s characters at most.", most=MOST_TEXT)
                field.errors = [*field.errors, words]
                is_valid = False
        return is_valid

    def values(self) -> dict[str, str]:
        """Return what is set; what is as the shop came is empty. The form is valid."""
        found = {
            name: self[name].data or ""
            for name in shop_details.NAMES
            if name in self and name not in SWITCHES
        }
        found["on_request"] = "on" if self.on_request.data else ""
        found["konbini_scarce"] = "" if self.konbini_scarce.data else "off"
        unset = shop_details.Details()
        usual = {"accent": accent.USUAL, "konbini_days": str(unset.hold_days)}
        usual["country"] = unset.home_country
        found["konbini_days"] = unicodedata.normalize("NFKC", found["konbini_days"])
        return found | {name: "" for name, value in usual.items() if found[name] == value}


for _name in shop_details.TRANSLATED:
    _is_text = _name in ("address", "delivery_time", "returns", "faulty", "fees", "period")
    _kind = TextAreaField if _is_text else StringField
    setattr(DetailsForm, f"{_name}_other", _kind(filters=[tidy if _is_text else one_line]))


@bp.get("/details")
def details() -> str:
    """Show what is set."""
    return _page(_form())


@bp.post("/details")
def change_details() -> ResponseReturnValue:
    """Save the fields that are sent, and no others."""
    form = _form(request.form)
    if not form.validate():
        return _page(form), 422
    before, values = shop_details.current(), form.values()
    changed = {name: one for name, one in values.items() if one != getattr(before, name)}
    recorded(lambda: shop_details.change(changed), "details_changed", ", ".join(changed) or "–")
    flash(_("Saved."))
    return redirect(url_for("owner.details"), 303)


def _form(sent: Any = None) -> DetailsForm:
    """Return the form as it is stored, with what was sent in its place."""
    found = shop_details.current()
    values = {name: getattr(found, name) for name in shop_details.NAMES}
    values |= {"country": found.home_country, "konbini_days": str(found.hold_days)}
    values["accent"] = found.accent or accent.USUAL
    switches = {"on_request": bool(found.on_request), "konbini_scarce": not found.konbini_scarce}
    if sent is not None:
        values |= {name: sent[name] for name in values if name in sent}
        switches |= {name: sent[name] not in OFF for name in switches if name in sent}
    form = DetailsForm(None, data=values | switches)
    form.country.choices = country_choices(gateway.shipping_countries())
    return form


def _day(raw: str | None) -> date | None:
    """Return a day as a date field sends it, None for an empty one; raise ValidationError."""
    try:
        return date.fromisoformat(raw) if raw else None
    except ValueError as error:
        raise ValidationError(_("Please choose a day, like 2026-12-31.")) from error


def _page(form: DetailsForm) -> str:
    own = current_app.config["SHOP_LOCALE"]
    languages = {"en": _("English"), "ja": _("Japanese")}
    return render_template(
        "owner/details.html",
        form=form,
        missing=legal.missing(),
        own=languages[own],
        other=languages[shop_details.other_language()],
        shown=shop_details.current().palette,
    )
