"""Checkout Sessions: create, retrieve, expire, line items."""

from typing import Any

from . import objects
from .custom_fields import make_fields
from .errors import ApiError, ParameterError, missing_object
from .events import emit
from .lists import page_size, retriever
from .store import Document, Transaction, new_id
from .validation import check_amount, check_line, check_metadata, check_minimum, check_session

SHORTEST, LONGEST = 30 * 60, 24 * 3600
# Beside cards, each for these amounts of yen.
YEN_METHODS = {"konbini": range(120, 300_000 + 1), "paypay": range(50, 1_000_000 + 1)}
COPIED = (
    "allow_promotion_codes", "billing_address_collection", "cancel_url", "client_reference_id",
    "customer_email", "locale", "shipping_address_collection", "submit_type", "success_url",
)  # fmt: skip
COPIED_TO_INTENT = ("description", "receipt_email", "statement_descriptor_suffix")
retrieve = retriever("checkout.session", "session")


def create(tx: Transaction, params: dict[str, Any]) -> Document:
    """Create an open session and return it; all amounts are in minor units."""
    check_session(params)
    lines = []
    for n, line in enumerate(params["line_items"]):
        check_line(line, f"line_items[{n}]")
        given = check_metadata(line.get("metadata"), f"line_items[{n}][metadata]")
        lines.append({**objects.line_item(tx, line), "metadata": given})
    session = objects.new(tx, "checkout.session", new_id("cs_test", 58))
    session |= {name: params.get(name) for name in COPIED}
    session["customer_creation"] = params.get("customer_creation", "if_required")
    session["metadata"] = check_metadata(params.get("metadata"), "metadata")
    session["phone_number_collection"] |= params.get("phone_number_collection", {})
    own_texts = params.get("custom_text", {})
    session["custom_text"] |= {place: own_texts[place] or None for place in own_texts}
    session["custom_fields"] = make_fields(params.get("custom_fields", []))
    branding = {name: it for name, it in params.get("branding_settings", {}).items() if it}
    session["branding_settings"] |= branding
    _set_amounts(session, lines, params.get("shipping_options") or [])
    session["payment_method_types"] = methods = _methods(session, params)
    data = params.get("payment_intent_data", {})
    intent = {name: data[name] for name in COPIED_TO_INTENT if name in data}
    intent["metadata"] = check_metadata(data.get("metadata"), "payment_intent_data[metadata]")
    konbini = params.get("payment_method_options", {}).get("konbini", {})
    days = konbini.get("expires_after_days", 3)
    if not 1 <= days <= 60:
        param = "payment_method_options[konbini][expires_after_days]"
        raise ParameterError("This value must be between 1 and 60.", param=param)
    session["_"] |= {"lines": lines, "intent": intent, "branding": branding, "methods": methods}
    session["_"]["konbini_days"] = days
    session["expires_at"], expires_at = _expiry(tx, params.get("expires_at"))
    tx.schedule(expires_at, "expire", session["id"])
    return tx.put(session)


def line_items(tx: Transaction, params: dict[str, Any], session_id: str) -> Document:
    """Return a page of the session's line items."""
    lines, limit = retrieve(tx, {}, session_id)["_"]["lines"], page_size(params)
    ids, cursor = [line["id"] for line in lines], params.get("starting_after")
    if cursor is not None and cursor not in ids:
        raise missing_object(cursor, "item", "starting_after")
    start = ids.index(cursor) + 1 if cursor else 0
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
    """Expire an open session, emit its event and return it."""
    session["status"] = "expired"
    emit(tx, "checkout.session.expired", session)
    return tx.put(session)


def _set_amounts(session: Document, lines: list[Document], shipping: list[dict[str, Any]]) -> None:
    """Write the totals into the session, with the first shipping option as the chosen one."""
    if len(shipping) > 1:
        text = "The sandbox does not act upon several shipping options yet."
        raise ParameterError(text, param="shipping_options[1]")
    option = shipping[0] if shipping else {}
    rate_data = option.get("shipping_rate_data", {})
    fixed = rate_data.get("fixed_amount", {})
    if shipping and not fixed:
        rate = option.get("shipping_rate", "")
        raise missing_object(rate, "shipping rate", "shipping_options")
    currencies = {one["currency"].lower() for one in (*lines, fixed) if one}
    if len(currencies) > 1:
        text = "All line items and the shipping option must have the same currency."
        raise ParameterError(text, param="line_items")
    subtotal = sum(line["amount_total"] for line in lines)
    extra = fixed.get("amount", 0)
    session["_"] = {"delivery": rate_data.get("display_name")}
    check_minimum(extra, 0, "shipping_options[0][shipping_rate_data][fixed_amount][amount]")
    session["currency"] = currencies.pop()
    session["amount_subtotal"], session["amount_total"] = subtotal, subtotal + extra
    session["total_details"] = {"amount_discount": 0, "amount_shipping": extra, "amount_tax": 0}
    if fixed:
        rate = new_id("shr")
        session["shipping_cost"] = {"amount_subtotal": extra, "amount_tax": 0}
        session["shipping_cost"] |= {"amount_total": extra, "shipping_rate": rate}
        session["shipping_options"] = [{"shipping_amount": extra, "shipping_rate": rate}]
    check_amount(session["amount_total"], session["currency"], "line_items")


def is_offered(method: str, amount: int, currency: str) -> bool:
    """Return whether the payment method takes that amount (minor units)."""
    return method == "card" or (currency == "jpy" and amount in YEN_METHODS[method])


def _methods(session: Document, params: dict[str, Any]) -> list[str]:
    """Return the payment methods that the parameters, the currency and the amount allow."""
    amount, currency = session["amount_total"], session["currency"]
    types = [name for name in ("card", *YEN_METHODS) if is_offered(name, amount, currency)]
    allowed = params.get("allowed_payment_method_types") or types
    excluded = params.get("excluded_payment_method_types") or []
    types = [name for name in types if name in allowed and name not in excluded]
    if not types:
        text = "No payment method is left that fits this session's amount and currency."
        raise ParameterError(text, param="allowed_payment_method_types")
    return types


def _expiry(tx: Transaction, wanted: int | None) -> tuple[int, int]:
    """Return the `expires_at` to show, and the one on the sandbox's clock.

    They differ after `control/clock` moved the sandbox ahead of the client, which still counts
    from real time: its session then stays open for as long as the client meant.
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
