"""The look that a shop gives its checkout: `branding_settings` as a stylesheet."""

from .store import Document

RADIUS = {"pill": "24px", "rounded": "10px", "rectangular": "0"}


def letterhead_css(session: Document) -> str:
    """Return the custom properties for `sandbox.css` that the session sets."""
    given = session["_"]["branding"]
    rules: dict[str, str] = {}
    for name, color in (("head", "background_color"), ("button", "button_color")):
        if color in given:
            rules |= {f"--{name}": given[color], f"--on-{name}": _ink_on(given[color])}
    if "border_style" in given:
        rules["--radius"] = RADIUS[given["border_style"]]
    if given.get("font_family", "default") != "default":
        rules["--font"] = f'"{given["font_family"].replace("_", " ")}"'
    return ":root {" + " ".join(f"{name}: {value};" for name, value in rules.items()) + "}\n"


def _ink_on(color: str) -> str:
    """Return black or white, whichever reads better on the colour (#rrggbb)."""
    # They read equally well at a luminance of 0.179.
    red, green, blue = ((int(color[n : n + 2], 16) / 255) ** 2.2 for n in (1, 3, 5))
    return "#000" if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.179 else "#fff"
