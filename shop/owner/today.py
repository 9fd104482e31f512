"""Today: what needs the owner first, and what is to be packed."""

from flask import render_template

from shop import doctor
from shop.catalog import goods, legal
from shop.mail import outbox
from shop.orders import queries
from shop.owner import bp, check
from shop.payments import disputes


@bp.get("/")
def today() -> str:
    """Show what there is to do, the most pressing first."""
    return render_template(
        "owner/today.html",
        missing=legal.missing(),
        review=queries.to_review(),
        disputes=disputes.open_ones(),
        failed=outbox.count_failed(),
        to_pack=queries.to_pack(),
        low=goods.low(),
        odd=len(doctor.to_see_to(check.known())),
    )
