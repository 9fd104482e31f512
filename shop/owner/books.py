"""Whether this shop's books agree with Stripe's, and the sums for the accountant."""

from flask import Response, flash, jsonify, redirect, render_template, stream_with_context, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l

from shop.errors import wants_json
from shop.i18n import format_minor
from shop.orders import export, queries, takings
from shop.orders.models import Order
from shop.owner import bp
from shop.payments import disputes
from shop.payments.models import recall
from shop.payments.reconcile import reconcile
from shop.payments.report import Mismatch, Report

# The page answers within the time that a host gives a request.
SECONDS = 10
MEANINGS = {
    "state": _l("Stripe says %(stripe)s, this shop says %(ours)s. Ask Stripe again about it."),
    "amount": _l(
        "The payment is %(ours)s here and %(stripe)s at Stripe. Compare both before you send "
        "anything."
    ),
    "refund": _l("%(ours)s went back according to this shop, %(stripe)s according to Stripe."),
    "dispute": _l(
        "Stripe says that the cardholder’s bank disputes the payment, but shows no such dispute."
    ),
    "unknown_at_stripe": _l(
        "This shop has a payment that Stripe does not know. It may be of another Stripe account, "
        "or test data that was deleted there."
    ),
    "missing_here": _l(
        "Stripe has a payment that is not here: %(stripe)s (%(ours)s). It may have come after the "
        "backup that was restored. Look at it at Stripe: send the goods, or refund it there."
    ),
}


@bp.get("/books")
def books() -> ResponseReturnValue:
    """Show what agreed and what differed when both books were compared last."""
    report = Report.last()
    if wants_json():
        checked_at = recall("compared").isoformat() if report else None
        agreed = report.agreed if report else 0
        found = report.to_dict()["mismatches"] if report else []
        return jsonify({"checked_at": checked_at, "agreed": agreed, "mismatches": found})
    rows = [_told(row) for row in report.mismatches] if report else []
    return render_template("owner/books.html", report=report, rows=rows, at=recall("compared"))


@bp.post("/books")
def compare_books() -> ResponseReturnValue:
    """Compare with Stripe now, and put right what its messages should have told."""
    report = reconcile(dry_run=False, seconds=SECONDS, compares=True)
    if report.settled:
        flash(_("Orders put right: %(num)d", num=report.settled))
    if not report.is_compared:
        flash(
            _("Stripe did not answer all in time; what is compared below is from before. Try again "
              "in a minute, or run “flask shop reconcile” on the shop’s server.")
        )  # fmt: skip
    return redirect(url_for("owner.books"), 303)


@bp.get("/books/months.csv")
def months_csv() -> Response:
    """Return what came in and went back by month and rate of tax; the sums are the ledger's."""
    rows = export.months(takings.by_month(lambda ids: disputes.losses(order_ids=ids)))
    response = Response(stream_with_context(rows), mimetype="text/csv")
    response.headers["Content-Disposition"] = "attachment; filename=months.csv"
    return response


def _told(row: Mismatch) -> tuple[Order | None, str, str]:
    """Return a mismatch's order, what it means, and Stripe's id of what is missing here."""
    if not row.order:
        return None, str(MEANINGS[row.kind] % {"ours": row.ours, "stripe": row.stripe}), row.stripe
    order = queries.get_order(row.order)
    payments = [entry for entry in order.ledger if entry.kind == "payment"]
    said = {"ours": row.ours, "stripe": row.stripe}
    if row.kind in ("amount", "refund") and payments:
        said = {name: format_minor(int(n), payments[0].currency) for name, n in said.items()}
    stripe_id = row.stripe if row.kind == "missing_here" else ""
    return (
        order,
        str(MEANINGS[row.kind] % said),
        stripe_id or str(payments[0].stripe_id if payments else ""),
    )
