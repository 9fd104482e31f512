"""Form-encoded parameters as Stripe's clients send them: `a[b][0][c]=1`."""

import re
from collections.abc import Iterable
from typing import Any

from .errors import ParameterError

NAME = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")
DEEPEST = 12


def parse(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Return the parameters as nested dicts; raises ParameterError where names do not fit together.

    A list comes out as a dict by index, for only the types of the SDK tell which is which.
    """
    root: dict[str, Any] = {}
    for name, value in pairs:
        match = NAME.fullmatch(name)
        keys = [match[1], *re.findall(r"\[([^\[\]]*)\]", match[2])] if match else []
        if not keys or len(keys) > DEEPEST:
            text = f"Received unknown parameter: {name[:100]}"
            raise ParameterError(text, param=name[:100], code="parameter_unknown")
        parent = root
        for key in keys[:-1]:
            child = parent.setdefault(key or _next_index(parent), {})
            if not isinstance(child, dict):
                raise ParameterError(f"Invalid hash: {name[:100]}", param=name[:100])
            parent = child
        parent[keys[-1] or _next_index(parent)] = value
    return root


def _next_index(items: dict[str, Any]) -> str:
    """Return the key that `[]` stands for: it appends."""
    return str(len(items))
