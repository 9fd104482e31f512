"""What Stripe says of money that goes back, asked for here or in its dashboard: known once.

https://docs.stripe.com/refunds
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from time import sleep
from typing import Any

from flask import current_app
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from sqlalchemy import func, select, update

from shop import mail
from shop.db import changed_rows, db, end_read, insert_once, now, write
from shop.errors import ShopError
from shop.money import Money
from shop.orders import ledger, queries, states
from shop.orders.models import REFUND_COUNTS, LedgerEntry, Order
from shop.payments import attempts, gateway, models
from shop.payments.gateway.objects import Event, Refund

# How Stripe's ids of charges begin; https://docs.stripe.com/api/charges
CHARGES = ("ch_", "py_")
# A refund's state only ever goes on: what was asked at Stripe earlier may be heard of later.
BEFORE = {
    "pending": ("asked", "refused"),
    "succeeded": ("asked", "refused", "pending"),
    "failed": ("asked", "refused", "pending", "succeeded"),
    "canceled": ("asked", "refused", "pending", "succeeded"),
}


def sync(payment_id: int, event: Event | None = None) -> None:
    """Write down what Stripe says of a payment's refunds; raises StripeUnreachable."""
    payment = db.session.get_one(LedgerEntry, payment_id)
    order_id, of = payment.order_id, named(payment)
    end_read()
    try:
        found = gateway.list_refunds(of)
    except gateway.StripeRefused as error:
        found = [_only_known(event, error)]
    mine = [one for one in found if not one.payment or set(of.values()) & set(one.payment)]
    write(lambda: apply(order_id, payment_id, mine, event))


def apply(
    order_id: int, payment_id: int, found: Sequence[Refund], event: Event | None = None
) -> None:
    """Write down, inside write(), what Stripe says: all that follows from it, or nothing."""
    order = queries.hold(order_id)
    if event is not None and not models.take_event(event):
        return
    for one in found:
        _write_down(order, payment_id, one)
    total = ledger.sums(ledger.entries(order_id))
    states.follow_ledger(order, total.paid, total.refunded)


def named(payment: LedgerEntry) -> dict[str, Any]:
    """Return how Stripe is told which payment is meant."""
    is_charge = str(payment.stripe_id).startswith(CHARGES)
    return {"charge" if is_charge else "payment_intent": payment.stripe_id}


def _only_known(event: Event | None, error: gateway.StripeRefused) -> Refund:
    """Return the one refund that an event is about, from a server that keeps no list of them."""
    if event is None or not event.type.startswith("refund."):
        raise gateway.StripeUnreachable from error
    try:
        return gateway.retrieve_refund(event.object_id)
    except gateway.StripeRefused as refused:
        raise gateway.StripeUnreachable from refused


def _write_down(order: Order, payment_id: int, found: Refund) -> None:
    entry = _entry_of(order, payment_id, found)
    was = entry.state
    goes_on = update(LedgerEntry).where(
        LedgerEntry.id == entry.id, LedgerEntry.state.in_(BEFORE[found.state])
    )
    if not changed_rows(goes_on.values(state=found.state, stripe_id=found.id)):
        return
    if found.state in REFUND_COUNTS and was not in REFUND_COUNTS:
        _tell_refunded(order, entry)
    elif found.state not in REFUND_COUNTS:
        states.note(order, "refund_failed", str(entry.amount))
        told = queries.letter(order, refund=entry.amount)
        mail.staff_refund_failed(order.id, told, _position(entry))


def _entry_of(order: Order, payment_id: int, found: Refund) -> LedgerEntry:
    """Return the entry of a refund, made here where it was begun in Stripe's dashboard."""
    mine = select(LedgerEntry).where(LedgerEntry.order_id == order.id, LedgerEntry.kind == "refund")
    entry = db.session.scalar(mine.where(LedgerEntry.stripe_id == found.id))
    if entry is None and found.key:
        unlinked = mine.where(LedgerEntry.stripe_id.is_(None))
        entry = db.session.scalar(unlinked.where(LedgerEntry.key == found.key))
    if entry is None:
        insert_once(
            LedgerEntry,
            order_id=order.id,
            kind="refund",
            stripe_id=found.id,
            amount=found.amount,
            currency=found.currency,
            state="asked",
            told=True,
            payment_id=payment_id,
            created=now(),
        )
        entry = db.session.scalars(mine.where(LedgerEntry.stripe_id == found.id)).one()
    return entry


def _tell_refunded(order: Order, entry: LedgerEntry) -> None:
    states.note(order, "refunded", str(entry.amount))
    if order.email:
        told = queries.letter(order, refund=entry.amount)
        mail.customer_refunded(order.id, order.email, order.language, told, _position(entry))


def _position(entry: LedgerEntry) -> int:
    """Return whether this is the order's first refund, its second, …"""
    mine = select(func.count()).where(LedgerEntry.order_id == entry.order_id)
    earlier = mine.where(LedgerEntry.kind == "refund", LedgerEntry.id <= entry.id)
    return db.session.scalar(earlier) or 1


# As long as the other waits for Stripe's answer, and a little for the database.
MOST_LOOKS = 60
SECONDS_BETWEEN_LOOKS = 0.2


class NotRefundable(ShopError):
    """There is no money of this order that could go back."""

    status = 409
    code = "not_refundable"


class BadRefund(ShopError):
    """The amount is none, or more than is left."""

    status = 422
    code = "bad_refund"
    message = _l("From 1 up to %(amount)s can be refunded. No money has moved.")


def refund(number: int, amount: int | None = None) -> list[Money]:
    """Give back `amount` (minor units; None: all that is left) and return what goes back.

    Where an earlier refund of the order has not been answered, that one is carried out and no
    other: it may be the same wish. So may one of this amount whose outcome nobody was told.
    Raises OrderMissing, NotRefundable, BadRefund, StripeUnreachable.
    """
    order_id = queries.find_by_number(number).id
    done: list[Money] = []
    for entry_id in _asked_of(order_id):
        _carry_out(entry_id, done)
    done = done or write(partial(_learned_meanwhile, order_id, amount))
    if done and (amount is not None or not left_of(order_id)):
        return done
    for entry_id in write(partial(_reserve, order_id, amount)):
        _carry_out(entry_id, done)
    return done


def left_of(order_id: int) -> int:
    """Return how much of an order's money can still be given back, in minor units."""
    left = ledger.sums(ledger.entries(order_id)).left
    end_read()
    return left


def resume(order_id: int) -> None:
    """Carry out the refunds of an order that Stripe has not answered; raises what refund() does.

    Who asked for them does not hear of it: when they ask again, it is not for more.
    """
    done: list[Money] = []
    for entry_id in _asked_of(order_id):
        _carry_out(entry_id, done, tell=False)


def _asked_of(order_id: int) -> list[int]:
    mine = select(LedgerEntry.id).where(LedgerEntry.order_id == order_id)
    asked = mine.where(LedgerEntry.kind == "refund", LedgerEntry.state == "asked")
    found = list(db.session.scalars(asked.order_by(LedgerEntry.id)))
    end_read()
    return found


def _learned_meanwhile(order_id: int, amount: int | None) -> list[Money]:
    """Return the refund that was asked for in vain, as it seemed, and that an event told of."""
    order = queries.hold(order_id)
    untold = [
        entry
        for entry in ledger.entries(order_id)
        if entry.is_refund and not entry.told and now() - entry.created < attempts.KEY_LIFETIME
    ]
    if amount not in (None, sum(entry.amount for entry in untold)):
        return []
    for entry in untold:
        entry.told = True
    return [Money(entry.amount, order.currency) for entry in untold]


def _reserve(order_id: int, amount: int | None) -> list[int]:
    """Write down what is to be given back, before Stripe hears of it; never more than was paid.

    Where another click has just done so, its entries are returned: it may be the same wish.
    """
    order = queries.hold(order_id)
    entries = ledger.entries(order_id)
    waiting = [entry.id for entry in entries if entry.is_asked]
    if waiting:
        return waiting
    left = ledger.sums(entries).left
    if order.state not in (*states.SETTLED, "needs_review") or left < 1:
        raise NotRefundable(_("There is nothing left to refund. No money has moved."))
    wanted = left if amount is None else amount
    if not 1 <= wanted <= left:
        most = Money(left, order.currency).format(current_app.config["SHOP_LOCALE"])
        raise BadRefund(amount=most)
    asked: list[LedgerEntry] = []
    for payment, rest in ledger.refundable(entries):
        part = min(rest, wanted - sum(entry.amount for entry in asked))
        if part > 0:
            asked.append(_new_entry(order, payment, part, len(entries) + len(asked)))
    db.session.add_all(asked)
    db.session.flush()
    return [entry.id for entry in asked]


def _new_entry(order: Order, payment: LedgerEntry, amount: int, number: int) -> LedgerEntry:
    return LedgerEntry(
        order_id=order.id,
        kind="refund",
        amount=amount,
        currency=payment.currency,
        state="asked",
        key=f"refund-{order.uid}-{number}",
        told=False,
        payment_id=payment.id,
    )


@dataclass(frozen=True)
class _Call:
    """What Stripe is asked for; read before it is asked, for no transaction may be open then."""

    order_id: int
    payment_id: int
    key: str
    params: dict[str, Any]
    amount: Money
    is_safe: bool


def _call_of(entry_id: int) -> _Call:
    entry = db.session.get_one(LedgerEntry, entry_id)
    order = db.session.get_one(Order, entry.order_id)
    payment = db.session.get_one(LedgerEntry, entry.payment_id)
    metadata = {"order": order.uid, "refund": entry.key}
    params = named(payment) | {"amount": entry.amount, "metadata": metadata}
    is_safe = now() - entry.created < attempts.KEY_LIFETIME
    amount = Money(entry.amount, order.currency)
    return _Call(order.id, payment.id, entry.key or "", params, amount, is_safe)


def _carry_out(entry_id: int, done: list[Money], *, tell: bool = True) -> None:
    """Ask Stripe for a refund: under one key it gives back once, however often it is asked.

    What goes back is added to what is `done`.
    """
    call = _call_of(entry_id)
    end_read()
    if not call.is_safe:
        _look_for(entry_id, call)
        done.append(call.amount)
        return
    try:
        found = gateway.create_refund(call.params, call.key)
    except gateway.StripeRefused as error:
        if not error.is_about_request:
            raise _unknown() from error
        write(partial(_refuse, entry_id))
        raise NotRefundable(_refused_in_words(str(error) or error.code, done)) from error
    except gateway.KeyInUse as error:
        if not _is_done_by_other(entry_id):
            raise _unknown() from error
        done.append(call.amount)
        return
    except gateway.StripeUnreachable as error:
        raise _unknown() from error
    write(lambda: _keep(entry_id, call, found, tell))
    done.append(call.amount)


def _is_done_by_other(entry_id: int) -> bool:
    """Wait for whoever is just carrying the same refund out; return whether it went through.

    Only so does everybody hear of it: who is left in doubt asks again, and that would be another.
    """
    for _look in range(MOST_LOOKS):
        sleep(SECONDS_BETWEEN_LOOKS)
        entry = db.session.get_one(LedgerEntry, entry_id)
        is_done, is_asked = entry.is_refund, entry.is_asked
        end_read()
        if not is_asked:
            return is_done
    return False


def _refused_in_words(reason: str, done: list[Money]) -> str:
    if not done:
        return str(_("Stripe refused the refund: %(reason)s No money has moved.", reason=reason))
    amounts = " + ".join(money.format(current_app.config["SHOP_LOCALE"]) for money in done)
    return str(
        _(
            "%(amount)s goes back to the customer. Stripe refused to refund more: %(reason)s",
            amount=amounts,
            reason=reason,
        )
    )


def _keep(entry_id: int, call: _Call, found: Refund, tell: bool) -> None:
    apply(call.order_id, call.payment_id, [found])
    if tell:
        changed_rows(update(LedgerEntry).where(LedgerEntry.id == entry_id).values(told=True))


def _look_for(entry_id: int, call: _Call) -> None:
    """Learn what became of a refund that was asked for so long ago that its key is forgotten."""
    sync(call.payment_id)
    if write(partial(_refuse, entry_id)):
        raise NotRefundable(
            _("The refund of a day ago never reached Stripe. No money has moved; ask for it again.")
        )


def _refuse(entry_id: int) -> bool:
    mine = update(LedgerEntry).where(LedgerEntry.id == entry_id, LedgerEntry.state == "asked")
    return changed_rows(mine.values(state="refused")) == 1


def _unknown() -> gateway.StripeUnreachable:
    return gateway.StripeUnreachable(
        _(
            "Stripe did not say whether the refund went through. Nothing is refunded twice: ask "
            "for the same again in a minute."
        )
    )
