"""From text to value: the settings, and what forms and settings have in common.

The parser of a setting raises ValueError with the reason. It goes into the one line that stops the
start, so it is written for the shop's owner.
"""

import re
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from shop.money import is_supported

DEFAULT_PORTS = {"http": 80, "https": 443}
DRIVERS = {
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mysql+pymysql",
    "sqlite": "sqlite",
}
MAIL_ADDRESS = re.compile(r'[^\s@,;:<>"]{1,64}@[^\s@,;:<>"]{1,180}\.[^\s@,;:<>".]{1,63}')
T = TypeVar("T")


def whole_number(raw: str, otherwise: T) -> int | T:
    """Return a number without a sign, `otherwise` for anything else.

    int() takes more: full-width digits, "1_000", and digits without end, which no database counts.
    """
    raw = raw.strip()
    return int(raw) if raw.isascii() and raw.isdigit() and len(raw) <= 18 else otherwise


def text(raw: str) -> str:
    if not raw.isprintable():
        raise ValueError("has a line break or an invisible character")
    return raw


def switch(raw: str) -> bool:
    if raw.lower() not in ("on", "off"):
        raise ValueError(f"{raw!r} is neither on nor off")
    return raw.lower() == "on"


def choice(*choices: str) -> Callable[[str], str]:
    def parse(raw: str) -> str:
        if raw.lower() not in choices:
            raise ValueError(f"{raw!r} is none of {', '.join(choices)}")
        return raw.lower()

    return parse


def prefixed(*prefixes: str) -> Callable[[str], str]:
    def parse(raw: str) -> str:
        if not re.fullmatch(rf"({'|'.join(prefixes)})[!-~]+", raw):
            raise ValueError(f"is no key that begins with {' or '.join(prefixes)}")
        return raw

    return parse


def secret(raw: str) -> str:
    if len(raw) < 16 or raw.endswith(" random characters"):
        raise ValueError("keeps no secret (16 characters at least, and not an example)")
    return raw


def web_address(raw: str) -> str:
    """Return the address as browsers write it in Host and Origin, without a slash at its end."""
    try:
        parts = urlsplit(raw)
        host, port = _ascii_host(parts.hostname or ""), parts.port
    except ValueError as error:
        raise ValueError("is not a web address") from error
    if parts.scheme not in DEFAULT_PORTS or parts.query or parts.fragment:
        raise ValueError("is not a web address")
    if "@" in parts.netloc or not raw.isprintable() or " " in raw:
        raise ValueError("has a user name or a space in it")
    shown = "" if port in (None, DEFAULT_PORTS[parts.scheme]) else f":{port}"
    return f"{parts.scheme}://{host}{shown}{parts.path.rstrip('/')}"


def _ascii_host(host: str) -> str:
    if ":" in host:
        return f"[{ip_address(host).compressed}]"
    name = host.encode("idna").decode()
    if not re.fullmatch(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*", name):
        raise ValueError(name)
    return name


def origins(raw: str) -> tuple[str, ...]:
    origins = tuple(web_address(part) for part in raw.replace(",", " ").split())
    if any(urlsplit(origin).path or ";" in origin for origin in origins):
        raise ValueError("an origin has no path")
    return origins


def currency(raw: str) -> str:
    if not is_supported(raw.lower()):
        raise ValueError(f"{raw!r} is no currency that the shop can count in")
    return raw.lower()


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
    if not path.is_absolute():
        raise ValueError(f"{raw!r} is not a full path")
    return path


def is_mail_address(raw: str) -> bool:
    """Tell whether mail could be sent there; old Japanese phones have dots anywhere (`a..b.@`)."""
    return MAIL_ADDRESS.fullmatch(raw) is not None and raw.isprintable()


def mail_address(raw: str) -> str:
    # A setting may name a mailbox of this machine, which no customer has.
    if not is_mail_address(re.sub("@localhost$", "@localhost.localdomain", raw)):
        raise ValueError(f"{raw!r} is no mail address")
    return raw


def mail_url(raw: str) -> str:
    if raw == "console:":
        return raw
    try:
        parts = urlsplit(raw)
        parts.port  # noqa: B018 — reading it is the check
    except ValueError:
        # The reason may have a part of the password in it.
        raise ValueError("is not a mail server's address") from None
    if parts.scheme not in ("smtp", "smtps") or not parts.hostname or not raw.isprintable():
        raise ValueError("is not a mail server's address")
    return raw


def database_url(raw: str) -> str:
    """Name the driver: hosts hand out addresses that SQLAlchemy alone would refuse or misread."""
    scheme, separator, rest = raw.partition("://")
    driver = DRIVERS.get(scheme, scheme)
    if not separator or driver not in DRIVERS.values():
        raise ValueError("is not the address of an SQLite, PostgreSQL, MySQL or MariaDB database")
    if driver.startswith("mysql") and "charset=" not in rest:
        rest += ("&" if "?" in rest else "?") + "charset=utf8mb4"
    try:
        url = make_url(f"{driver}://{rest}")
    except (ArgumentError, ValueError):
        # The reason may have a part of the password in it.
        raise ValueError("is not the address of a database") from None
    if "@" in (url.host or ""):
        # What follows the first @ would be taken for the server's name, and shown in errors.
        raise ValueError("has an @ too many: write %40 for one that is part of the password")
    return f"{driver}://{rest}"


def proxy(raw: str) -> dict[str, int]:
    """Return ProxyFix's arguments."""
    if raw.lower() == "off":
        return {}
    allowed = {"for": "x_for", "proto": "x_proto", "host": "x_host", "prefix": "x_prefix"}
    result = {}
    for part in raw.split(","):
        name, _, count = part.strip().partition("=")
        number = whole_number(count, None)
        if name not in allowed or number is None:
            raise ValueError(f"{part!r} is not one of for, proto, host, prefix with a number")
        result[allowed[name]] = number
    return result
