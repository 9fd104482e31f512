"""The buttons of Stripe's dashboard, and what a bank does: refunds and disputes by hand."""

from collections.abc import Callable
from typing import Any

from flask import Blueprint
from werkzeug.exceptions import Conflict, NotFound, UnprocessableEntity
from werkzeug.wrappers import Response

from . import control, disputes, refunds
from .api import render
from .errors import ApiError
from .money import MAXIMUM_AMOUNT
from .state import current_state
from .store import Document, Transaction

bp = Blueprint("dashboard", __name__, url_prefix="/control")
bp.before_request(control.guard)
OUTCOMES = ("won", "lost")


@bp.post("/charges/<charge_id>/refund")
def refund(charge_id: str) -> Response:
    """Refund `amount` (minor units), by default all that is left; without the shop's metadata."""
    amount = control.whole_number("amount", MAXIMUM_AMOUNT, -1)
    given: dict[str, Any] = {"charge": charge_id} | ({"amount": amount} if amount >= 0 else {})
    return _change("charge", charge_id, lambda tx, _: refunds.create(tx, given))


@bp.post("/charges/<charge_id>/dispute")
def dispute(charge_id: str) -> Response:
    """Open a dispute now, as the cardholder's bank does."""

    def change(tx: Transaction, charge: Document) -> Document:
        error = disputes.dispute_error(tx, charge)
        if error:
            raise Conflict(error)
        return disputes.open_dispute(tx, charge)

    return _change("charge", charge_id, change)


@bp.post("/disputes/<dispute_id>/close")
def close(dispute_id: str) -> Response:
    """Close a dispute as the bank does, with the `outcome` won or lost; an inquiry just ends."""
    won = control.choice("outcome", OUTCOMES) == "won"

    def change(tx: Transaction, dispute: Document) -> Document:
        if dispute["status"] in disputes.CLOSED:
            raise Conflict(f"This dispute is closed already ({dispute['status']}).")
        return disputes.close_dispute(tx, dispute, won=won)

    return _change("dispute", dispute_id, change)


@bp.post("/refunds/<refund_id>/fail")
def fail_refund(refund_id: str) -> Response:
    """Let a refund fail: its money comes back to the shop."""

    def change(tx: Transaction, refund: Document) -> Document:
        if refund["status"] == "failed":
            raise Conflict("This refund has come back already.")
        refunds.fail(tx, refund)
        return refund

    return _change("refund", refund_id, change)


def _change(
    kind: str, object_id: str, change: Callable[[Transaction, Document], Document]
) -> Response:
    """Change the object, deliver the events of that and answer with what `change` returns.

    Raises 404 where there is no such object, 409 or 422 where Stripe would refuse.
    """
    state = current_state()
    with state.store.write() as tx:
        doc = tx.get(object_id, kind)
        if doc is None:
            raise NotFound(f"There is no such {kind}.")
        try:
            changed = change(tx, doc)
        except ApiError as error:
            wrong_amount = error.error.get("param") == "amount"
            status = UnprocessableEntity if wrong_amount else Conflict
            raise status(error.error["message"]) from error
    state.deliver_due()
    return control.respond(render(changed))
