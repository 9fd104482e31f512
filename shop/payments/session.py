"""The Checkout Session of an order, as Stripe is asked for it: just what the order means.

https://docs.stripe.com/api/checkout/sessions/create
"""

from typing import Any

from flask import current_app
from flask_babel import force_locale
from flask_babel import gettext as _

from shop import details
from shop.catalog import legal
from shop.catalog.models import Picture
from shop.orders import stock
from shop.orders.models import Order
from shop.security import external_url, has_public_address

MOST_NAME = 100
MOST_WORDS = 1200


def session_params(order: Order, expires_at: int, labels: dict[str, str]) -> dict[str, Any]:
    """Return what Stripe is asked for, amounts in minor units; it ends at `expires_at`.

    `labels` is what the money is known by.
    """
    # Stripe takes public addresses alone; the sandbox is where the shop is.
    in_reach = has_public_address() or order.mode == "sandbox"
    shown = order.pictures if in_reach else {}
    intent_labels = {name: value for name, value in labels.items() if name != "attempt"}
    asked = _delivery_params(order) | _konbini_params(order) | _words(order.language)
    return asked | {
        "mode": "payment",
        "line_items": [
            {
                "price_data": {
                    "currency": order.currency,
                    "unit_amount": line.unit_amount,
                    "product_data": {"name": line.name} | _pictures(shown.get(line.product_id)),
                },
                "quantity": line.quantity,
            }
            for line in order.lines
        ],
        "client_reference_id": order.client_reference,
        "metadata": labels,
        # A charge behind a session carries no attempt: that money is the session's.
        "payment_intent_data": {
            "metadata": intent_labels,
            "description": f"{current_app.config['SHOP_NAME']} #{order.number}",
        },
        "success_url": external_url("payments.success") + "?session_id={CHECKOUT_SESSION_ID}",
        "cancel_url": external_url("payments.cancel", order=order.token),
        "expires_at": expires_at,
        "locale": order.language,
    }


def _delivery_params(order: Order) -> dict[str, Any]:
    """Return the price of the delivery, and where Stripe asks the customer to have it sent."""
    params: dict[str, Any] = {}
    if order.is_sent:
        countries = (order.delivery_countries or "").split()
        params["shipping_address_collection"] = {"allowed_countries": countries}
        params["phone_number_collection"] = {"enabled": True}
    if order.delivery and (order.is_sent or order.delivery_amount):
        rate = {
            "type": "fixed_amount",
            "display_name": (order.delivery_name or "")[:MOST_NAME],
            "fixed_amount": {"amount": order.delivery_amount, "currency": order.currency},
        }
        params["shipping_options"] = [{"shipping_rate_data": rate}]
    return params


def _konbini_params(order: Order) -> dict[str, Any]:
    """Return how long a slip can be paid, or that none is given for the last pieces."""
    found = details.current()
    if order.currency != "jpy":
        return {}
    if found.konbini_scarce == "off" and stock.takes_the_last(order):
        return {"excluded_payment_method_types": ["konbini"]}
    if found.hold_days == details.USUAL_KONBINI_DAYS:
        return {}
    return {"payment_method_options": {"konbini": {"expires_after_days": found.hold_days}}}


def _words(language: str) -> dict[str, Any]:
    """Return by what the page is known as the shop's, and what the law wants said on it."""
    branding: dict[str, Any] = {"display_name": current_app.config["SHOP_NAME"][:MOST_NAME]}
    accent = details.current().accent
    if accent:
        branding["button_color"] = accent
    if language == "ja":
        branding["font_family"] = "noto_sans_jp"
    with force_locale(language):
        # Stripe makes a link of it: https://docs.stripe.com/payments/checkout/customization
        link = f"\n[{_('Legal notice')}]({external_url('catalog.legal_notice')})"
        link = link if has_public_address() else ""
        terms = legal.terms_within(MOST_WORDS - len(link))
        terms = terms and terms + link
    return {"branding_settings": branding} | (
        {"custom_text": {"submit": {"message": terms}}} if terms else {}
    )


def _pictures(picture: Picture | None) -> dict[str, Any]:
    """Return what shows a picture on Stripe's page."""
    if picture is None:
        return {}
    return {"images": [external_url("catalog.picture", name=picture.jpeg(800))]}
