"""The test cards and what each of them does."""

import re
import unicodedata
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any


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

    def to_dict(self) -> dict[str, Any]:
        """Return the card as JSON-ready data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Card":
        """Return the card from the data of `to_dict`."""
        return cls(**{**data, "behaviour": Behaviour(**data["behaviour"])})


def _declined(decline_code: str, *, authenticate: bool = False) -> Behaviour:
    return Behaviour("card_declined", decline_code, authenticate=authenticate)


PAYS = Behaviour()
NOT_A_TEST_CARD = _declined("test_mode_live_card")
PAYING_CARDS = """
    4242424242424242 4000056655665556 4000003920000003 4000000000003055 5555555555554444
    2223003122003222 5200828282828210 5105105105105100 378282246310005 371449635398431
    6011111111111117 3056930009020004 36227206271667 3566002020360505 6200000000000005
""".split()
BEHAVIOURS = {
    **dict.fromkeys(PAYING_CARDS, PAYS),
    "4000000000000002": _declined("generic_decline"),
    "4000000000000341": _declined("generic_decline"),
    "4000000000009995": _declined("insufficient_funds"),
    "4000000000009987": _declined("lost_card"),
    "4000000000009979": _declined("stolen_card"),
    "4000000000006975": _declined("card_velocity_exceeded"),
    "4100000000000019": _declined("fraudulent"),
    "4000000000000069": Behaviour("expired_card", "expired_card"),
    "4000000000000127": Behaviour("incorrect_cvc", "incorrect_cvc"),
    "4000000000000119": Behaviour("processing_error", "processing_error"),
    "4000000000003220": Behaviour(authenticate=True),
    "4000000000003063": Behaviour(authenticate=True),
    "4000002500003155": Behaviour(authenticate=True),
    "4000002760003184": Behaviour(authenticate=True),
    "4000008260003178": _declined("insufficient_funds", authenticate=True),
    "4000008400001629": _declined("generic_decline", authenticate=True),
    "4000000000000259": Behaviour(later="dispute"),
    "4000000000002685": Behaviour(later="dispute", reason="product_not_received"),
    "4000000000001976": Behaviour(later="inquiry"),
    "4000000000007726": Behaviour(later="refund_pending"),
    "4000000000005126": Behaviour(later="refund_fails"),
}
BRANDS = {
    "4": "visa", "5": "mastercard", "2": "mastercard", "34": "amex", "37": "amex", "60": "discover",
    "30": "diners", "36": "diners", "35": "jcb", "62": "unionpay",
}  # fmt: skip
_TOKENS = {
    "visa": "4242424242424242",
    "visa_debit": "4000056655665556",
    "mastercard": "5555555555554444",
    "amex": "378282246310005",
    "jcb": "3566002020360505",
    "chargeDeclined": "4000000000000002",
    "chargeDeclinedInsufficientFunds": "4000000000009995",
    "chargeDeclinedLostCard": "4000000000009987",
    "chargeDeclinedStolenCard": "4000000000009979",
    "chargeDeclinedVelocityLimitExceeded": "4000000000006975",
    "chargeDeclinedFraudulent": "4100000000000019",
    "chargeDeclinedExpiredCard": "4000000000000069",
    "chargeDeclinedIncorrectCvc": "4000000000000127",
    "chargeDeclinedProcessingError": "4000000000000119",
    "chargeCustomerFail": "4000000000000341",
    "threeDSecure2Required": "4000000000003220",
    "createDispute": "4000000000000259",
    "createDisputeProductNotReceived": "4000000000002685",
    "createDisputeInquiry": "4000000000001976",
    "pendingRefund": "4000000000007726",
    "refundFail": "4000000000005126",
}
# Stripe's table has `tok_visa_chargeDeclined…` for some declines, `tok_chargeDeclined…` for others.
NAMED_TOKENS = {
    f"tok_{prefix}{name}": number
    for name, number in _TOKENS.items()
    for prefix in (("", "visa_") if name.startswith("charge") else ("",))
}


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
    behaviour = BEHAVIOURS.get(number, NOT_A_TEST_CARD)
    brand = BRANDS.get(number[:2]) or BRANDS.get(number[:1], "unknown")
    return Card(brand, number[-4:], month, year, behaviour)


def named_card(token: str, now: int) -> Card | None:
    """Return the card of a named token such as `tok_visa`, None for other tokens."""
    number = NAMED_TOKENS.get(token)
    return make_card(number, 12, datetime.fromtimestamp(now, UTC).year + 3) if number else None
