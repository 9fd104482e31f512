"""Form-encoded parameters as Stripe's clients send them: `a[b][0][c]=1`."""

import re
from collections.abc import Iterable
from typing import Any

from .errors import ParameterError

NAME = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")
DEEPEST = 12


def nested(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Return the parameters as nested dicts; lists are dicts by index until a type says more.

    Raises ParameterError where names contradict each other.
    """
    root: dict[str, Any] = {}
    for name, value in pairs:
        *path, last = _path(name)
        place = root
        for step in path:
            inner = place.setdefault(_key(place, step), {})
            if not isinstance(inner, dict):
                raise ParameterError(f"Invalid hash: {name[:100]}", param=name[:100])
            place = inner
        place[_key(place, last)] = value
    return root


def _path(name: str) -> list[str]:
    match = NAME.fullmatch(name)
    steps = [match[1], *re.findall(r"\[([^\[\]]*)\]", match[2])] if match else []
    if not steps or len(steps) > DEEPEST:
        text = f"Received unknown parameter: {name[:100]}"
        raise ParameterError(text, param=name[:100], code="parameter_unknown")
    return steps


def _key(place: dict[str, Any], step: str) -> str:
    """Return the step itself; `[]` appends."""
    return step or str(len(place))
