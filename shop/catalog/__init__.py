"""The goods: catalogue, product pages and the cart."""

from flask import Blueprint

bp = Blueprint("catalog", __name__)

from shop.catalog import views  # noqa: E402, F401 — the views need `bp`
