"""The texts of the customer's pages, in English and Japanese (`texts.json`)."""

import re
from collections.abc import Mapping

from markupsafe import Markup, escape
from werkzeug.datastructures import LanguageAccept

from .data import load

LINK = re.compile(r"\[([^\[\]]+)\]\((https?://[^\s()]+)\)")


def choose_language(locale: str | None, accepted: LanguageAccept) -> str:
    """Return the session's language, or the one that the browser prefers."""
    wanted = (locale or "auto").partition("-")[0]
    return wanted if wanted in load("texts") else accepted.best_match(load("texts"), "en") or "en"


def texts(language: str) -> Mapping[str, str]:
    """Return the texts in a language."""
    found: Mapping[str, str] = load("texts")[language]
    return found


def custom_html(message: str) -> Markup:
    """Return a shop's own text as HTML, with its line breaks and its links in Markdown."""
    link = r'<a href="\2" target="_blank" rel="noopener">\1</a>'
    paragraphs = re.split(r"\n\s*\n", LINK.sub(link, str(escape(message.strip()))))
    html = "".join(f"<p>{paragraph}</p>" for paragraph in paragraphs)
    return Markup(html.replace("\n", "<br>"))  # noqa: S704 (escaped above)
