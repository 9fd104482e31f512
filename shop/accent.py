"""The owner's own colour, as far as it can be read: 4.5 against paper, and its text against it.

https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio
"""

import re
from dataclasses import dataclass

from flask import Response

LEAST_CONTRAST = 4.5
USUAL = "#0f6b5c"
COLOUR = re.compile(r"#[0-9a-f]{6}")
WHITE = "#ffffff"


@dataclass(frozen=True)
class Scheme:
    """The colours of light or dark pages, and the accent that is used where no own one is set."""

    paper: str
    card: str
    accent: str
    dark_text: str
    steps_to: str


LIGHT = Scheme("#fbf8f3", WHITE, USUAL, "#26221d", "#000000")
DARK = Scheme("#191714", "#221f1b", "#62c9b3", "#12100e", WHITE)


def readable(colour: str, scheme: Scheme) -> str:
    """Return the colour, made darker or lighter until links in it can be read on the page."""
    for step in range(101):
        shade = _mixed(colour, scheme.steps_to, step / 100)
        if min(contrast(shade, scheme.paper), contrast(shade, scheme.card)) >= LEAST_CONTRAST:
            return shade
    return scheme.accent


def on(colour: str, scheme: Scheme) -> str:
    """Return the colour of a text on a button of this colour."""
    return max((WHITE, scheme.dark_text), key=lambda text: contrast(text, colour))


def soft(colour: str, scheme: Scheme) -> str:
    """Return the ground of tags: a hint of the colour, on which its own text can be read."""
    for part in (0.12, 0.08, 0.05, 0.03):
        ground = _mixed(scheme.card, colour, part)
        if contrast(ground, colour) >= LEAST_CONTRAST:
            return ground
    return scheme.card


def contrast(one: str, other: str) -> float:
    """Return the ratio of contrast of two colours, 1 to 21."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def palette(colour: str) -> dict[str, str]:
    """Return the colour as mails take it: for light and dark screens, each with its text's."""
    light = readable(colour, LIGHT)
    dark = DARK.accent if colour == USUAL else readable(colour, DARK)
    return {"light": light, "on_light": on(light, LIGHT), "dark": dark, "on_dark": on(dark, DARK)}


def stylesheet(colour: str) -> Response:
    """Return the style sheet that gives pages this colour (six digits), for ever."""
    css = f":root{{{_variables(f'#{colour}', LIGHT)}}}"
    css += f"@media (prefers-color-scheme: dark){{:root{{{_variables(f'#{colour}', DARK)}}}}}"
    headers = {"Cache-Control": "public, max-age=31536000, immutable"}
    return Response(css, mimetype="text/css", headers=headers)


def _variables(colour: str, scheme: Scheme) -> str:
    shade = readable(colour, scheme)
    return f"--accent:{shade};--on-accent:{on(shade, scheme)};--accent-soft:{soft(shade, scheme)}"


def _channels(colour: str) -> list[int]:
    return [int(colour[start : start + 2], 16) for start in (1, 3, 5)]


def _mixed(colour: str, other: str, part: float) -> str:
    pairs = zip(_channels(colour), _channels(other), strict=True)
    return "#" + "".join(f"{round(mine + (theirs - mine) * part):02x}" for mine, theirs in pairs)


def _luminance(colour: str) -> float:
    linear = [
        value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
        for value in (channel / 255 for channel in _channels(colour))
    ]
    red, green, blue = linear
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
