"""What the law wants said: the legal notice, and the terms on the last page before an order.

Japan's 特定商取引法 asks for both (articles 11 and 12-6); a seller elsewhere says what is set.
https://www.no-trouble.caa.go.jp/what/mailorder/
"""

import re

from flask import current_app
from flask_babel import gettext as _

from shop import details
from shop.catalog import deliveries
from shop.catalog.models import Delivery
from shop.i18n import format_minor, format_money

Item = tuple[str, str]
MARKDOWN_LINK = re.compile(r"\[([^\[\]]*)\]\((\S*?)\)")
SENTENCE_END = re.compile(r"[。．！？]|[.!?](?=\s)")


def notice() -> list[Item]:
    """Return the items of the legal notice in the reader's language, without those not set."""
    found = details.current()
    asked = _("We tell you without delay when you ask for it by mail.") if found.on_request else ""
    items = [
        (_("Seller"), found.text("name") or current_app.config["SHOP_NAME"]),
        (_("Who answers for it"), found.text("responsible")),
        (_("Address"), asked or found.text("address")),
        (_("Telephone"), asked or found.phone),
        (_("E-mail"), found.email),
        (_("Hours"), found.text("hours")),
        (_("Registration number"), found.registration_number),
        (_("Prices"), _("As shown with each product, tax included.")),
        (_("Other fees"), _fees(found)),
        (_("Ways to pay"), _ways_to_pay()),
        (_("Time of payment"), _time_of_payment(found)),
        (_("Time of delivery"), found.text("delivery_time")),
        (_("Returns"), found.text("returns")),
        (_("Faulty goods"), found.text("faulty")),
        (_("Limits"), _limits(found)),
    ]
    return [(label, _plain(text)) for label, text in items if text]


def terms() -> list[Item]:
    """Return what Japan's law wants on the last page before an order, elsewhere nothing."""
    found = details.current()
    if not found.is_japanese:
        return []
    cancel = " ".join(filter(None, (found.text("returns"), found.text("faulty"))))
    items = [
        (_("Quantity"), _("As listed on this page.")),
        (_("Price"), _("The total on this page, with tax and delivery. There are no other fees.")
         if not found.fees
         else _("The total on this page, with tax and delivery. %(fees)s",
                fees=found.text("fees"))),
        (_("Payment"), f"{_ways_to_pay()} {_time_of_payment(found)}"),
        (_("Time of delivery"), found.text("delivery_time")),
        (_("Cancellation and returns"), cancel),
        (_("Limits"), _limits(found)),
    ]  # fmt: skip
    return [(label, _plain(text)) for label, text in items if text]


def terms_within(most: int) -> str:
    """Return the terms as one text of at most so many characters, each cut behind a sentence."""
    lines = [f"{label}: {text}" for label, text in terms()]
    left = most - len(lines)
    fitting = {}
    for number, line in enumerate(sorted(lines, key=len)):
        fitting[line] = _cut(line, left // (len(lines) - number))
        left -= len(fitting[line])
    return "\n".join(fitting[line] for line in lines)


def missing() -> list[str]:
    """Return the names of what Japan's law wants and the owner has not set yet."""
    found = details.current()
    if not found.is_japanese:
        return []
    wanted = {
        _("Seller"): found.name,
        _("Who answers for it"): found.responsible,
        _("Address"): found.address or found.on_request,
        _("Telephone"): found.phone or found.on_request,
        _("E-mail"): found.email,
        _("Time of delivery"): found.delivery_time,
        _("Returns"): found.returns,
        _("Faulty goods"): found.faulty,
    }
    return [label for label, value in wanted.items() if not value]


def _plain(text: str) -> str:
    """Return a text without Markdown: Stripe's page would show a link where ours shows brackets."""
    return MARKDOWN_LINK.sub(r"\1 (\2)", text).replace("**", "").strip()


def _fees(found: details.Details) -> str:
    """Return what is paid beside the price of the goods."""
    lines = [*map(_delivery_line, deliveries.list_all()), found.text("fees")]
    return "\n".join(filter(None, lines)) or _("None.")


def _delivery_line(delivery: Delivery) -> str:
    currency = current_app.config["SHOP_CURRENCY"]
    price = format_minor(delivery.amount, currency) if delivery.amount else _("free")
    if delivery.free_from is None:
        return f"{delivery.name}: {price}"
    free = _("free from %(amount)s", amount=format_money(delivery.free_from))
    return f"{delivery.name}: {price} ({free})"


def _ways_to_pay() -> str:
    if current_app.config["SHOP_CURRENCY"] == "jpy":
        return str(_("By card, at a convenience store, or in another way on Stripe’s page."))
    return str(_("By card, or in another way on Stripe’s page."))


def _time_of_payment(found: details.Details) -> str:
    at_once: str = _("Cards are charged at once when you order.")
    if current_app.config["SHOP_CURRENCY"] != "jpy":
        return at_once
    days: str = _("At a convenience store you pay within %(days)s days.", days=found.hold_days)
    return f"{at_once} {days}"


def _limits(found: details.Details) -> str:
    usual: str = _("None. Where only few are left, their number stands with the product.")
    return found.text("period") or usual


def _cut(text: str, most: int) -> str:
    """Return the text, cut behind a sentence where it is longer than `most` characters."""
    if len(text) <= most:
        return text
    ends = [found.end() for found in SENTENCE_END.finditer(text) if found.end() <= most]
    return text[: ends[-1]] if ends else f"{text[: most - 1]}…"
