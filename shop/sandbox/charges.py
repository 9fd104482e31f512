"""Tokens of cards, and charges that are made from a token instead of a session."""

import dataclasses
from typing import Any

from . import cards, objects
from .cards import Behaviour, Card
from .errors import ApiError, CardError, ParameterError, missing_object, missing_parameter
from .payments import charge_card, decline_message
from .store import Document, Transaction
from .validation import check_amount, check_metadata

COPIED = ("description", "receipt_email", "statement_descriptor", "statement_descriptor_suffix")


def create_token(tx: Transaction, params: dict[str, Any]) -> Document:
    """Return a new token for a card; raises CardError where number, date or code is wrong."""
    if "card" not in params:
        raise missing_parameter("card")
    given = params["card"]
    number = cards.card_digits(given["number"])
    if not cards.is_card_number(number):
        raise _card_error("incorrect_number", "number", "Your card number is incorrect.")
    month_year = cards.parse_expiry(f"{given['exp_month']}/{given['exp_year']}")
    if month_year is None:
        text = "Your card's expiration month is invalid."
        raise _card_error("invalid_expiry_month", "exp_month", text)
    if cards.is_expired(*month_year, tx.now):
        text = "Your card's expiration year is invalid."
        raise _card_error("invalid_expiry_year", "exp_year", text)
    cvc = given.get("cvc")
    if cvc is not None and not (cvc.isdecimal() and len(cvc) in (3, 4)):
        raise _card_error("invalid_cvc", "cvc", "Your card's security code is invalid.")
    return tx.put(objects.token(tx, cards.make_card(number, *month_year)))


def _card_error(code: str, param: str, text: str) -> CardError:
    return CardError(402, text, code=code, param=param)


def create_charge(tx: Transaction, params: dict[str, Any]) -> Document:
    """Charge a token and return the charge; raises CardError where the bank declines.

    The failed charge is stored all the same, as Stripe does.
    """
    for name in ("amount", "currency"):
        if name not in params:
            raise missing_parameter(name)
    if "source" not in params:
        raise ParameterError("Must provide source or customer.")
    currency = params["currency"].lower()
    check_amount(params["amount"], currency, "amount")
    details: dict[str, Any] = {name: params[name] for name in COPIED if name in params}
    details["metadata"] = check_metadata(params.get("metadata"), "metadata")
    if "shipping" in params:
        details["shipping"] = objects.shipping(params["shipping"])
    card = _use_token(tx, params["source"])
    details["source"] = objects.card_source(card)
    if card.behaviour.authenticate:
        # No page can show the bank's challenge here, so the bank declines.
        behaviour = Behaviour("card_declined", "authentication_required")
        card = dataclasses.replace(card, behaviour=behaviour)
    charge = charge_card(
        tx, {**objects.charge(tx, params["amount"], currency, {}), **details}, card
    )
    behaviour = card.behaviour
    if behaviour.code:
        text, code = decline_message(behaviour), behaviour.code
        param = {"incorrect_cvc": "cvc", "expired_card": "exp_month"}.get(code)
        more = {"decline_code": behaviour.decline_code, "charge": charge["id"]}
        raise CardError(402, text, code=code, param=param, **more)
    return charge


def _use_token(tx: Transaction, source: str) -> Card:
    """Return the card of a token; one that was made for a card can be used once only."""
    named = cards.named_card(source, tx.now)
    if named:
        return named
    token = tx.get(source, "token")
    if token is None:
        raise missing_object(source, "token", "source")
    if token["used"]:
        text = f"You cannot use a Stripe token more than once: {source}."
        raise ApiError(400, text, code="token_already_used", param="source")
    tx.put({**token, "used": True})
    return Card.from_dict(token["_"]["card"])
