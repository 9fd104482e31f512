"""The test cards; `cards.json` says what each of them does, and which tokens stand for it."""

import re
import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from .data import load


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What a test card does: it pays, or is declined with `code` and `decline_code`.

    `authenticate` means 3-D Secure first. `later` is what follows the payment: "dispute" or
    "inquiry" (with this `reason`), "refund_pending" or "refund_fails".
    """

    code: str | None = None
    decline_code: str | None = None
    authenticate: bool = False
    later: str | None = None
    reason: str = "fraudulent"


@dataclass(frozen=True, slots=True)
class Card:
    """A card without its number and security code, which are never stored."""

    brand: str
    last4: str
    exp_month: int
    exp_year: int
    behaviour: Behaviour
    authenticated: bool = False

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Card":
        """Return the card from the data of `asdict`."""
        return cls(**{**data, "behaviour": Behaviour(**data["behaviour"])})


NOT_A_TEST_CARD = {"code": "card_declined", "decline_code": "test_mode_live_card"}
BRANDS = {
    "4": "visa", "5": "mastercard", "2": "mastercard", "34": "amex", "37": "amex", "60": "discover",
    "30": "diners", "36": "diners", "35": "jcb", "62": "unionpay",
}  # fmt: skip


def normalise(text: str) -> str:
    """Return typed text with full-width characters made narrow and the ends trimmed."""
    return unicodedata.normalize("NFKC", text).replace("\N{MINUS SIGN}", "-").strip()


def card_digits(number: str) -> str:
    """Return a card number without spaces and dashes."""
    return re.sub(r"[\s-]", "", normalise(number))


def is_card_number(number: str) -> bool:
    """Return whether a number has a card's length and check digit (Luhn)."""
    if not re.fullmatch(r"[0-9]{12,19}", number):
        return False
    doubled = [int(d) * (1 + n % 2) for n, d in enumerate(reversed(number))]
    return sum(d - 9 if d > 9 else d for d in doubled) % 10 == 0


def parse_expiry(text: str) -> tuple[int, int] | None:
    """Return month and year of `MM/YY` (or `MM/YYYY`), None for anything else."""
    match = re.fullmatch(r"(0?[1-9]|1[0-2])\s*[/-]?\s*((?:20)?[0-9]{2})", normalise(text))
    return (int(match[1]), 2000 + int(match[2]) % 100) if match else None


def is_expired(month: int, year: int, now: int) -> bool:
    """Return whether the card's last month is over at the time `now`."""
    today = datetime.fromtimestamp(now, UTC)
    return (year, month) < (today.year, today.month)


def make_card(number: str, month: int, year: int) -> Card:
    """Return the card with that number; any number that is no test card's will be declined."""
    known = load("cards")["numbers"].get(number, NOT_A_TEST_CARD)
    brand = BRANDS.get(number[:2]) or BRANDS.get(number[:1], "unknown")
    return Card(brand, number[-4:], month, year, Behaviour(**known))


def named_card(token: str, now: int) -> Card | None:
    """Return the card of a named token such as `tok_visa`, None for other tokens."""
    number = load("cards")["tokens"].get(token)
    return make_card(number, 12, datetime.fromtimestamp(now, UTC).year + 3) if number else None
