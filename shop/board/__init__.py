"""The board: visitors post topics and answer them."""

from flask import Blueprint

bp = Blueprint("board", __name__)

from shop.board import views  # noqa: E402, F401 — the views need `bp`
