"""A person erased: from orders, mails and the board. The money and the goods stay."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from flask import current_app
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from flask_babel import ngettext
from sqlalchemy import select, update

from shop import throttle
from shop.board import service as board
from shop.db import Base, changed_rows, db, end_read, now, write
from shop.errors import ShopError
from shop.mail import outbox
from shop.mail.outbox import Mail
from shop.orders import queries, states
from shop.orders.models import Order, email_key, new_token
from shop.parsers import ascii_domain
from shop.payments import attempts, gateway, release
from shop.payments.models import Attempt, Dispute

# What is looked for in an owner's own words is no shorter, else it would be found anywhere.
LEAST_WORD = 3
STAYS = _l(
    "Amounts, goods, dates, parcel numbers and Stripe’s ids stay: the accounts need them. Stripe "
    "keeps records of its own: have them redacted there. Backups that were made before still have "
    "the person: erase again after you restore one."
)


class PersonUnknown(ShopError):
    """Nothing is kept of whoever has this address."""

    status = 404
    code = "unknown_person"
    message = _l("Nothing here knows this address: no order, no post and no mail.")


class StillNeeded(ShopError):
    """Orders of the person are not finished."""

    status = 409
    code = "still_needed"
    message = _l(
        "These orders still need their customer: %(orders)s. Nothing was erased. Finish them "
        "first: send them, refund them, or wait for the answer."
    )


class StillPayable(ShopError):
    """An order could still be paid, and Stripe does not end that."""

    status = 503
    code = "still_payable"
    message = _l(
        "Stripe does not say whether order %(number)s can still be paid. Nothing was erased; "
        "please try again in a minute."
    )


@dataclass(frozen=True)
class Person:
    """What is here of a person: numbers of orders, texts of posts, and how many mails."""

    orders: Sequence[int]
    posts: Sequence[str]
    mails: int

    @property
    def words(self) -> str:
        """How much that is: “3 orders, 2 posts, 5 mails”."""
        return ", ".join(
            (
                ngettext("%(num)d order", "%(num)d orders", len(self.orders)),
                ngettext("%(num)d post", "%(num)d posts", len(self.posts)),
                ngettext("%(num)d mail", "%(num)d mails", self.mails),
            )
        )


def find_person(email: str) -> Person:
    """Return what is here of the person with this address; raise PersonUnknown."""
    return _found(_keys(email))[0]


def erase(email: str, record: Callable[[Person], None]) -> Person:
    """Erase the person with this address and return what was erased of them.

    Their open ways to pay are ended first. `record` writes down, in the same transaction, that it
    was done. Raises PersonUnknown, StillNeeded and StillPayable.
    """
    keys = _keys(email)
    orders, mode = _orders(keys), current_app.config["SHOP_MODE"]
    open_ones = [one for one in orders if one.state in states.PAYABLE and one.mode == mode]
    _refuse_needed([one for one in orders if one not in open_ones])
    waiting = [(one.number, one.token) for one in open_ones]
    end_read()
    for number, token in waiting:
        try:
            with suppress(states.AlreadyOrdered):  # it is paid after all, and refused below
                release.replace(token)
        except gateway.StripeUnreachable as error:
            raise StillPayable(number=number) from error

    def unit() -> Person:
        orders = [queries.lock(one.id) for one in _orders(keys)]
        _refuse_needed(orders)
        person, mails = _found(keys)
        visitors = {one.visitor for one in orders}
        addresses = keys | {one.email for one in orders if one.email}
        outbox.erase(mails)
        board.erase(visitors)
        throttle.forget([f"visitor {one}" for one in visitors] + [f"address {key}" for key in keys])
        for entry_id in _audit_of(addresses):
            audit = Base.metadata.tables["audit"]
            changed_rows(update(audit).where(audit.c.id == entry_id).values(subject="–"))
        for order in orders:
            _erase_from(order)
        record(person)
        return person

    return write(unit)


def _keys(email: str) -> set[str]:
    """Return an address as orders may have it: its domain in letters, and as the network has it."""
    import idna

    local, _at, domain = email_key(email).rpartition("@")
    found = {email_key(email)}
    with suppress(ValueError):
        found |= {f"{local}@{ascii_domain(domain)}", f"{local}@{idna.decode(domain)}"}
    return found


def _orders(keys: Iterable[str]) -> Sequence[Order]:
    """Return the orders of a person, of whatever mode, oldest first.

    What the same browser ordered without giving an address may have theirs to be sent to.
    """
    named = Order.email_key.in_(keys)
    browsers = select(Order.visitor).where(named)
    nameless = Order.email_key.is_(None) & Order.erased_at.is_(None) & Order.visitor.in_(browsers)
    return db.session.scalars(select(Order).where(named | nameless).order_by(Order.id)).all()


def _found(keys: set[str]) -> tuple[Person, list[Mail]]:
    """Return what is here of a person, and the mails among it; raise PersonUnknown."""
    orders = _orders(keys)
    addresses = keys | {one.email for one in orders if one.email}
    mails = outbox.of_person([f"order-{one.id}" for one in orders], addresses)
    posts = board.posts_of({one.visitor for one in orders})
    if not orders and not mails and not _audit_of(addresses):
        raise PersonUnknown
    return Person([one.number for one in orders], posts, len(mails)), mails


def _audit_of(addresses: Iterable[str]) -> list[int]:
    """Return the ids of what owners did that has one of these addresses in it."""
    audit = Base.metadata.tables["audit"]
    named = select(audit.c.id, audit.c.subject).where(audit.c.subject.contains("@"))
    lower = {one.lower() for one in addresses}
    found = db.session.execute(named)
    return [entry_id for entry_id, subject in found if lower & set(subject.lower().split())]


def _refuse_needed(orders: Sequence[Order]) -> None:
    """Raise StillNeeded where an order is not finished; trial orders of another mode never are."""
    ids = [one.id for one in orders]
    open_dispute = select(Dispute.order_id).where(Dispute.closed_at.is_(None))
    disputed = set(db.session.scalars(open_dispute.where(Dispute.order_id.in_(ids))))
    needed = []
    for order in orders:
        if order.mode not in (current_app.config["SHOP_MODE"], "live"):
            continue
        if order.state in ("pending", "awaiting_payment"):
            why = _("it waits for its money")
        elif order.state == "needs_review":
            why = _("you decide about its money")
        elif order.id in disputed:
            why = _("the bank disputes it")
        elif any(entry.is_asked for entry in order.ledger):
            why = _("a refund is not answered")
        elif order.state in states.KEPT and order.shipped_at is None:
            why = _("it is paid and not sent")
        else:
            continue
        needed.append(f"{order.number} ({why})")
    if needed:
        raise StillNeeded(orders=", ".join(needed))


def _erase_from(order: Order) -> None:
    """Erase the person from an order, inside write(): the money and the goods stay."""
    if order.state in states.PAYABLE:  # a trial of another mode, at a Stripe that cannot be asked
        attempt = attempts.open_of(order)
        if attempt is not None:
            attempts.close(attempt.id, "expired")
        states.cancel(order, "erased")
    address = order.address
    said = [address.name, address.line1, address.line2, address.phone] if address else []
    said = [order.email_key or "", *said]
    needles = [one.lower() for one in said if len(one) >= LEAST_WORD]

    def tells(text: str | None) -> bool:
        return any(one in (text or "").lower() for one in needles)

    for entry in order.timeline:
        if entry.kind == "note":
            db.session.delete(entry)
        elif "@" in entry.detail or tells(entry.detail):
            entry.detail = ""
    if tells(order.carrier) or tells(order.tracking):
        order.carrier = order.tracking = None
    if address:
        db.session.delete(address)
    order.email = None
    order.visitor, order.cart_id, order.dedup_key = new_token(), None, None
    order.erased_at = now()
    # A slip shows at Stripe whose it is.
    empty = {"params": "{}", "url": None, "slip_codes": None}
    changed_rows(update(Attempt).where(Attempt.order_id == order.id).values(empty))
