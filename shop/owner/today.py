"""Today: what needs the owner first, and what is to be packed."""

from datetime import timedelta
from typing import Any

from flask import current_app, render_template

from shop import doctor
from shop.catalog import goods, legal
from shop.db import now
from shop.mail import outbox
from shop.orders import queries, takings
from shop.owner import bp, check
from shop.payments import disputes
from shop.payments.models import recall
from shop.payments.report import Report

DAYS = 30
# Of the orders that are to be packed: takings and the rest are to stay in sight on a phone.
SHOWN = 8


@bp.get("/")
def today() -> str:
    """Show what there is to do, the most pressing first."""
    # These end their read, so they come before the rows that the page shows.
    names = {
        "books": Report.last(),
        "books_at": recall("compared"),
        "backup_at": recall("backup"),
        "odd": len(doctor.to_see_to(check.known())),
    }
    return render_template(
        "owner/today.html",
        missing=legal.missing(),
        review=queries.to_review(),
        disputes=disputes.open_ones(),
        failed=outbox.count_failed(),
        to_pack=queries.to_pack(SHOWN + 1),
        shown=SHOWN,
        low=goods.low(),
        chart=chart(),
        **names,
    )


def chart() -> dict[str, Any]:
    """Return the takings of 30 days: day, sums, and the bar in percent of the longest one.

    The bar is below zero for a day on which more went back than came in.
    """
    days = takings.by_day(DAYS, disputes.losses(since=now() - timedelta(days=DAYS + 1)))
    most = max(1, *(abs(sums.kept) for sums in days.values()))
    total = takings.Sums()
    for sums in days.values():
        total.payments += sums.payments
        total.refunds += sums.refunds
        total.losses += sums.losses
    bars = [(day, sums, round(sums.kept * 100 / most, 1)) for day, sums in days.items()]
    return {"bars": bars, "total": total, "currency": current_app.config["SHOP_CURRENCY"]}
