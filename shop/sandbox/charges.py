"""Charges without a session: tokens, legacy charges; and refunds of every charge."""

import dataclasses
from typing import Any

from . import cards, disputes, objects
from .cards import Behaviour, Card
from .contract import absent
from .errors import ApiError, CardError, ParameterError, missing
from .events import emit
from .payments import LATER, charge_card, message
from .store import Document, Transaction
from .validation import check_amount, metadata

KONBINI_REFUND_SECONDS = 45 * 86400
DETAILS = ("description", "receipt_email", "statement_descriptor", "statement_descriptor_suffix")


def create_token(tx: Transaction, params: dict[str, Any]) -> Document:
    """Return a new token for a card; raises CardError where the card cannot be one."""
    given = params.get("card")
    if not isinstance(given, dict):
        raise ParameterError("The sandbox makes tokens of cards only.", param="card")
    number = cards.digits(given["number"])
    if not cards.plausible(number):
        raise _card_error("incorrect_number", "number", "Your card number is incorrect.")
    month_year = cards.expiry(f"{given['exp_month']}/{given['exp_year']}")
    if month_year is None:
        text = "Your card's expiration month is invalid."
        raise _card_error("invalid_expiry_month", "exp_month", text)
    if cards.expired(*month_year, tx.now):
        text = "Your card's expiration year is invalid."
        raise _card_error("invalid_expiry_year", "exp_year", text)
    cvc = given.get("cvc")
    if cvc is not None and not (cvc.isdecimal() and len(cvc) in (3, 4)):
        raise _card_error("invalid_cvc", "cvc", "Your card's security code is invalid.")
    return tx.put(objects.token(tx, cards.card(number, *month_year)))


def _card_error(code: str, param: str, text: str) -> CardError:
    return CardError(402, text, code=code, param=param)


def create_charge(tx: Transaction, params: dict[str, Any]) -> Document:
    """Charge a token; raises CardError, with the failed charge kept, where the bank declines."""
    for name in ("amount", "currency"):
        if name not in params:
            raise absent(name)
    if "source" not in params:
        raise ParameterError("Must provide source or customer.")
    if params.get("capture", True) is False:
        raise ParameterError("The sandbox captures at once, never by hand.", param="capture")
    currency = params["currency"].lower()
    check_amount(params["amount"], currency, "amount")
    details: dict[str, Any] = {name: params[name] for name in DETAILS if name in params}
    details["metadata"] = metadata(params.get("metadata"), "metadata")
    card = _spend(tx, params["source"])
    details["source"] = objects.card_source(card)
    if card.behaviour.authenticate:
        # A charge cannot ask the customer anything, so the bank turns it down.
        refusal = Behaviour("card_declined", "authentication_required")
        card = dataclasses.replace(card, behaviour=refusal)
    charge = charge_card(tx, params["amount"], currency, None, card, **details)
    if card.behaviour.code:
        raise _declined(card.behaviour, charge)
    return charge


def _declined(why: Behaviour, charge: Document) -> CardError:
    param = {"incorrect_cvc": "cvc", "expired_card": "exp_month"}.get(why.code or "")
    details = {"decline_code": why.decline_code, "charge": charge["id"]}
    return CardError(402, message(why), code=why.code, param=param, **details)


def _spend(tx: Transaction, source: str) -> Card:
    """Return the card behind a token, which is used up by this unless it is a named one."""
    named = cards.named(source, tx.now)
    if named:
        return named
    token = tx.get(source, "token")
    if token is None:
        raise missing(source, "token", "source")
    if token["used"]:
        text = f"You cannot use a Stripe token more than once: {source}."
        raise ApiError(400, text, code="token_already_used", param="source")
    tx.put({**token, "used": True})
    return Card.from_dict(token["_"]["card"])


def create_refund(tx: Transaction, params: dict[str, Any]) -> Document:
    """Return money (minor units), all of what is left unless told; raises ApiError beyond that."""
    charge = _charge_of(tx, params)
    refusal = why_no_refund(tx, charge)
    if refusal:
        raise refusal
    left = charge["amount"] - charge["amount_refunded"]
    amount = params.get("amount", left)
    if amount < 1:
        text = "Invalid positive integer"
        raise ParameterError(text, param="amount", code="parameter_invalid_integer")
    if amount > left:
        text = f"Refund amount ({amount}) is greater than unrefunded amount on charge ({left})."
        raise ApiError(400, text, param="amount")
    refund = objects.refund(tx, charge, amount)
    refund["reason"] = params.get("reason")
    refund["metadata"] = metadata(params.get("metadata"), "metadata")
    _settle_refund(tx, refund, charge, params.get("instructions_email"))
    _add_refunded(tx, charge, amount)
    emit(tx, "refund.created", refund)
    emit(tx, "charge.refunded", charge)
    return tx.put(refund)


def why_no_refund(tx: Transaction, charge: Document) -> ApiError | None:
    """Return why nothing of the charge can be refunded, None where something can."""
    if charge["status"] != "succeeded":
        return ApiError(400, f"Charge {charge['id']} has not succeeded.", param="charge")
    if not disputes.refundable(tx, charge):
        text = f"Charge {charge['id']} has been charged back; cannot issue a refund."
        return ApiError(400, text, code="charge_disputed")
    if charge["amount_refunded"] == charge["amount"]:
        text = f"Charge {charge['id']} has already been refunded."
        return ApiError(400, text, code="charge_already_refunded")
    return None


def _charge_of(tx: Transaction, params: dict[str, Any]) -> Document:
    """Return the charge that `charge` or `payment_intent` names; raises ApiError without one."""
    charge_id = params.get("charge")
    if "payment_intent" in params:
        intent = tx.get(params["payment_intent"], "payment_intent")
        if intent is None:
            raise missing(params["payment_intent"], "payment_intent", "payment_intent")
        if intent["status"] != "succeeded":
            text = (
                f"This PaymentIntent ({intent['id']}) does not have a successful charge to refund."
            )
            raise ApiError(400, text, code="payment_intent_unexpected_state")
        charge_id = charge_id or intent["latest_charge"]
    if not charge_id:
        text = "One of the following params should be provided for this request: payment_intent or"
        raise ParameterError(f"{text} charge.", code="parameter_missing")
    charge = tx.get(charge_id, "charge")
    if charge is None:
        raise missing(charge_id, "charge", "charge")
    return charge


def _settle_refund(
    tx: Transaction, refund: Document, charge: Document, instructions_email: str | None
) -> None:
    """Set the refund's first status, and have it change later where the card does that."""
    later = charge["_"].get("later")
    if charge["payment_method_details"]["type"] == "konbini":
        # Cash has to be claimed: the customer names a bank account, or 45 days later it comes back.
        refund["status"] = "requires_action"
        email = instructions_email or charge["billing_details"]["email"] or ""
        refund["next_action"] = {
            "type": "display_details",
            "display_details": {
                "email_sent": {"email_sent_at": tx.now, "email_sent_to": email},
                "expires_at": tx.now + KONBINI_REFUND_SECONDS,
            },
        }
        tx.schedule(tx.now + KONBINI_REFUND_SECONDS, "fail_refund", refund["id"])
    elif later == "refund_pending":
        refund["status"] = "pending"
        tx.schedule(tx.now + LATER, "succeed_refund", refund["id"])
    elif later == "refund_fails":
        tx.schedule(tx.now + LATER, "fail_refund", refund["id"])


def _add_refunded(tx: Transaction, charge: Document, amount: int) -> None:
    charge["amount_refunded"] += amount
    charge["refunded"] = charge["amount_refunded"] == charge["amount"]
    tx.put(charge)


def succeed_refund(tx: Transaction, refund: Document) -> None:
    """A pending refund goes through, unless it failed meanwhile."""
    if refund["status"] != "pending":
        return
    refund["status"] = "succeeded"
    _tell_refund(tx, refund, "refund.updated", "charge.refund.updated")


def fail_refund(tx: Transaction, refund: Document) -> None:
    """A refund comes back, once: the charge counts as paid again."""
    if refund["status"] == "failed":
        return
    refund |= {"status": "failed", "failure_reason": "unknown", "next_action": None}
    charge = tx.get(refund["charge"], "charge")
    if charge:
        _add_refunded(tx, charge, -refund["amount"])
    _tell_refund(tx, refund, "refund.updated", "refund.failed", "charge.refund.updated")


def _tell_refund(tx: Transaction, refund: Document, *kinds: str) -> None:
    tx.put(refund)
    for kind in kinds:
        emit(tx, kind, refund)
