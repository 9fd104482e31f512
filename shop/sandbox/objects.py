"""Stripe's objects with every key that Stripe sends; `shapes.json` has the default values.

What only the sandbox needs is stored under the key "_" of an object and never sent.
"""

import copy
from dataclasses import asdict
from typing import Any

from .cards import Card
from .data import load
from .store import Document, Transaction, new_id


def shape(kind: str, **values: Any) -> Document:
    """Return the default values of the kind, with these values instead where they are given."""
    return {**copy.deepcopy(load("shapes")[kind]), **values}


def new(tx: Transaction, kind: str, object_id: str, **values: Any) -> Document:
    """Return a new object of the kind, created now; it is not stored yet."""
    return {"id": object_id, "created": tx.now, **shape(kind, **values)}


def public(value: Any) -> Any:
    """Return a copy without the "_" keys."""
    if isinstance(value, dict):
        return {key: public(item) for key, item in value.items() if key != "_"}
    if isinstance(value, list):
        return [public(item) for item in value]
    return value


def page(url: str, data: list[Document], *, has_more: bool = False) -> Document:
    """Return a list object."""
    return {"object": "list", "data": data, "has_more": has_more, "url": url}


def line_item(tx: Transaction, line: dict[str, Any]) -> Document:
    """Return a line of a session with a price and a product of its own."""
    data, quantity = line["price_data"], line.get("quantity", 1)
    unit, currency, about = data["unit_amount"], data["currency"].lower(), data["product_data"]
    product = new(tx, "product", new_id("prod", 14), name=about["name"], updated=tx.now)
    product |= {"description": about.get("description"), "images": about.get("images", [])}
    product["metadata"] = about.get("metadata") or {}
    price = new(tx, "price", new_id("price"), currency=currency, product=product["id"])
    price |= {"unit_amount": unit, "unit_amount_decimal": str(unit), "_": {"product": product}}
    item = {"id": new_id("li"), **shape("item", currency=currency, description=about["name"])}
    amount = unit * quantity
    item |= {"amount_subtotal": amount, "amount_total": amount, "quantity": quantity}
    return {**item, "price": price}


def payment_intent(tx: Transaction, session: Document) -> Document:
    """Return a payment intent for the session's amount, without a payment method."""
    intent_id = new_id("pi")
    intent = new(tx, "payment_intent", intent_id, client_secret=new_id(f"{intent_id}_secret"))
    intent |= {"amount": session["amount_total"], "currency": session["currency"]}
    return {**intent, "payment_method_types": session["payment_method_types"]}


def shipping(given: Document) -> Document:
    """Return `shipping` of a charge or payment intent, with None for what is not given."""
    made = shape("shipping", **{name: given[name] for name in shape("shipping") if name in given})
    return {**made, "address": shape("address", **given["address"])}


def charge(tx: Transaction, amount: int, currency: str, customer: Document) -> Document:
    """Return a succeeded charge (minor units); the caller adds `payment_method_details`."""
    made = new(tx, "charge", new_id("ch"), amount=amount, amount_captured=amount)
    made |= {"currency": currency, "payment_method": new_id("pm"), "_": {}}
    made["billing_details"] |= {name: value for name, value in customer.items() if value}
    return made


def card_details(card: Card, amount: int) -> Document:
    """Return `payment_method_details` of a charge; `amount` in minor units."""
    details = shape(
        "card_details", **_card_fields(card), amount_authorized=amount, network=card.brand
    )
    details["overcapture"] = {"maximum_amount_capturable": amount, "status": "unavailable"}
    if card.authenticated:
        details["three_d_secure"] = shape("three_d_secure")
    return {"type": "card", "card": {**details, "brand": card.brand}}


def card_source(card: Card) -> Document:
    """Return the card object inside a token or a legacy charge."""
    return {"id": new_id("card"), **shape("card", **_card_fields(card), brand=card.brand.title())}


def _card_fields(card: Card) -> Document:
    return {
        "exp_month": card.exp_month,
        "exp_year": card.exp_year,
        "fingerprint": f"Sandbox{card.brand[:4].title()}{card.last4}",
        "last4": card.last4,
    }


def refund(tx: Transaction, charge: Document, amount: int) -> Document:
    """Return a succeeded refund (minor units)."""
    made = new(tx, "refund", new_id("re"), amount=amount, charge=charge["id"])
    made |= {"currency": charge["currency"], "payment_intent": charge["payment_intent"]}
    method = charge["payment_method_details"]["type"]
    if method == "konbini":
        transfer = {"reference": None, "reference_status": "pending"}
        made["destination_details"] = {"jp_bank_transfer": transfer, "type": "jp_bank_transfer"}
    elif method == "paypay":
        made["destination_details"] = None
    return made


def dispute(tx: Transaction, charge: Document, reason: str) -> Document:
    """Return a dispute over the part of the charge that was not refunded."""
    brand = charge["payment_method_details"]["card"]["brand"]
    network = {"brand": brand, "network": brand}
    code = {"fraudulent": "10.4", "product_not_received": "13.1"}.get(reason)
    network |= {"case_type": "chargeback", "network_reason_code": code}
    made = new(tx, "dispute", new_id("du"), charge=charge["id"], reason=reason)
    made["amount"] = charge["amount"] - charge["amount_refunded"]
    made |= {"currency": charge["currency"], "payment_intent": charge["payment_intent"]}
    made["payment_method_details"] = {"card": network, "type": "card"}
    made["evidence_details"]["due_by"] = tx.now + 7 * 86400
    return made


def token(tx: Transaction, card: Card) -> Document:
    """Return a single-use token for the card."""
    made = new(tx, "token", new_id("tok"), card=card_source(card))
    return {**made, "_": {"card": asdict(card)}}
