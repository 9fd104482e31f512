"""The JSON files beside this module: texts, countries, the shapes of Stripe's objects."""

import functools
import json
from pathlib import Path
from typing import Any


@functools.cache
def load(name: str) -> Any:
    """Return the content of the file `name.json`, which nobody may change."""
    return json.loads(Path(__file__).with_name(f"{name}.json").read_text(encoding="utf-8"))
