"""The texts of the customer's pages, in English and Japanese (`texts.json`)."""

import functools
import json
from collections.abc import Mapping
from pathlib import Path

from werkzeug.datastructures import LanguageAccept


@functools.cache
def _languages() -> dict[str, dict[str, str]]:
    path = Path(__file__).with_name("texts.json")
    languages: dict[str, dict[str, str]] = json.loads(path.read_text(encoding="utf-8"))
    return languages


def choose_language(locale: str | None, accepted: LanguageAccept) -> str:
    """Return the session's language, or the one that the browser prefers."""
    wanted = (locale or "auto").partition("-")[0]
    return wanted if wanted in _languages() else accepted.best_match(_languages(), "en") or "en"


def texts(language: str) -> Mapping[str, str]:
    """Return the texts in a language."""
    return _languages()[language]
