"""Money as integers in minor units. The one currency table of the shop is here."""

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Self

# Stripe's minor unit is the whole currency here: 2000 is ¥2,000.
# https://docs.stripe.com/currencies#zero-decimal
ZERO_DECIMAL = frozenset("bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf".split())
# Sent to Stripe in hundredths although there is no smaller coin: the last two digits are 00.
# https://docs.stripe.com/currencies#special-cases
WHOLE_HUNDREDS = frozenset(("isk", "ugx"))
TWO_DECIMAL = frozenset(
    """
    aed afn all amd ang aoa ars aud awg azn bam bbd bdt bgn bmd bnd bob brl bsd bwp byn bzd cad
    cdf chf cny cop crc cve czk dkk dop dzd egp etb eur fjd fkp gbp gel gip gmd gtq gyd hkd hnl
    htg huf idr ils inr jmd kes kgs khr kyd kzt lak lbp lkr lrd lsl mad mdl mkd mmk mnt mop mur
    mvr mwk mxn myr mzn nad ngn nio nok npr nzd pab pen pgk php pkr pln qar ron rsd rub sar sbd
    scr sek sgd shp sle sos srd std szl thb tjs top try ttd twd tzs uah usd uyu uzs wst xcd yer
    zar zmw
    """.split()
)


# Stripe takes no more digits at once.
# https://docs.stripe.com/currencies#minimum-and-maximum-charge-amounts
MOST_AMOUNT = 99_999_999
# What the shop does not sell in, but Stripe may take a payment back in.
# https://docs.stripe.com/currencies#three-decimal
THREE_DECIMAL = frozenset("bhd jod kwd omr tnd".split())


def is_supported(currency: str) -> bool:
    """Tell whether the shop can count in `currency` (lower case); not in three-decimal ones."""
    return currency in ZERO_DECIMAL | WHOLE_HUNDREDS | TWO_DECIMAL


def minor_units(amount: Decimal, currency: str) -> int:
    """Return an amount of a supported currency in minor units; raise ValueError for a part of one.

    19.99 dollars are 1999, 2000 yen are 2000.
    """
    whole = currency in ZERO_DECIMAL | WHOLE_HUNDREDS
    units = amount if currency in ZERO_DECIMAL else amount * 100
    if units != int(units) or (whole and amount != int(amount)):
        raise ValueError(f"{amount} {currency} is no amount that can be paid")
    return int(units)


@dataclass(frozen=True)
class Money:
    """An amount in the minor units that Stripe uses, with its currency.

    The shop sells in `is_supported` ones alone, but a bank may take money back in another.
    Raises TypeError for an amount that is no whole number.
    """

    amount: int
    currency: str

    def __post_init__(self) -> None:
        if type(self.amount) is not int:
            raise TypeError(f"money is counted in whole minor units, not {self.amount!r}")

    def __add__(self, other: Self) -> "Money":
        if not isinstance(other, Money) or other.currency != self.currency:
            raise TypeError(f"cannot add {other!r} to {self!r}")
        return Money(self.amount + other.amount, self.currency)

    def __mul__(self, count: int) -> "Money":
        if type(count) is not int:
            raise TypeError(f"cannot multiply money by {count!r}")
        return Money(self.amount * count, self.currency)

    @property
    def written(self) -> str:
        """The amount in figures alone, as a form shows it: 2000 or 19.99."""
        three = self.currency in THREE_DECIMAL
        places = 0 if self.currency in ZERO_DECIMAL else 3 if three else 2
        return str(Decimal(self.amount).scaleb(-places))

    def format(self, locale: str) -> str:
        """Return the amount as the reader of `locale` writes it: ¥2,000 or $19.99.

        Nobody can tell how many minor units of an unknown currency make a whole: 1398/XYZ.
        """
        from babel.numbers import format_currency

        code = self.currency.upper()
        if self.currency in THREE_DECIMAL:
            units = Decimal(self.amount) / 1000
        elif is_supported(self.currency):
            units = Decimal(self.amount) / (1 if self.currency in ZERO_DECIMAL else 100)
        else:
            return f"{self.amount}/{code}"
        text = format_currency(units, code, locale=locale, decimal_quantization=False)
        # CLDR's Japanese writes the full-width sign; the shop writes one sign in both languages.
        text = text.replace("\N{FULLWIDTH YEN SIGN}", "\N{YEN SIGN}")
        # It also asks for a space between a code and its figures, which Babel leaves out.
        return re.sub(r"([A-Z])(\d)", "\\1\N{NO-BREAK SPACE}\\2", text)
