"""Refunds of every charge: create, succeed later, fail later."""

from typing import Any

from . import disputes, objects
from .errors import ApiError, ParameterError, missing_object
from .events import emit
from .payments import LATER
from .store import Document, Transaction
from .validation import check_metadata

KONBINI_SECONDS = 45 * 86400


def create(tx: Transaction, params: dict[str, Any]) -> Document:
    """Refund `amount` (minor units), by default all that is left; raises ApiError beyond that."""
    charge = _charge_to_refund(tx, params)
    error = refund_error(tx, charge)
    if error:
        raise error
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
    refund["metadata"] = check_metadata(params.get("metadata"), "metadata")
    later = charge["_"].get("later")
    if charge["payment_method_details"]["type"] == "konbini":
        # Cash cannot go back by itself: the customer names a bank account within 45 days.
        email = params.get("instructions_email") or charge["billing_details"]["email"] or ""
        expires_at = tx.now + KONBINI_SECONDS
        sent = {"email_sent_at": tx.now, "email_sent_to": email}
        details = {"email_sent": sent, "expires_at": expires_at}
        refund["status"] = "requires_action"
        refund["next_action"] = {"type": "display_details", "display_details": details}
        tx.schedule(expires_at, "fail_refund", refund["id"])
    elif later == "refund_pending":
        refund["status"] = "pending"
        tx.schedule(tx.now + LATER, "succeed_refund", refund["id"])
    elif later == "refund_fails":
        tx.schedule(tx.now + LATER, "fail_refund", refund["id"])
    _add_refunded(tx, charge, amount)
    emit(tx, "refund.created", refund)
    emit(tx, "charge.refunded", charge)
    return tx.put(refund)


def refund_error(tx: Transaction, charge: Document) -> ApiError | None:
    """Return the error for a charge of which nothing can be refunded, None for others."""
    if charge["status"] != "succeeded":
        return ApiError(400, f"Charge {charge['id']} has not succeeded.", param="charge")
    if not disputes.allow_refund(tx, charge):
        text = f"Charge {charge['id']} has been charged back; cannot issue a refund."
        return ApiError(400, text, code="charge_disputed")
    if charge["amount_refunded"] == charge["amount"]:
        text = f"Charge {charge['id']} has already been refunded."
        return ApiError(400, text, code="charge_already_refunded")
    return None


def _charge_to_refund(tx: Transaction, params: dict[str, Any]) -> Document:
    """Return the charge that `charge` or `payment_intent` names; raises ApiError without one."""
    charge_id = params.get("charge")
    if "payment_intent" in params:
        intent = tx.get(params["payment_intent"], "payment_intent")
        if intent is None:
            raise missing_object(params["payment_intent"], "payment_intent", "payment_intent")
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
        raise missing_object(charge_id, "charge", "charge")
    return charge


def _add_refunded(tx: Transaction, charge: Document, amount: int) -> None:
    charge["amount_refunded"] += amount
    charge["refunded"] = charge["amount_refunded"] == charge["amount"]
    tx.put(charge)


def succeed(tx: Transaction, refund: Document) -> None:
    """Let a pending refund succeed; one that has failed since then stays failed."""
    if refund["status"] == "pending":
        refund["status"] = "succeeded"
        _save(tx, refund, "refund.updated", "charge.refund.updated")


def fail(tx: Transaction, refund: Document) -> None:
    """Let a refund fail, once; the charge has its money back."""
    if refund["status"] == "failed":
        return
    refund |= {"status": "failed", "failure_reason": "unknown", "next_action": None}
    charge = tx.get(refund["charge"], "charge")
    if charge:
        _add_refunded(tx, charge, -refund["amount"])
    _save(tx, refund, "refund.updated", "refund.failed", "charge.refund.updated")


def _save(tx: Transaction, refund: Document, *events: str) -> None:
    tx.put(refund)
    for kind in events:
        emit(tx, kind, refund)
