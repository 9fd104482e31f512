"""Paying a session: by card, after 3-D Secure, by PayPay, or by konbini voucher."""

import dataclasses
import secrets

from . import objects
from .cards import Behaviour, Card
from .data import load
from .events import emit
from .store import Document, Transaction, new_id

# Test cards that dispute or fail later do so after this many seconds on the sandbox's clock.
LATER = 60
# Japan is at UTC+9 and has no summer time.
JAPAN_OFFSET = 9 * 3600
COPIED = ("metadata", "description", "receipt_email", "shipping", "statement_descriptor_suffix")
NOT_AUTHENTICATED = Behaviour("payment_intent_authentication_failure")
PAYPAY_DECLINED = Behaviour("payment_method_provider_decline")
VOUCHER_EXPIRED = Behaviour("payment_intent_payment_attempt_expired")


def decline_message(behaviour: Behaviour) -> str:
    """Return Stripe's own message for a decline."""
    messages: dict[str, str] = load("cards")["messages"]
    return messages.get(behaviour.decline_code or "") or messages[behaviour.code or "card_declined"]


def pay_by_card(tx: Transaction, session: Document, card: Card) -> Behaviour | None:
    """Pay an open session with a card; return the behaviour that declined it, None otherwise.

    Afterwards the session is complete, or open where the bank asks first.
    """
    intent = _prepare_intent(tx, session, "card")
    session["_"]["asked"] = None
    if card.behaviour.authenticate and not card.authenticated:
        session["_"] |= {"asked": "challenge", "card": dataclasses.asdict(card)}
        # The hosted page shows the challenge, so the integration has nothing to do.
        intent["next_action"] = {"type": "use_stripe_sdk", "use_stripe_sdk": {}}
        _intent_needs_action(tx, session, intent)
        return None
    charge = charge_card(tx, _new_charge(tx, session, intent), card)
    if card.behaviour.code:
        _fail_intent(tx, session, intent, card.behaviour, charge["id"])
        return card.behaviour
    _succeed_intent(tx, intent, charge)
    _complete_session(tx, session, "paid")
    return None


def ask_paypay(tx: Transaction, session: Document, paypay_url: str) -> None:
    """Let the customer go on to PayPay; the session stays open until they answer there."""
    intent = _prepare_intent(tx, session, "paypay")
    session["_"]["asked"] = "paypay"
    target = {"url": paypay_url, "return_url": session["success_url"]}
    intent["next_action"] = {"type": "redirect_to_url", "redirect_to_url": target}
    _intent_needs_action(tx, session, intent)


def answer_question(tx: Transaction, session: Document, *, agreed: bool) -> Behaviour | None:
    """Finish 3-D Secure or PayPay; return the behaviour that declined it, None otherwise."""
    asked, session["_"]["asked"] = session["_"]["asked"], None
    if asked == "challenge" and agreed:
        card = Card.from_dict(session["_"]["card"])
        return pay_by_card(tx, session, dataclasses.replace(card, authenticated=True))
    intent = _prepare_intent(tx, session, "card" if asked == "challenge" else asked)
    if not agreed:
        decline = NOT_AUTHENTICATED if asked == "challenge" else PAYPAY_DECLINED
        _fail_intent(tx, session, intent, decline, None)
        return decline
    _charge_intent(tx, session, intent, "paypay", {})
    _complete_session(tx, session, "paid")
    return None


def issue_voucher(tx: Transaction, session: Document, voucher_url: str) -> None:
    """Complete the session unpaid, with a voucher to pay at a convenience store."""
    intent = _prepare_intent(tx, session, "konbini")
    # The voucher can be paid until 23:59:59 of its last day in Japan.
    last_day = (tx.now + JAPAN_OFFSET) // 86400 + session["_"]["konbini_days"]
    expires_at = (last_day + 1) * 86400 - JAPAN_OFFSET - 1
    code = f"{secrets.randbelow(10**11):011}"
    store = {"confirmation_number": "11111111110", "payment_code": code}
    stores = dict.fromkeys(("familymart", "lawson", "ministop", "seicomart"), store)
    details = {"expires_at": expires_at, "hosted_voucher_url": voucher_url, "stores": stores}
    kind = "konbini_display_details"
    intent["next_action"] = {"type": kind, kind: details}
    session["_"]["slip"] = details
    _intent_needs_action(tx, session, intent)
    _complete_session(tx, session, "unpaid")
    # Stripe's test e-mails decide the voucher's fate; with any other it is paid in three minutes.
    soon = tx.now + 180
    action, due = {
        "succeed_immediately": ("pay_voucher", tx.now),
        "expire_immediately": ("expire_voucher", tx.now),
        "expire_with_delay": ("expire_voucher", soon),
        "fill_never": ("expire_voucher", expires_at),
    }.get(session["_"]["customer"]["email"].partition("@")[0].lower(), ("pay_voucher", soon))
    tx.schedule(due, action, session["id"])


def pay_voucher(tx: Transaction, session: Document) -> None:
    """Record that the voucher was paid at the counter."""
    intent = _prepare_intent(tx, session, "konbini")
    _charge_intent(tx, session, intent, "konbini", {"store": {"chain": "lawson"}})
    session["payment_status"] = "paid"
    tx.put(session)
    emit(tx, "checkout.session.async_payment_succeeded", session)


def expire_voucher(tx: Transaction, session: Document) -> None:
    """Record that the voucher was not paid in time; the session stays complete and unpaid."""
    intent = _prepare_intent(tx, session, "konbini")
    session["_"]["slip"]["late"] = True
    _fail_intent(tx, session, intent, VOUCHER_EXPIRED, None)
    emit(tx, "checkout.session.async_payment_failed", session)


def charge_card(tx: Transaction, charge: Document, card: Card) -> Document:
    """Let the bank pay or decline a new charge by card, and return it."""
    charge["payment_method_details"] = objects.card_details(card, charge["amount"])
    charge["_"] = {"later": card.behaviour.later, "reason": card.behaviour.reason}
    if card.behaviour.code:
        blocked = card.behaviour.decline_code == "fraudulent"
        charge |= {"amount_captured": 0, "captured": False, "paid": False, "status": "failed"}
        charge["failure_code"] = card.behaviour.code
        charge["failure_message"] = decline_message(card.behaviour)
        charge["outcome"] |= {
            "network_status": "not_sent_to_network" if blocked else "declined_by_network",
            "reason": card.behaviour.decline_code or card.behaviour.code,
            "seller_message": "The bank did not return any further details with this decline.",
            "type": "blocked" if blocked else "issuer_declined",
        }
    tx.put(charge)
    emit(tx, "charge.failed" if card.behaviour.code else "charge.succeeded", charge)
    if card.behaviour.later in ("dispute", "inquiry"):
        tx.schedule(tx.now + LATER, "dispute", charge["id"])
    return charge


def _charge_intent(
    tx: Transaction, session: Document, intent: Document, method: str, details: Document
) -> None:
    """Charge an intent that was paid by another method than a card."""
    charge = _new_charge(tx, session, intent)
    charge["payment_method_details"] = {"type": method, method: details}
    tx.put(charge)
    emit(tx, "charge.succeeded", charge)
    _succeed_intent(tx, intent, charge)


def _new_charge(tx: Transaction, session: Document, intent: Document) -> Document:
    customer = session["_"]["customer"]
    charge = objects.charge(tx, intent["amount"], intent["currency"], customer)
    return {**charge, "payment_intent": intent["id"], **{name: intent[name] for name in COPIED}}


def _prepare_intent(tx: Transaction, session: Document, method: str) -> Document:
    """Return the session's intent with a new payment method; the first attempt creates it."""
    if session["payment_intent"]:
        intent = tx.get(session["payment_intent"], "payment_intent") or {}
    else:
        intent = {**objects.payment_intent(tx, session), **session["_"]["intent"]}
        session["payment_intent"] = intent["id"]
    customer = session["_"]["customer"]
    if customer["address"]:
        intent["shipping"] = objects.shipping(customer)
    # A promotion code may have changed it since the last attempt.
    intent["amount"] = session["amount_total"]
    intent["payment_method"] = new_id("pm")
    intent["payment_method_options"] = {method: {}}
    return intent


def _intent_needs_action(tx: Transaction, session: Document, intent: Document) -> None:
    intent |= {"status": "requires_action", "last_payment_error": None}
    tx.put(intent)
    tx.put(session)
    emit(tx, "payment_intent.requires_action", intent)


def _fail_intent(
    tx: Transaction, session: Document, intent: Document, why: Behaviour, charge_id: str | None
) -> None:
    error = {
        "type": "card_error" if charge_id else "invalid_request_error",
        "charge": charge_id,
        "code": why.code,
        "decline_code": why.decline_code,
        "message": decline_message(why),
    }
    intent["last_payment_error"] = {name: value for name, value in error.items() if value}
    intent |= {"status": "requires_payment_method", "payment_method": None, "next_action": None}
    intent["latest_charge"] = charge_id or intent["latest_charge"]
    tx.put(intent)
    tx.put(session)
    emit(tx, "payment_intent.payment_failed", intent)


def _succeed_intent(tx: Transaction, intent: Document, charge: Document) -> None:
    intent |= {"status": "succeeded", "next_action": None, "last_payment_error": None}
    intent |= {"amount_received": intent["amount"], "latest_charge": charge["id"]}
    tx.put(intent)
    emit(tx, "payment_intent.succeeded", intent)


def _complete_session(tx: Transaction, session: Document, payment_status: str) -> None:
    session |= {"status": "complete", "payment_status": payment_status}
    customer = session["_"]["customer"]
    session["customer_details"] = objects.shape("customer_details", **customer)
    if customer["address"]:
        delivery = {name: customer[name] for name in ("address", "name")}
        session["collected_information"] = objects.shape("collected", shipping_details=delivery)
    tx.put(session)
    emit(tx, "checkout.session.completed", session)
