"""Which language a visitor reads, and how money and dates look in it."""

import re
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from urllib.parse import urlencode

from flask import Flask, current_app, g, has_request_context, request, session, url_for
from flask_babel import format_date, format_datetime, get_locale

from shop.config import LANGUAGES
from shop.extensions import babel
from shop.money import Money


def init_languages(app: Flask) -> None:
    """Set up the choice of language and the filters that the templates use."""
    zone = app.config["SHOP_TIMEZONE"].key
    babel.init_app(app, locale_selector=visitor_language, timezone_selector=lambda: zone)
    app.jinja_env.filters.update(
        money=format_money,
        moment=format_moment,
        day=format_day,
        percent=format_percent,
        # As HTML's `datetime` attribute takes an instant, and back.
        isoformat=partial(datetime.isoformat, timespec="seconds"),
        instant=datetime.fromisoformat,
    )
    app.jinja_env.globals.update(
        current_language=current_language, language_link=language_link, minor=format_minor
    )
    app.before_request(_remember_choice)


def current_language() -> str:
    """Return the language in use: `en` or `ja`."""
    locale = get_locale()
    return str(locale.language if locale else current_app.config["SHOP_LOCALE"])


def visitor_language() -> str:
    """Return the language of the visitor's choice, else of the browser's, else the shop's."""
    usual = current_app.config["SHOP_LOCALE"]
    if not has_request_context():
        return str(usual)
    if "language" not in g:
        chosen = session.get("language")
        g.language = chosen if chosen in LANGUAGES else _accepted_language(usual)
    return str(g.language)


def language_link(language: str) -> str:
    """Return the address of this very page in another language."""
    if request.method != "GET":
        return url_for("board.index", lang=language)
    return "?" + urlencode(request.args.to_dict() | {"lang": language})


def format_money(money: Money) -> str:
    """Return an amount as the reader writes it."""
    return money.format(current_language())


def format_minor(amount: int, currency: str) -> str:
    """Return an amount in minor units of any currency as the reader writes it."""
    return format_money(Money(amount, currency))


def format_moment(moment: datetime) -> str:
    """Return a date and time in the reader's language and the shop's time zone."""
    pattern = "y年M月d日 H:mm" if current_language() == "ja" else "MMM d, y, h:mm a"
    return str(format_datetime(moment, pattern))


def format_percent(rate: int) -> str:
    """Return a rate in hundredths of a percent as people write it: 10%, 7.7%."""
    return f"{Decimal(rate) / 100:f}".removesuffix(".00") + "%"


def format_day(day: date) -> str:
    """Return a day in the reader's language."""
    return str(format_date(day, "y年M月d日" if current_language() == "ja" else "MMMM d, y"))


def _remember_choice() -> None:
    """Keep the language chosen by a link (`?lang=ja`) for the pages that follow."""
    choice = request.args.get("lang")
    if choice in LANGUAGES and session.get("language") != choice:
        session["language"] = choice


def _accepted_language(usual: str) -> str:
    """Return the language that the browser likes best, `usual` where it asks for none of ours."""
    wanted: dict[str, float] = {}
    for tag, quality in request.accept_languages:
        language = re.split("[-_]", tag.lower())[0]
        wanted[language] = max(quality, wanted.get(language, 0))
    others = wanted.pop("*", 0)
    named = [name for name in wanted if name in LANGUAGES and wanted[name] > 0]
    # Of several that are liked alike, a named one comes first, then the usual one.
    return max((*named, usual, *LANGUAGES), key=lambda name: wanted.get(name, others))
