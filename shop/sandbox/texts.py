"""The customer's words, in English and Japanese (`words.json`)."""

import functools
import json
from collections.abc import Mapping
from pathlib import Path

from werkzeug.datastructures import LanguageAccept


@functools.cache
def _languages() -> dict[str, dict[str, str]]:
    path = Path(__file__).with_name("words.json")
    languages: dict[str, dict[str, str]] = json.loads(path.read_text(encoding="utf-8"))
    return languages


def language(locale: str | None, accepted: LanguageAccept) -> str:
    """Return the session's own language, or the one the browser likes best."""
    wanted = (locale or "auto").partition("-")[0]
    return wanted if wanted in _languages() else accepted.best_match(_languages(), "en") or "en"


def words(code: str) -> Mapping[str, str]:
    """Return the words of a language."""
    return _languages()[code]
