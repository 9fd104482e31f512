"""Money that goes back: asked for here (written down first, then carried out at Stripe, once), or
in Stripe's dashboard.

https://docs.stripe.com/refunds
"""

import re
import secrets
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial

from flask import current_app
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from sqlalchemy import select, update

from shop import mail
from shop.db import changed_rows, db, end_read, insert_once, now, write
from shop.errors import ShopError
from shop.i18n import format_moment
from shop.money import Money
from shop.orders import ledger, queries, states
from shop.orders.models import REFUND_COUNTS, LedgerEntry, Order
from shop.payments import attempts, gateway
from shop.payments.gateway.objects import Event, Refund
from shop.payments.models import take_event

KEY = re.compile(r"[A-Za-z0-9_-]{1,64}")
# A command that is given twice within a day is more often a mistake than a second wish.
REPEATED_WITHIN = timedelta(hours=24)
# A refund's state only ever goes on: what was asked at Stripe earlier may be heard of later.
BEFORE = {
    "pending": ("asked", "refused"),
    "succeeded": ("asked", "refused", "pending"),
    "failed": ("asked", "refused", "pending", "succeeded"),
    "canceled": ("asked", "refused", "pending", "succeeded"),
}


class NotRefundable(ShopError):
    """There is no money of this order that could go back."""

    status = 409
    code = "not_refundable"


class BadRefund(ShopError):
    """The amount is none, or more than is left."""

    status = 422
    code = "bad_refund"
    message = _l("From 1 up to %(amount)s can be refunded. No money has moved.")


class BadKey(ShopError):
    """A refund's key has other characters, or too many."""

    status = 422
    code = "bad_key"
    message = _l("A refund's key has up to 64 letters, digits, - and _. No money has moved.")


class Repeated(ShopError):
    """The same amount of the order went back a short time ago."""

    status = 409
    code = "repeated_refund"
    message = _l(
        "%(amount)s of this order went back already, on %(when)s. Nothing more was refunded. If "
        "the same is to go back once more, say so with a key of its own."
    )


class RefundUnknown(gateway.StripeUnreachable):
    """Nobody knows yet whether a refund went through."""

    message = _l(
        "Stripe did not say whether the refund went through. Nothing is refunded twice: ask for "
        "the same again in a minute."
    )


def new_key() -> str:
    """Return a key for one form, or one question of the command line: one form, one refund."""
    return secrets.token_hex(8)


def refund(number: int, amount: int | None = None, key: str | None = None) -> list[Money]:
    """Give back `amount` (minor units; None: all that is left) and return what goes back.

    The same `key` again is the same refund. Without one, the amount must not have gone back within
    24 hours. While an earlier refund of the order is unanswered, that one is carried out and no
    other. Raises OrderMissing, NotRefundable, BadRefund, Repeated, StripeUnreachable.
    """
    order_id = queries.find_by_number(number).id
    entry_ids = write(partial(_reserve, order_id, amount, key))
    done: list[Money] = []
    for position, entry_id in enumerate(entry_ids):
        try:
            _carry_out(entry_id, done)
        except NotRefundable:
            # What was to go back of the other payments is not asked for behind the owner's back.
            for rest in entry_ids[position + 1 :]:
                write(partial(_refuse, rest))
            raise
    return done


def resume(order_id: int) -> None:
    """Carry out the refunds of an order that Stripe has not answered; raises what refund() does."""
    done: list[Money] = []
    entry_ids = [entry.id for entry in ledger.entries(order_id) if entry.is_asked]
    end_read()
    for entry_id in entry_ids:
        _carry_out(entry_id, done)


def _reserve(order_id: int, amount: int | None, key: str | None) -> list[int]:
    """Return the ledger's rows of a refund, written before Stripe hears of it, inside write().

    Those that are unanswered come first, and those of the same key are the same refund.
    """
    if key is not None and not KEY.fullmatch(key):
        raise BadKey
    order = queries.lock(order_id)
    entries = ledger.entries(order_id)
    unanswered = [entry.id for entry in entries if entry.is_asked]
    if unanswered:
        return unanswered
    prefix = f"refund-{order.client_reference}-{key or new_key()}-"
    same = [entry.id for entry in entries if entry.key and entry.key.startswith(prefix)]
    if same:
        return same
    left = ledger.sums(entries).left_amount
    if order.state not in (*states.SETTLED, "needs_review") or left < 1:
        raise NotRefundable(_("There is nothing left to refund. No money has moved."))
    wanted = left if amount is None else amount
    if not 1 <= wanted <= left:
        raise BadRefund(amount=_say(Money(left, entries[0].currency)))
    if key is None:
        _refuse_repeated(entries, wanted)
    asked: list[LedgerEntry] = []
    for payment, rest in ledger.refundable(entries):
        part = min(rest, wanted - sum(entry.amount for entry in asked))
        if part > 0:
            asked.append(
                LedgerEntry(
                    order_id=order.id,
                    kind="refund",
                    amount=part,
                    currency=payment.currency,
                    state="asked",
                    key=f"{prefix}{len(asked)}",
                    payment_id=payment.id,
                )
            )
    db.session.add_all(asked)
    db.session.flush()
    return [entry.id for entry in asked]


def _refuse_repeated(entries: Sequence[LedgerEntry], amount: int) -> None:
    """Raise Repeated if the amount went back within a day, in one part or over several payments."""
    recent = [e for e in entries if e.is_refund and now() - e.created_at < REPEATED_WITHIN]
    wishes: dict[str, int] = {}
    for entry in recent:
        wish = (entry.key or "").rpartition("-")[0] or str(entry.stripe_id)
        wishes[wish] = wishes.get(wish, 0) + entry.amount
        if amount in (entry.amount, wishes[wish]):
            when = format_moment(entry.created_at)
            raise Repeated(amount=_say(Money(amount, entry.currency)), when=when)


def _carry_out(entry_id: int, done: list[Money]) -> None:
    """Ask Stripe for a refund: under one key it gives back once, however often it is asked.

    What goes back is added to what is `done`.
    """
    entry = db.session.get_one(LedgerEntry, entry_id, populate_existing=True)
    order = db.session.get_one(Order, entry.order_id)
    payment = db.session.get_one(LedgerEntry, entry.payment_id)
    order_id, payment_id, key = order.id, payment.id, entry.key or ""
    metadata = {"order": order.client_reference, "refund": key}
    params = gateway.naming(str(payment.stripe_id)) | {"amount": entry.amount, "metadata": metadata}
    is_forgotten = now() - entry.created_at > attempts.KEY_LIFETIME
    is_asked = entry.is_asked
    end_read()
    if is_asked and is_forgotten:
        # Stripe may have forgotten the key, so only its list tells whether the refund was made.
        if sync(payment_id):
            raise RefundUnknown
        if write(partial(_refuse, entry_id)):
            raise NotRefundable(
                _(
                    "The refund of a day ago never reached Stripe. No money has moved; ask for it "
                    "again."
                )
            )
    elif is_asked:
        try:
            found = gateway.create_refund(params, key)
        except gateway.StripeRefused as error:
            if not error.is_about_request:
                raise RefundUnknown from error
            write(partial(_refuse, entry_id))
            raise NotRefundable(_refused_in_words(str(error) or error.code, done)) from error
        except gateway.StripeUnreachable as error:
            raise RefundUnknown from error
        # What answers the key is this refund, whether or not its labels come back with it.
        write(partial(apply, order_id, payment_id, [replace(found, key=key)]))
    entry = db.session.get_one(LedgerEntry, entry_id, populate_existing=True)
    money, state, goes_back = entry.money, entry.state, entry.is_refund
    end_read()
    if not goes_back:
        raise NotRefundable(_refused_in_words(state, done))
    done.append(money)


def _refuse(entry_id: int) -> bool:
    mine = update(LedgerEntry).where(LedgerEntry.id == entry_id, LedgerEntry.state == "asked")
    return changed_rows(mine.values(state="refused")) == 1


def _refused_in_words(reason: str, done: list[Money]) -> str:
    if not done:
        return str(_("Stripe refused the refund: %(reason)s No money has moved.", reason=reason))
    amounts = " + ".join(map(_say, done))
    return str(
        _(
            "%(amount)s goes back to the customer. Stripe refused to refund more: %(reason)s",
            amount=amounts,
            reason=reason,
        )
    )


def _say(money: Money) -> str:
    return money.format(current_app.config["SHOP_LOCALE"])


def sync(payment_id: int, event: Event | None = None) -> tuple[str, ...]:
    """Write down what Stripe says of a payment's refunds; return the names of the unreadable.

    Raises StripeUnreachable.
    """
    payment = db.session.get_one(LedgerEntry, payment_id)
    order_id, of = payment.order_id, gateway.naming(str(payment.stripe_id))
    end_read()
    try:
        found = gateway.list_refunds(of)
    except gateway.StripeRefused as error:
        raise gateway.StripeUnreachable from error
    mine = [one for one in found if not one.money_ids or set(of.values()) & set(one.money_ids)]
    write(lambda: apply(order_id, payment_id, mine, event))
    return found.unreadable


def apply(
    order_id: int, payment_id: int, found: Sequence[Refund], event: Event | None = None
) -> None:
    """Write down, inside write(), what Stripe says: all that follows from it, or nothing."""
    order = queries.lock(order_id)
    if event is not None and not take_event(event):
        return
    for one in found:
        entry = _entry_of(order, payment_id, one)
        was = entry.state
        earlier = LedgerEntry.state.in_(BEFORE[one.state])
        goes_on = update(LedgerEntry).where(LedgerEntry.id == entry.id, earlier)
        if not changed_rows(goes_on.values(state=one.state, stripe_id=one.id)):
            continue
        if one.state in REFUND_COUNTS and was not in REFUND_COUNTS:
            said = f"{entry.amount} {entry.currency}"
            states.log_event(order, "refunded", said, by_hand=entry.key is not None)
            mail.customer_refunded(order, entry.amount, entry.currency, one.id)
        elif one.state not in REFUND_COUNTS:
            states.log_event(order, "refund_failed", f"{entry.amount} {entry.currency}")
            mail.staff_refund_failed(order, entry.amount, entry.currency, one.id)
    ledger.update_state(order)


def _entry_of(order: Order, payment_id: int, found: Refund) -> LedgerEntry:
    """Return the ledger's row of a refund, made here if it was begun in Stripe's dashboard."""
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
            currency=found.currency or order.currency,
            state="asked",
            payment_id=payment_id,
            created_at=now(),
        )
        entry = db.session.scalars(mine.where(LedgerEntry.stripe_id == found.id)).one()
    return entry
