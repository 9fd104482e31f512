"""The till: orders, their payments through Stripe, and what is known of both."""

from flask import Blueprint

bp = Blueprint("payments", __name__)

from shop.payments import card, views  # noqa: E402, F401
