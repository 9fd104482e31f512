"""The legacy way: a card token, made by Stripe's script in the browser, is charged at once.

Charges cannot ask the customer's bank; where it wants to be asked, Checkout takes over.
https://docs.stripe.com/payments/accept-a-payment-charges
"""

import re
from typing import Any

from flask_babel import gettext as _

from shop.errors import ShopError
from shop.extensions import now, write
from shop.payments import attempts, gateway, service, underway

TOKEN = re.compile(r"tok_[A-Za-z0-9_]{1,200}")


class UnusableCard(ShopError):
    """The card token is none, or was used before."""

    status = 422
    code = "bad_token"

    def __init__(self) -> None:
        super().__init__(
            _("We could not read the card. Nothing was charged; please type it in once more.")
        )


class Declined(ShopError):
    """The card was declined; the order waits for another try."""

    status = 402
    code = "card_declined"

    def __init__(self, reason: str) -> None:
        super().__init__(_decline_in_words(reason))
        self.reason = reason


class AuthenticationWanted(Exception):
    """The bank wants to ask the customer, which a charge cannot."""


def charge(token: str, card_token: str, email: str | None) -> None:
    """Charge the order's amount to a card token; return when it is settled.

    Raises UnusableCard, Declined, AuthenticationWanted, AlreadyOrdered, OrderMissing, and
    StripeUnreachable, after which the same charge is asked for again before any other.
    """
    underway.resume_charge(token)
    if not TOKEN.fullmatch(card_token):
        raise UnusableCard
    underway.end_open_attempt(token)
    attempt_id = write(lambda: _begin(token, card_token, email))
    try:
        underway.run_charge(attempt_id)
    except gateway.CardDeclined as error:
        if error.reason == "authentication_required":
            raise AuthenticationWanted from error
        raise Declined(error.reason) from error
    except gateway.StripeRefused as error:
        if not error.is_about_request:  # a key that is not valid, say: no card would do
            raise gateway.StripeUnreachable(order=token) from error
        raise UnusableCard from error


def _begin(token: str, card_token: str, email: str | None) -> int:
    order = service.claim(token)
    if order is None:  # given up meanwhile; its page offers to order the same again
        raise service.AlreadyOrdered(token)
    if attempts.open_of(order) is not None:  # the other one of two clicks
        raise underway.being_confirmed(token)
    order.email = email or order.email
    what = {"amount": order.amount, "currency": order.currency, "source": card_token}
    says = {"description": f"Order {order.number}"} | ({"receipt_email": email} if email else {})

    def params(key: str) -> dict[str, Any]:
        return what | says | {"metadata": {"order": order.uid, "attempt": key}}

    return attempts.begin(order, "charge", params, now()).id


def _decline_in_words(reason: str) -> str:
    """Return what a decline means to the customer; what would help a thief is said to nobody.

    https://docs.stripe.com/declines/codes
    """
    words = {
        "insufficient_funds": _("There is not enough money on the card."),
        "expired_card": _("The card has expired."),
        "incorrect_cvc": _("The security code is not right."),
        "incorrect_number": _("The card number is not right."),
        "processing_error": _("The bank could not be reached."),
        "card_velocity_exceeded": _("The card has reached its limit."),
    }
    what = words.get(reason, _("The bank has declined the card."))
    return str(_("%(what)s Nothing was charged. Please try another card.", what=what))
