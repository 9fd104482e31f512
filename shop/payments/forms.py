"""What customers write: their mail address, and where the goods go."""

from collections.abc import Iterable, Sequence
from typing import Any
from unicodedata import category

from flask_babel import get_locale, gettext
from flask_babel import lazy_gettext as _l
from flask_wtf import FlaskForm
from wtforms import EmailField, Field, SelectField, StringField, TelField, ValidationError

from shop.orders import links
from shop.orders.models import ADDRESS_FIELDS
from shop.parsers import is_mail_address, visible

MOST_LINE = 500
# They have no postcodes. https://www.upu.int/en/solutions/postal-addressing
WITHOUT_POSTCODE = frozenset(
    """
    AE AG AO AW BF BI BJ BO BS BW BZ CD CF CG CI CM CW DJ DM ER FJ GA GD GH GM GQ GY HK JM KI KM KN
    LY ML MO MR MW NR QA RW SB SC SL SR ST SX SY TG TL TO TV UG VU YE ZW
    """.split()
)


def _pasted(text: str | None) -> str:
    """Return an address without what was pasted along with it and nobody sees."""
    return "".join(char for char in text or "" if category(char) != "Cf").strip()


class EmailForm(FlaskForm):  # type: ignore[misc]
    """The address that an order was paid with."""

    email = EmailField(_l("E-mail address"), filters=[_pasted])

    def validate_email(self, field: Field) -> None:
        """Refuse what no mail could be sent to."""
        if not is_mail_address(field.data):
            raise ValidationError(links.BadAddress().message)


def _line(text: str | None) -> str:
    return visible(text, MOST_LINE) or ""


class ShippingForm(FlaskForm):  # type: ignore[misc]
    """Where the goods of an order go; its fields are ADDRESS_FIELDS."""

    name = StringField(_l("Name"), filters=[_line])
    line1 = StringField(_l("Street and number"), filters=[_line])
    line2 = StringField(_l("Flat, floor, company"), filters=[_line])
    city = StringField(_l("Town"), filters=[_line])
    state = StringField(_l("State or prefecture"), filters=[_line])
    postal_code = StringField(_l("Postcode"), filters=[_line])
    country = SelectField(_l("Country"), validate_choice=False)
    phone = TelField(_l("Telephone"), filters=[_line])
    countries: Sequence[str] = ()

    def validate_name(self, field: Field) -> None:
        """Refuse an address that says not who lives there."""
        _ask(field, gettext("Please write whose parcel it is."))

    def validate_line1(self, field: Field) -> None:
        """Refuse an address without its street."""
        _ask(field, gettext("Please write street and number."))

    def validate_city(self, field: Field) -> None:
        """Refuse an address without its town."""
        _ask(field, gettext("Please write the town."))

    def validate_state(self, field: Field) -> None:
        """Refuse a Japanese address without its prefecture."""
        if self.country.data == "JP":
            _ask(field, gettext("Please write the prefecture."))

    def validate_postal_code(self, field: Field) -> None:
        """Refuse an address without its postcode, where the country has any."""
        if self.country.data not in WITHOUT_POSTCODE:
            _ask(field, gettext("Please write the postcode."))

    def validate_country(self, field: Field) -> None:
        """Refuse a country where the delivery does not go."""
        if field.data not in self.countries:
            raise ValidationError(
                gettext("We do not send there. Please choose a country of the list.")
            )

    def validate_phone(self, field: Field) -> None:
        """Refuse an address without a telephone, which whoever brings the parcel may need."""
        _ask(field, gettext("Please write a telephone number, for whoever brings the parcel."))

    def values(self) -> dict[str, str]:
        """Return the address by ADDRESS_FIELDS."""
        return {name: self[name].data or "" for name in ADDRESS_FIELDS}


def shipping_form(
    countries: Sequence[str],
    sent: Any = None,
    kind: type[ShippingForm] = ShippingForm,
    **stored: Any,
) -> ShippingForm:
    """Return the form of an address in one of these countries; `sent`: what was typed into it."""
    form = kind(sent, **stored)
    form.countries = countries
    form.country.choices = country_choices(countries)
    return form


def country_choices(codes: Iterable[str]) -> list[tuple[str, str]]:
    """Return countries with their names in the reader's language, by name."""
    locale = get_locale()
    names = locale.territories if locale else {}
    return sorted(((code, names.get(code, code)) for code in codes), key=lambda pair: pair[1])


def _ask(field: Field, words: str) -> None:
    if not field.data:
        raise ValidationError(words)
