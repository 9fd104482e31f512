"""What the owner does in Stripe's dashboard, beside the API: refunds and disputes by hand."""

from collections.abc import Callable
from typing import Any

from flask import Blueprint, request
from werkzeug.exceptions import Conflict, HTTPException, NotFound, UnprocessableEntity
from werkzeug.wrappers import Response

from . import charges, control, disputes
from .api import render
from .errors import ApiError
from .money import LARGEST
from .state import current_state
from .store import Document, Transaction

bp = Blueprint("dashboard", __name__, url_prefix="/control")
bp.before_request(control.guard)
OUTCOMES = ("won", "lost")


@bp.post("/charges/<charge_id>/refund")
def refund(charge_id: str) -> Response:
    """Refund `amount` (minor units), or all that is left; nothing says on whose behalf."""
    amount = control.number("amount", LARGEST, -1)
    asked: dict[str, Any] = {"charge": charge_id} | ({"amount": amount} if amount >= 0 else {})
    return _do("charge", charge_id, lambda tx, _: charges.create_refund(tx, asked))


@bp.post("/charges/<charge_id>/dispute")
def dispute(charge_id: str) -> Response:
    """Have the cardholder's bank take the money back now."""

    def act(tx: Transaction, charge: Document) -> Document:
        why_not = disputes.why_not(tx, charge)
        if why_not:
            raise Conflict(why_not)
        return disputes.open_dispute(tx, charge)

    return _do("charge", charge_id, act)


@bp.post("/disputes/<dispute_id>/close")
def close(dispute_id: str) -> Response:
    """Have the bank decide: `outcome` is `won` or `lost`; an inquiry just ends."""
    won = control.choice("outcome", OUTCOMES) == "won"

    def act(tx: Transaction, dispute: Document) -> Document:
        if dispute["status"] in disputes.CLOSED:
            raise Conflict(f"This dispute is closed already ({dispute['status']}).")
        return disputes.settle(tx, dispute, won=won)

    return _do("dispute", dispute_id, act)


@bp.post("/refunds/<refund_id>/fail")
def fail_refund(refund_id: str) -> Response:
    """Have a refund come back."""

    def act(tx: Transaction, refund: Document) -> Document:
        if refund["status"] == "failed":
            raise Conflict("This refund has come back already.")
        charges.fail_refund(tx, refund)
        return refund

    return _do("refund", refund_id, act)


def _do(kind: str, object_id: str, act: Callable[[Transaction, Document], Document]) -> Response:
    """Do it to the object, deliver what that raised, and answer with what came of it.

    Raises 404 where there is no such object, 409 or 422 where Stripe would refuse.
    """
    state = current_state()
    with state.store.write() as tx:
        doc = tx.get(object_id, kind)
        if doc is None:
            raise NotFound(f"There is no such {kind}.")
        try:
            made = act(tx, doc)
        except ApiError as refusal:
            raise _refused(refusal) from refusal
    state.deliver_due()
    return control.done(render(made, request.url_root))


def _refused(refusal: ApiError) -> HTTPException:
    wrong = refusal.error.get("param") == "amount"
    return (UnprocessableEntity if wrong else Conflict)(refusal.error["message"])
