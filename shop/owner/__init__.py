"""The back office: one person runs the shop from a phone."""

from flask import Blueprint

bp = Blueprint("owner", __name__, url_prefix="/owner")

from shop.owner import (  # noqa: E402, F401 — the views need `bp`
    account,
    books,
    check,
    connect,
    data,
    delivery,
    details,
    goods,
    goods_import,
    mail,
    orders,
    today,
    tracking,
)
