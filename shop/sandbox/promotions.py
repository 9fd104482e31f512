"""Promotion codes: two that always exist, for sessions with `allow_promotion_codes`."""

from .money import minimum_amount
from .sessions import is_offered
from .store import Document

# By code: the percentage, and the amount (minor units), that it takes off the lines.
CODES = {"TAKE10": (10, 0), "LESS500": (0, 500)}


def apply_code(session: Document, code: str) -> str | None:
    """Take the code off the session's amounts in place of a former one; "" takes nothing off.

    Returns None, or the name of the text that says why the code cannot be used.
    """
    code = code.upper()
    if code and code not in CODES:
        return "bad_code"
    percent, amount = CODES.get(code, (0, 0))
    subtotal, currency = session["amount_subtotal"], session["currency"]
    discount = min(subtotal, subtotal * percent // 100 + amount)
    total = subtotal - discount + session["total_details"]["amount_shipping"]
    methods = [name for name in session["_"]["methods"] if is_offered(name, total, currency)]
    if total < minimum_amount(currency) or not methods:
        return "code_too_large"
    session |= {"amount_total": total, "payment_method_types": methods}
    session["total_details"]["amount_discount"] = discount
    discounts = [{"coupon": None, "promotion_code": f"promo_{code}"}]
    session["discounts"] = discounts if code else None
    session["_"]["code"] = code
    # Each line bears its part of the discount, and the last one what rounding leaves.
    for line in session["_"]["lines"]:
        amount = line["amount_subtotal"]
        part = discount * amount // subtotal if subtotal else 0
        line |= {"amount_discount": part, "amount_total": amount - part}
        discount, subtotal = discount - part, subtotal - amount
    return None
