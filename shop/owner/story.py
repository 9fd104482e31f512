"""What happened to an order, in the owner's words."""

from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime

from flask_babel import lazy_gettext as _l

from shop.i18n import format_minor
from shop.orders.models import Order, TimelineEntry

WORDS = {
    "ordered": _l("Ordered."),
    "paid": _l("Paid."),
    "awaiting_payment": _l("The customer has done their part; the money is still to come."),
    "cancelled": _l("Given up: it was not paid."),
    "declined": _l("The card was declined (%(detail)s)."),
    "needs_review": _l("Money came that does not fit (%(detail)s)."),
    "paid_twice": _l("Paid a second time (%(detail)s)."),
    "taken_as_paid": _l("You took the money as its payment."),
    "refunded": _l("%(detail)s went back to the customer."),
    "refund_failed": _l("The refund of %(detail)s came back: the customer does not have it."),
    "disputed": _l("The cardholder’s bank disputes it (%(detail)s)."),
    "dispute_won": _l("The dispute is settled for you."),
    "dispute_lost": _l("The dispute is lost."),
    "packed": _l("Packed."),
    "shipped": _l("Sent. %(detail)s"),
    "restocked": _l("The goods are on the shelf again."),
    "note": _l("Note: %(detail)s"),
}
WAYS = {
    "webhook": _l("by Stripe’s message"),
    "visit": _l("on the customer’s visit"),
    "reconcile": _l("by the comparison with Stripe"),
    "office": _l("from the back office"),
    "command": _l("by command"),
}
MAILS = {
    "customer_paid": _l("Thank you for the order"),
    "customer_awaiting": _l("Where to pay"),
    "customer_received": _l("Payment being looked at"),
    "customer_refunded": _l("Refunded, to the customer"),
    "customer_shipped": _l("On its way"),
    "customer_links": _l("Links to orders"),
    "staff_new_order": _l("New order"),
    "staff_needs_review": _l("Decide about money"),
    "staff_paid_twice": _l("Paid twice"),
    "staff_refund_failed": _l("Refund failed"),
    "staff_dispute": _l("Dispute"),
    "staff_dispute_closed": _l("Dispute closed"),
    "staff_test": _l("Test mail"),
}


def told(order: Order) -> Iterator[tuple[datetime, str, str]]:
    """Yield when what happened, and by whom or by which way, in the order it happened."""
    for entry in order.timeline:
        words = WORDS.get(entry.kind, _l("%(kind)s %(detail)s"))
        kind = entry.kind.replace("_", " ")
        yield (
            entry.created_at,
            str(words % {"detail": _detail(entry), "kind": kind}).strip(),
            # It is always the customer who orders.
            entry.who or str("" if entry.kind == "ordered" else WAYS.get(entry.way or "", "")),
        )


def _detail(entry: TimelineEntry) -> str:
    """Return what is special about an entry; amounts as people write them."""
    if entry.kind in ("refunded", "refund_failed"):
        with suppress(ValueError):
            amount, currency = entry.detail.split()
            return format_minor(int(amount), currency)
    return entry.detail
