"""Disputes: the cardholder's bank takes the money back, the shop answers, the bank decides.

https://docs.stripe.com/testing#disputes
"""

import copy
from typing import Any

from . import objects
from .errors import ApiError, ParameterError, missing
from .events import emit
from .lists import retriever
from .store import Document, Transaction
from .validation import metadata

CLOSED = ("won", "lost", "warning_closed")
# What these texts decide, submitted as evidence; any other waits for the switches.
WINS, LOSES, ESCALATES = "winning_evidence", "losing_evidence", "escalate_inquiry_evidence"
LONGEST_EVIDENCE = 150_000
FILES = (
    "cancellation_policy",
    "customer_communication",
    "customer_signature",
    "duplicate_charge_documentation",
    "receipt",
    "refund_policy",
    "service_documentation",
    "shipping_documentation",
    "uncategorized_file",
)
retrieve = retriever("dispute", "dispute")


def why_not(tx: Transaction, charge: Document) -> str | None:
    """Return why the charge cannot be disputed, in words, or None where it can."""
    if charge["status"] != "succeeded":
        return "This charge did not succeed, so there is nothing to dispute."
    if charge["payment_method_details"]["type"] != "card":
        return "Only card payments can be disputed."
    if charge["amount_refunded"] == charge["amount"]:
        return "All of this charge has been refunded, so there is nothing left to dispute."
    if any(one["status"] not in ("won", "warning_closed") for one in _of(tx, charge)):
        return "This charge is disputed already."
    return None


def refundable(tx: Transaction, charge: Document) -> bool:
    """Return whether no dispute stands in the way of a refund; inquiries and won ones do not."""
    return all(dispute["is_charge_refundable"] for dispute in _of(tx, charge))


def _of(tx: Transaction, charge: Document) -> list[Document]:
    return tx.find("dispute", [("json_extract(doc, '$.charge') = ?", charge["id"])], limit=100)


def fall_due(tx: Transaction, charge: Document) -> None:
    """Open what the charge's card brings, unless there is nothing left to dispute by now."""
    if why_not(tx, charge) is None:
        open_dispute(tx, charge, inquiry=charge["_"]["later"] == "inquiry")


def open_dispute(tx: Transaction, charge: Document, *, inquiry: bool = False) -> Document:
    """Dispute what was not refunded, and return the dispute.

    The money is withdrawn at once; an inquiry only asks.
    """
    charge["disputed"] = True
    tx.put(charge)
    dispute = objects.dispute(tx, charge, charge["_"].get("reason", "fraudulent"))
    if inquiry:
        dispute |= {"status": "warning_needs_response", "is_charge_refundable": True}
        dispute["payment_method_details"]["card"]["case_type"] = "inquiry"
    tx.put(dispute)
    emit(tx, "charge.dispute.created", dispute)
    if not inquiry:
        emit(tx, "charge.dispute.funds_withdrawn", dispute)
    return dispute


def update(tx: Transaction, params: dict[str, Any], dispute_id: str) -> Document:
    """Take evidence, submit it unless told to wait, and return the dispute, decided or not."""
    dispute = _still_open(tx, dispute_id)
    before = copy.deepcopy(dispute)
    given = _evidence(params.get("evidence", {}))
    dispute["evidence"] |= given
    dispute["evidence_details"]["has_evidence"] = any(dispute["evidence"].values())
    if sum(len(value) for value in dispute["evidence"].values() if value) > LONGEST_EVIDENCE:
        text = f"Evidence can have up to {LONGEST_EVIDENCE} characters in all."
        raise ParameterError(text, param="evidence")
    _note(dispute, params)
    asked = params.get("submit", bool(given))
    submits = asked and dispute["evidence_details"]["has_evidence"]
    if submits:
        _submit(tx, dispute)
    tx.put(dispute)
    emit(tx, "charge.dispute.updated", dispute, _changed(before, dispute))
    if submits:
        _decide(tx, dispute, dispute["evidence"]["uncategorized_text"])
    return dispute


def _still_open(tx: Transaction, dispute_id: str) -> Document:
    dispute = retrieve(tx, {}, dispute_id)
    if dispute["status"] in CLOSED:
        text = f"This dispute is already closed, with the status `{dispute['status']}`."
        raise ApiError(400, text, param="dispute")
    return dispute


def _evidence(given: dict[str, Any]) -> dict[str, str | None]:
    """Return the evidence with what was emptied unset; raises for what the sandbox cannot keep."""
    for name, value in given.items():
        if name in FILES and value:
            raise missing(value, "file upload", f"evidence[{name}]")
        if not isinstance(value, str):
            text = "The sandbox takes evidence as texts only."
            raise ParameterError(text, param=f"evidence[{name}]")
    return {name: value or None for name, value in given.items()}


def _note(dispute: Document, params: dict[str, Any]) -> None:
    """Write the other parameters into the dispute; an empty value unsets its key."""
    if "metadata" in params:
        pairs = params["metadata"]
        merged = {**dispute["metadata"], **pairs} if pairs else {}
        kept = {key: value for key, value in merged.items() if value}
        dispute["metadata"] = metadata(kept, "metadata")
    if "intended_submission_method" in params:
        dispute["intended_submission_method"] = params["intended_submission_method"]


def _submit(tx: Transaction, dispute: Document) -> None:
    details = dispute["evidence_details"]
    details["submission_count"] += 1
    details["past_due"] = tx.now > details["due_by"]
    dispute["status"] = "warning_under_review" if _is_inquiry(dispute) else "under_review"


def _is_inquiry(dispute: Document) -> bool:
    return bool(dispute["status"].startswith("warning_"))


def _changed(before: Document, after: Document) -> Document:
    """Return the former values of what changed, as an event tells them."""
    changed = {}
    for name in before.keys() | after.keys():
        old, new = before.get(name), after.get(name)
        if old != new:
            inside = isinstance(old, dict) and isinstance(new, dict)
            changed[name] = _changed(old or {}, new or {}) if inside else old
    return changed


def _decide(tx: Transaction, dispute: Document, text: str | None) -> None:
    if text == ESCALATES and _is_inquiry(dispute):
        _escalate(tx, dispute)
    elif text in (WINS, LOSES):
        settle(tx, dispute, won=text == WINS)


def _escalate(tx: Transaction, dispute: Document) -> None:
    """Make an inquiry a dispute; one whose charge was refunded in full just ends."""
    charge = tx.get(dispute["charge"], "charge") or {}
    if charge["refunded"]:
        settle(tx, dispute, won=False)
        return
    before = copy.deepcopy(dispute)
    fresh = objects.dispute(tx, charge, dispute["reason"])
    changing = ("amount", "is_charge_refundable", "status", "evidence_details")
    dispute |= {name: fresh[name] for name in (*changing, "payment_method_details")}
    tx.put(dispute)
    emit(tx, "charge.dispute.updated", dispute, _changed(before, dispute))
    emit(tx, "charge.dispute.funds_withdrawn", dispute)


def close(tx: Transaction, _: dict[str, Any], dispute_id: str) -> Document:
    """Give in and return the dispute: lost, or closed where it was an inquiry."""
    return settle(tx, _still_open(tx, dispute_id), won=False)


def settle(tx: Transaction, dispute: Document, *, won: bool) -> Document:
    """Close an open dispute and return it; an inquiry ends the same way whoever is right."""
    status = "warning_closed" if _is_inquiry(dispute) else "won" if won else "lost"
    dispute |= {"status": status, "is_charge_refundable": status != "lost"}
    tx.put(dispute)
    emit(tx, "charge.dispute.closed", dispute)
    if status == "won":
        emit(tx, "charge.dispute.funds_reinstated", dispute)
    return dispute
