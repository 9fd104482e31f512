"""Disputes: the bank takes the money back, the shop sends evidence, the bank decides.

https://docs.stripe.com/testing#disputes
"""

import copy
from typing import Any

from . import objects
from .errors import ApiError, ParameterError
from .events import emit
from .lists import retriever
from .store import Document, Transaction
from .validation import merge_metadata

CLOSED = ("won", "lost", "warning_closed")
# Stripe's test texts: evidence that decides at once. Any other waits for `control/disputes`.
WINS, LOSES, ESCALATES = "winning_evidence", "losing_evidence", "escalate_inquiry_evidence"
LONGEST_EVIDENCE = 150_000
retrieve = retriever("dispute", "dispute")


def dispute_error(tx: Transaction, charge: Document) -> str | None:
    """Return why the charge cannot be disputed, None where it can."""
    if charge["status"] != "succeeded":
        return "This charge did not succeed, so there is nothing to dispute."
    if charge["payment_method_details"]["type"] != "card":
        return "Only card payments can be disputed."
    if charge["amount_refunded"] == charge["amount"]:
        return "All of this charge has been refunded, so there is nothing left to dispute."
    if any(one["status"] not in ("won", "warning_closed") for one in _disputes_of(tx, charge)):
        return "This charge is disputed already."
    return None


def allow_refund(tx: Transaction, charge: Document) -> bool:
    """Return whether the charge can be refunded: its disputes are won or only inquiries."""
    return all(dispute["is_charge_refundable"] for dispute in _disputes_of(tx, charge))


def _disputes_of(tx: Transaction, charge: Document) -> list[Document]:
    return tx.find("dispute", [("json_extract(doc, '$.charge') = ?", charge["id"])], limit=100)


def open_scheduled(tx: Transaction, charge: Document) -> None:
    """Open the dispute or inquiry of a test card, unless the charge was refunded since then."""
    if dispute_error(tx, charge) is None:
        open_dispute(tx, charge, inquiry=charge["_"]["later"] == "inquiry")


def open_dispute(tx: Transaction, charge: Document, *, inquiry: bool = False) -> Document:
    """Dispute what was not refunded of the charge, and return the dispute.

    A dispute withdraws the money at once, an inquiry does not.
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
    """Store evidence and metadata, submit the evidence unless `submit` is false, and decide."""
    dispute = _retrieve_open(tx, dispute_id)
    before = copy.deepcopy(dispute)
    evidence = {name: text or None for name, text in params.get("evidence", {}).items()}
    dispute["evidence"] |= evidence
    details = dispute["evidence_details"]
    details["has_evidence"] = any(dispute["evidence"].values())
    if sum(len(value) for value in dispute["evidence"].values() if value) > LONGEST_EVIDENCE:
        text = f"Evidence can have up to {LONGEST_EVIDENCE} characters in all."
        raise ParameterError(text, param="evidence")
    dispute["metadata"] = merge_metadata(dispute["metadata"], params.get("metadata", {}))
    if "intended_submission_method" in params:
        dispute["intended_submission_method"] = params["intended_submission_method"]
    submit = details["has_evidence"] and params.get("submit", bool(evidence))
    if submit:
        details["submission_count"] += 1
        details["past_due"] = tx.now > details["due_by"]
        dispute["status"] = "warning_under_review" if _is_inquiry(dispute) else "under_review"
    tx.put(dispute)
    emit(tx, "charge.dispute.updated", dispute, _former_values(before, dispute))
    submitted = dispute["evidence"]["uncategorized_text"] if submit else None
    if submitted == ESCALATES and _is_inquiry(dispute):
        _escalate(tx, dispute)
    elif submitted in (WINS, LOSES):
        close_dispute(tx, dispute, won=submitted == WINS)
    return dispute


def _retrieve_open(tx: Transaction, dispute_id: str) -> Document:
    dispute = retrieve(tx, {}, dispute_id)
    if dispute["status"] in CLOSED:
        text = f"This dispute is already closed, with the status `{dispute['status']}`."
        raise ApiError(400, text, param="dispute")
    return dispute


def _is_inquiry(dispute: Document) -> bool:
    return bool(dispute["status"].startswith("warning_"))


def _former_values(before: Document, after: Document) -> Document:
    """Return the `previous_attributes` of an event: the former values of all that changed."""
    changed = {}
    for name in before.keys() | after.keys():
        old, new = before.get(name), after.get(name)
        if old != new:
            nested = isinstance(old, dict) and isinstance(new, dict)
            changed[name] = _former_values(old or {}, new or {}) if nested else old
    return changed


def _escalate(tx: Transaction, dispute: Document) -> None:
    """Turn an inquiry into a dispute; if its charge was refunded in full, close it instead."""
    charge = tx.get(dispute["charge"], "charge") or {}
    if charge["refunded"]:
        close_dispute(tx, dispute, won=False)
        return
    before = copy.deepcopy(dispute)
    fresh = objects.dispute(tx, charge, dispute["reason"])
    changing = ("amount", "is_charge_refundable", "status", "evidence_details")
    dispute |= {name: fresh[name] for name in (*changing, "payment_method_details")}
    tx.put(dispute)
    emit(tx, "charge.dispute.updated", dispute, _former_values(before, dispute))
    emit(tx, "charge.dispute.funds_withdrawn", dispute)


def close(tx: Transaction, _: dict[str, Any], dispute_id: str) -> Document:
    """Accept the dispute as the shop, and return it."""
    return close_dispute(tx, _retrieve_open(tx, dispute_id), won=False)


def close_dispute(tx: Transaction, dispute: Document, *, won: bool) -> Document:
    """Close an open dispute as won or lost, an inquiry as `warning_closed`, and return it."""
    status = "warning_closed" if _is_inquiry(dispute) else "won" if won else "lost"
    dispute |= {"status": status, "is_charge_refundable": status != "lost"}
    tx.put(dispute)
    emit(tx, "charge.dispute.closed", dispute)
    if status == "won":
        emit(tx, "charge.dispute.funds_reinstated", dispute)
    return dispute
