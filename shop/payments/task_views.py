"""The address for hosts whose cron can only fetch a page: due mail and reconciliation."""

import hmac

from flask import abort, current_app, jsonify, request
from flask.typing import ResponseReturnValue

from shop import outbox
from shop.extensions import csrf
from shop.payments import bp
from shop.payments.reconcile import reconcile

# A host ends a request that takes long; what is left is done by the next call.
MAILS_AT_ONCE = 5
ATTEMPTS_AT_ONCE = 20


@bp.post("/tasks")
@csrf.exempt  # type: ignore[untyped-decorator]
def tasks() -> ResponseReturnValue:
    """Send due mail and put orders right; answer how many `mails` left and `orders` changed."""
    token = current_app.config["SHOP_TASK_TOKEN"]
    if not token:
        abort(404)
    given = request.headers.get("X-Task-Token", "")
    if not hmac.compare_digest(given.encode("utf-8", "replace"), token.encode()):
        abort(403)
    settled = 0
    if current_app.config["SHOP_MODE"] != "off":
        settled = reconcile(dry_run=False, most=ATTEMPTS_AT_ONCE).settled
    return jsonify({"mails": outbox.send_due(MAILS_AT_ONCE), "orders": settled})
