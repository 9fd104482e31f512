"""A made-up order, from which every message can be shown before there is a real one."""

from datetime import timedelta
from typing import Any

from flask import current_app
from flask_babel import gettext as _

from shop.db import now
from shop.security import external_url

# In minor units; a shop in dollars sells the sample for twenty.
PRICE, DELIVERY = 2000, 600


def context() -> dict[str, Any]:
    """Return what the templates of all messages read, in the language of the moment."""
    currency = str(current_app.config["SHOP_CURRENCY"])
    line = {"name": _("T-shirt"), "quantity": 1, "unit_amount": PRICE, "amount": PRICE}
    order = {
        "order": "sample",
        "number": 1234,
        "state": "paid",
        "amount": PRICE + DELIVERY,
        "currency": currency,
        "mode": "test",
        "delivery": {"name": _("Parcel"), "amount": DELIVERY},
        "lines": [line],
        "link": external_url("payments.find_orders"),
        "created": now().isoformat(),
    }
    return order | {
        "orders": [order],
        "email": "aya@example.com",
        "address": ["〒101-0001", "東京都千代田区神田1-2", "佐藤 彩", "03-1234-5678"],
        "sent": True,
        "carrier": "ヤマト運輸",
        "tracking": "1234-5678-9012",
        "awaited_from": "slip",
        "slip": external_url("payments.find_orders"),
        "until": (now() + timedelta(days=3)).isoformat(),
        "codes": [["familymart", "12345", "678901"]],
        "refund": PRICE,
        "disputed": PRICE + DELIVERY,
        "amount_currency": currency,
        "reason": "unrecognized",
        "outcome": "won",
    }
