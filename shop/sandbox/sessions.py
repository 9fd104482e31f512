"""Checkout Sessions: opening, reading and expiring them."""

from typing import Any

from . import objects
from .errors import ApiError, ParameterError, missing
from .events import emit
from .lists import page_size, retriever
from .store import Document, Transaction, new_id
from .validation import at_least, check_amount, check_line, check_session, metadata

SHORTEST, LONGEST = 30 * 60, 24 * 3600
KONBINI_FROM, KONBINI_TO = 120, 300_000
ECHOED = (
    "allow_promotion_codes",
    "billing_address_collection",
    "cancel_url",
    "client_reference_id",
    "customer_email",
    "locale",
    "submit_type",
    "success_url",
)
retrieve = retriever("checkout.session", "session")


def create(tx: Transaction, params: dict[str, Any]) -> Document:
    """Open a session and return it. Amounts are in minor units."""
    check_session(params)
    lines = []
    for n, line in enumerate(params["line_items"]):
        check_line(line, f"line_items[{n}]")
        given = metadata(line.get("metadata"), f"line_items[{n}][metadata]")
        lines.append({**objects.line_item(tx, line), "metadata": given})
    session = objects.new(tx, "checkout.session", new_id("cs_test", 58))
    session |= {name: params.get(name) for name in ECHOED}
    session["customer_creation"] = params.get("customer_creation", "if_required")
    session["metadata"] = metadata(params.get("metadata"), "metadata")
    _price(session, lines, params.get("shipping_options") or [])
    session["payment_method_types"] = _methods(session, params)
    session["_"] = {"lines": lines, "intent": _intent_data(params)}
    session["_"]["konbini_days"] = _konbini_days(params)
    session["expires_at"], ends = _expiry(tx, params.get("expires_at"))
    tx.schedule(ends, "expire", session["id"])
    return tx.put(session)


def line_items(tx: Transaction, params: dict[str, Any], session_id: str) -> Document:
    """Return a page of the session's lines."""
    lines, limit = retrieve(tx, {}, session_id)["_"]["lines"], page_size(params)
    after = [n + 1 for n, line in enumerate(lines) if line["id"] == params.get("starting_after")]
    start = after[0] if after else 0
    url = f"/v1/checkout/sessions/{session_id}/line_items"
    return objects.page(url, lines[start : start + limit], has_more=len(lines) > start + limit)


def expire(tx: Transaction, params: dict[str, Any], session_id: str) -> Document:
    """Expire an open session and return it; raises 400 where it is not open."""
    session = retrieve(tx, {}, session_id)
    if session["status"] != "open":
        text = (
            'Only Checkout Sessions with a status in ["open"] can be expired. This Checkout'
            f" Session has a status of `{session['status']}`."
        )
        raise ApiError(400, text, param="session")
    return expire_now(tx, session)


def expire_now(tx: Transaction, session: Document) -> Document:
    """Close an open session unpaid, tell of it and return it."""
    session["status"] = "expired"
    emit(tx, "checkout.session.expired", session)
    return tx.put(session)


def _price(session: Document, lines: list[Document], shipping: list[dict[str, Any]]) -> None:
    """Write the sums into the session; the first way of shipping is the one chosen."""
    currencies = {line["currency"] for line in lines}
    if len(currencies) > 1:
        raise ParameterError("All line items must have the same currency.", param="line_items")
    fixed = shipping[0].get("shipping_rate_data", {}).get("fixed_amount", {}) if shipping else {}
    if shipping and not fixed:
        raise missing(shipping[0].get("shipping_rate", ""), "shipping rate", "shipping_options")
    subtotal = sum(line["amount_total"] for line in lines)
    extra = fixed.get("amount", 0)
    at_least(0, extra, "shipping_options[0][shipping_rate_data][fixed_amount][amount]")
    session["currency"] = currencies.pop()
    session["amount_subtotal"], session["amount_total"] = subtotal, subtotal + extra
    session["total_details"] = {"amount_discount": 0, "amount_shipping": extra, "amount_tax": 0}
    if fixed:
        rate = new_id("shr")
        session["shipping_cost"] = {"amount_subtotal": extra, "amount_tax": 0}
        session["shipping_cost"] |= {"amount_total": extra, "shipping_rate": rate}
        session["shipping_options"] = [{"shipping_amount": extra, "shipping_rate": rate}]
    check_amount(session["amount_total"], session["currency"], "line_items")


def _methods(session: Document, params: dict[str, Any]) -> list[str]:
    allowed = params.get("allowed_payment_method_types") or ["card", "konbini"]
    excluded = params.get("excluded_payment_method_types") or []
    yen = session["currency"] == "jpy"
    possible = ["card"]
    if yen and KONBINI_FROM <= session["amount_total"] <= KONBINI_TO:
        possible.append("konbini")
    types = [name for name in possible if name in allowed and name not in excluded]
    if not types:
        text = "No payment method is left that fits this session's amount and currency."
        raise ParameterError(text, param="allowed_payment_method_types")
    return types


def _konbini_days(params: dict[str, Any]) -> int:
    konbini = params.get("payment_method_options", {}).get("konbini", {})
    days: int = konbini.get("expires_after_days", 3)
    if not 1 <= days <= 60:
        param = "payment_method_options[konbini][expires_after_days]"
        raise ParameterError("This value must be between 1 and 60.", param=param)
    return days


def _intent_data(params: dict[str, Any]) -> Document:
    data = params.get("payment_intent_data", {})
    given = metadata(data.get("metadata"), "payment_intent_data[metadata]")
    kept = {name: data[name] for name in ("description", "receipt_email") if name in data}
    return {**kept, "metadata": given}


def _expiry(tx: Transaction, wanted: int | None) -> tuple[int, int]:
    """Return what the session says, and when it ends on the sandbox's clock.

    A client whose own clock was not moved along with the sandbox's keeps its span.
    """
    if wanted is None:
        return tx.now + LONGEST, tx.now + LONGEST
    for start in (tx.now, tx.real_now):
        if SHORTEST - 5 <= wanted - start <= LONGEST + 5:
            return wanted, wanted - start + tx.now
    far = wanted - tx.now > LONGEST
    bound = "less than 24 hours" if far else "at least 30 minutes"
    text = f"The `expires_at` timestamp must be {bound} from Checkout Session creation."
    raise ParameterError(text, param="expires_at")
