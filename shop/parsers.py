"""From text to value: the settings, and what forms and settings have in common.

The parser of a setting raises ValueError with the reason. It goes into the one line that stops the
start, so it is written for the shop's owner.
"""

import re
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from shop.money import is_supported

DEFAULT_PORTS = {"http": 80, "https": 443}
HOST = re.compile(r"\[.+\]|[a-z0-9_-]+(\.[a-z0-9_-]+)*")
# Letters without a look of their own, which Python counts as printable: joiners and fillers.
BLANK = "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0"
MAIL_ADDRESS = re.compile(r'[^\s@,;:<>"]{1,64}@[^\s@,;:<>"]{1,180}\.[^\s@,;:<>".]{1,63}')
# Characters that nobody sees. PostgreSQL refuses NUL, and XML refuses them all.
CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
T = TypeVar("T")


def whole_number(raw: str, otherwise: T) -> int | T:
    """Return a number without a sign, `otherwise` for anything else.

    int() takes more: full-width digits, "1_000", and digits without end, which no database counts.
    """
    raw = raw.strip()
    return int(raw) if raw.isascii() and raw.isdigit() and len(raw) <= 18 else otherwise


def tidy(text: Any) -> str:
    """Return the text with one kind of line break, no control characters and no space around it."""
    text = (text or "").replace("\r\n", "\n").replace("\r", "\n")
    return CONTROLS.sub("", text).strip()


def checked(value: T, good: object, reason: str) -> T:
    """Return the value if it is good; raise ValueError with the reason otherwise."""
    if not good:
        raise ValueError(reason)
    return value


def text(raw: str) -> str:
    return checked(raw, raw.isprintable(), "has a line break or an invisible character")


def switch(raw: str) -> bool:
    word = raw.lower()
    return checked(word == "on", word in ("on", "off"), f"{raw!r} is neither on nor off")


def choice(*choices: str) -> Callable[[str], str]:
    reason = f"is none of {', '.join(choices)}"
    return lambda raw: checked(raw.lower(), raw.lower() in choices, f"{raw!r} {reason}")


def prefixed(*prefixes: str) -> Callable[[str], str]:
    # A key of which two were pasted one behind the other has the prefix twice.
    start = "|".join(prefixes)
    key = re.compile(rf"({start})(?!.*({start}))[A-Za-z0-9_+/=-]+")
    reason = f"is no key: one begins with {' or '.join(prefixes)}, has letters and digits after it"
    return lambda raw: checked(raw, key.fullmatch(raw), f"{reason}, and no quotes or spaces")


def webhook_secrets(raw: str) -> str:
    """Return the secrets with one space between: Stripe's events may be signed with any of them."""
    one = prefixed("whsec_")
    return " ".join(one(part) for part in raw.split(" ") if part)


def secret(raw: str) -> str:
    good = len(raw) >= 16 and not raw.endswith(" random characters")
    return checked(raw, good, "keeps no secret (16 characters at least, and not an example)")


def ascii_domain(name: str) -> str:
    """Return the name as the network knows it (`xn--…`); raise ValueError where it is no name.

    By IDNA 2008 with UTS 46, as browsers do it. Python's own codec is of 2003, whose `ß` is `ss`:
    another domain, of somebody else.
    """
    if not name.isascii():
        import idna  # few names need it, and every start would pay for it

        # Labels that are ASCII stay as they are: IDNA knows none with an underscore.
        labels = idna.uts46_remap(name, std3_rules=False).split(".")
        name = ".".join(x if x.isascii() else idna.alabel(x).decode() for x in labels)
    return checked(name, max(map(len, name.split("."))) < 64 and len(name) < 254, "is too long")


def web_address(raw: str) -> str:
    """Return the address as browsers write it in Host and Origin, without a slash at its end."""
    try:
        parts = urlsplit(raw)
        host, port = parts.hostname or "", parts.port
        host = f"[{ip_address(host).compressed}]" if ":" in host else ascii_domain(host)
    except ValueError as error:
        raise ValueError("is not a web address") from error
    is_bare = parts.scheme in DEFAULT_PORTS and not parts.query and not parts.fragment
    checked(raw, is_bare and HOST.fullmatch(host), "is not a web address")
    good = "@" not in parts.netloc and raw.isprintable() and " " not in raw
    checked(raw, good, "has a user name or a space in it")
    shown = "" if port in (None, DEFAULT_PORTS[parts.scheme]) else f":{port}"
    return f"{parts.scheme}://{host}{shown}{parts.path.rstrip('/')}"


def origins(raw: str) -> tuple[str, ...]:
    found = tuple(web_address(part) for part in raw.replace(",", " ").split())
    bad = any(urlsplit(origin).path or ";" in origin for origin in found)
    return checked(found, not bad, "an origin has no path")


def currency(raw: str) -> str:
    good = is_supported(raw.lower())
    return checked(raw.lower(), good, f"{raw!r} is no currency that the shop can count in")


def time_zone(raw: str) -> ZoneInfo:
    try:
        return ZoneInfo(raw)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"{raw!r} is no time zone") from error


def directory(raw: str) -> Path:
    try:
        path = Path(raw).expanduser()
    except RuntimeError as error:  # ~ of somebody who has no account here
        raise ValueError(f"{raw!r} is nobody's folder") from error
    return checked(path, path.is_absolute(), f"{raw!r} is not a full path")


def visible(raw: object, most: int = 255) -> str | None:
    """Return a text without what nobody sees, None for anything else and where nothing is left.

    Wallets send spaces around an address, and what is pasted has zero-width characters in it.
    """
    if not isinstance(raw, str):
        return None
    # The sliced text is long enough for all that is kept of it.
    spaced = "".join(" " if char.isspace() else char for char in raw[: most * 20])
    shown = "".join(char for char in spaced if char.isprintable() and char not in BLANK)
    return shown.strip()[:most].strip() or None


def is_mail_address(raw: str) -> bool:
    """Tell whether mail could be sent there; old Japanese phones have dots anywhere (`a..b.@`)."""
    with suppress(ValueError):
        ascii_domain(raw.rpartition("@")[2])
        return MAIL_ADDRESS.fullmatch(raw) is not None and raw.isprintable()
    return False


def mail_address(raw: str) -> str:
    # A setting may name a mailbox of this machine, which no customer has.
    good = is_mail_address(re.sub("@localhost$", "@localhost.localdomain", raw))
    return checked(raw, good, f"{raw!r} is no mail address")


def mail_url(raw: str) -> str:
    if raw == "console:":
        return raw
    try:
        parts = urlsplit(raw)
        parts.port  # noqa: B018 — reading it is the check
        ascii_domain(parts.hostname or "")
        good = parts.scheme in ("smtp", "smtps") and parts.hostname and raw.isprintable()
    except ValueError:  # its text may have a part of the password in it
        good = False
    return checked(raw, good, "is not a mail server's address")


def proxy(raw: str) -> dict[str, int]:
    """Return ProxyFix's arguments."""
    if raw.lower() == "off":
        return {}
    result = {}
    for part in raw.split(","):
        name, _, count = part.strip().partition("=")
        number = whole_number(count, -1)
        good = name in ("for", "proto", "host", "prefix") and number >= 0
        reason = f"{part!r} is not one of for, proto, host, prefix with a number"
        result[f"x_{name}"] = checked(number, good, reason)
    return result
