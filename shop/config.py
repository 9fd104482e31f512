"""Every setting: its name, type, default and one line of help. Nonsense is refused at the start."""

import os
import re
import secrets
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from shop.money import is_supported

ROOT = Path(__file__).resolve().parent.parent
LANGUAGES = ("en", "ja")
DEFAULT_PORTS = {"http": 80, "https": 443}
# Names in .env that belong to the tools that start the shop, not to the shop.
FOREIGN_PREFIXES = ("FLASK_", "PYTHON", "GUNICORN_", "WEB_CONCURRENCY", "SANDBOX_")


class ConfigError(Exception):
    """A setting that cannot be used; the text is one line for the owner."""


@dataclass(frozen=True)
class Setting:
    """One setting; `parse` returns the value in its own type, or raises ValueError: the reason."""

    name: str
    help: str
    example: str
    parse: Callable[[str], Any]
    default: Any = None


def load(environ: Mapping[str, Any]) -> dict[str, Any]:
    """Return every setting by name, plus `SHOP_MODE`; raise ConfigError where one is unusable."""
    values = {setting.name: _value(setting, environ.get(setting.name)) for setting in SETTINGS}
    _refuse_contradictions(values)
    values["SHOP_MODE"] = _mode(values)
    if values["SHOP_LEGACY_CHARGE"] is None:
        values["SHOP_LEGACY_CHARGE"] = values["SHOP_MODE"] == "sandbox"
    if values["SHOP_OWNER_EMAIL"] is None:
        values["SHOP_OWNER_EMAIL"] = values["SHOP_MAIL_FROM"]
    return values


def unknown_names(environ: Mapping[str, Any]) -> list[str]:
    """Return the names that look like ours but are no setting, usually a spelling mistake."""
    known = {setting.name for setting in SETTINGS}
    return sorted(n for n in environ if n.startswith(("SHOP_", "STRIPE_")) and n not in known)


def load_env_file(path: Path) -> None:
    """Put the settings of a `.env` file into the environment, which wins where both name one.

    Raises ConfigError for a name that is no setting: nobody else reads this file.
    """
    from dotenv import dotenv_values

    known = {setting.name for setting in SETTINGS}
    _refuse_broken_lines(path)
    for name, value in dotenv_values(path).items():
        if name not in known and not name.startswith(FOREIGN_PREFIXES):
            raise ConfigError(f"{name}: no such setting (in {path.name}). {_likely(name)}")
        if value is not None:
            os.environ.setdefault(name, value)


def is_loopback(url: str | None) -> bool:
    """Tell whether `url` (or none at all) can only be reached from this machine."""
    if url is None:
        return True
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def secret_key(data_dir: Path) -> str:
    """Return the key kept in `data_dir`, made once and readable by its owner alone."""
    path = data_dir / "secret_key"
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            _make_secret(path)
        key = path.read_text(errors="replace").strip()
    except OSError as error:
        raise ConfigError(
            f"SHOP_DATA_DIR: {data_dir} cannot be used ({error.strerror}). "
            "Name a folder that the shop may write, for example /home/you/shop-data"
        ) from error
    if len(key) < 32:
        raise ConfigError(f"SECRET_KEY: {path} is damaged. Delete it, and a new one is made.")
    return key


def _make_secret(path: Path) -> None:
    # Written beside and linked into place: two processes that start at once agree on one key.
    handle, name = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(handle, "w") as file:
        file.write(secrets.token_hex(32))
    try:
        os.link(name, path)
    except FileExistsError:
        pass
    finally:
        os.unlink(name)


def _refuse_broken_lines(path: Path) -> None:
    """Raise ConfigError for a line that dotenv would leave out with a word in the log only."""
    from dotenv.parser import parse_stream

    if not path.exists():
        return
    try:
        with path.open(encoding="utf-8") as file:
            broken = [line.original.line for line in parse_stream(file) if line.error]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path.name}: cannot be read ({error}). Right: a UTF-8 file that the shop may read"
        ) from error
    if broken:
        raise ConfigError(
            f"{path.name}: line {broken[0]} is no setting. Right: SHOP_NAME=Corner Shop"
        )


def _likely(name: str) -> str:
    """Return the example of the setting that was probably meant."""
    from difflib import get_close_matches

    examples = {setting.name: setting.example for setting in SETTINGS}
    for meant in get_close_matches(name, examples, 1):
        return f"Right: {meant}={examples[meant]}"
    return "Right: a line without it, or a name that .env.example lists"


def _value(setting: Setting, raw: Any) -> Any:
    if isinstance(raw, bool):
        raw = "on" if raw else "off"
    text = "" if raw is None else str(raw).strip()
    if not text and not isinstance(setting.default, str):
        return setting.default
    try:
        return setting.parse(text or setting.default)
    except ValueError as error:
        raise ConfigError(f"{setting.name}: {error}. Right: {setting.example}") from error


def _mode(values: Mapping[str, Any]) -> str:
    key = values["STRIPE_SECRET_KEY"]
    if key:
        return "live" if _is_live(key) else "test"
    wanted = values["SHOP_SANDBOX"]
    if wanted is None:
        wanted = is_loopback(values["SHOP_PUBLIC_URL"])
    return "sandbox" if wanted else "off"


def _is_live(key: str | None) -> bool:
    return key is not None and key.split("_")[1] == "live"


def _refuse_contradictions(values: Mapping[str, Any]) -> None:
    key, public = values["STRIPE_SECRET_KEY"], values["STRIPE_PUBLISHABLE_KEY"]
    live = _is_live(key)
    if key and public and live != _is_live(public):
        raise ConfigError(
            "STRIPE_PUBLISHABLE_KEY: one key is live and the other is test. "
            "Right: both from one page of the Stripe dashboard, such as pk_test_… with sk_test_…"
        )
    if key and values["SHOP_SANDBOX"]:
        raise ConfigError(
            "SHOP_SANDBOX: is on although STRIPE_SECRET_KEY is set. Right: keep one of the two"
        )
    if values["STRIPE_API_BASE"] and (live or not key):
        raise ConfigError(
            "STRIPE_API_BASE: is for test keys only. "
            "Right: remove it, or set STRIPE_SECRET_KEY=sk_test_…"
        )
    if live and not (values["SHOP_PUBLIC_URL"] or "").startswith("https://"):
        raise ConfigError(
            "SHOP_PUBLIC_URL: real payments need the shop's https address. Right: https://shop.example"
        )


def _text(raw: str) -> str:
    if not raw.isprintable():
        raise ValueError("has a line break or an invisible character")
    return raw


def _switch(raw: str) -> bool:
    if raw.lower() not in ("on", "off"):
        raise ValueError(f"{raw!r} is neither on nor off")
    return raw.lower() == "on"


def _choice(*choices: str) -> Callable[[str], str]:
    def parse(raw: str) -> str:
        if raw.lower() not in choices:
            raise ValueError(f"{raw!r} is none of {', '.join(choices)}")
        return raw.lower()

    return parse


def _prefixed(*prefixes: str) -> Callable[[str], str]:
    def parse(raw: str) -> str:
        if not re.fullmatch(rf"({'|'.join(prefixes)})[!-~]+", raw):
            raise ValueError(f"is no key that begins with {' or '.join(prefixes)}")
        return raw

    return parse


def _secret(raw: str) -> str:
    if len(raw) < 16 or raw.endswith(" random characters"):
        raise ValueError("keeps no secret (16 characters at least, and not an example)")
    return raw


def _web_address(raw: str) -> str:
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


def _origins(raw: str) -> tuple[str, ...]:
    origins = tuple(_web_address(part) for part in raw.replace(",", " ").split())
    if any(urlsplit(origin).path or ";" in origin for origin in origins):
        raise ValueError("an origin has no path")
    return origins


def _currency(raw: str) -> str:
    if not is_supported(raw.lower()):
        raise ValueError(f"{raw!r} is no currency that the shop can count in")
    return raw.lower()


def _time_zone(raw: str) -> ZoneInfo:
    try:
        return ZoneInfo(raw)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"{raw!r} is no time zone") from error


def _directory(raw: str) -> Path:
    path = Path(raw).expanduser()
    if not path.is_absolute():
        raise ValueError(f"{raw!r} is not a full path")
    return path


def _mail_address(raw: str) -> str:
    if not re.fullmatch(r"[^\s@,;:<>\"]+@([^\s@,;:<>\"]+\.[^\s@,;:<>\"]+|localhost)", raw):
        raise ValueError(f"{raw!r} is no mail address")
    return raw


def _mail_url(raw: str) -> str:
    if raw == "console:":
        return raw
    try:
        parts = urlsplit(raw)
        parts.port  # noqa: B018 — reading it is the check
    except ValueError as error:
        raise ValueError("is not a mail server's address") from error
    if parts.scheme not in ("smtp", "smtps") or not parts.hostname or not raw.isprintable():
        raise ValueError("is not a mail server's address")
    return raw


def _database_url(raw: str) -> str:
    """Name the driver: hosts hand out addresses that SQLAlchemy alone would refuse or misread."""
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    scheme, separator, rest = raw.partition("://")
    drivers = {
        "postgres": "postgresql+psycopg",
        "postgresql": "postgresql+psycopg",
        "mysql": "mysql+pymysql",
        "mariadb": "mysql+pymysql",
        "sqlite": "sqlite",
    }
    driver = drivers.get(scheme, scheme if scheme in drivers.values() else None)
    if not separator or driver is None:
        raise ValueError("is not the address of an SQLite, PostgreSQL, MySQL or MariaDB database")
    if driver.startswith("mysql") and "charset=" not in rest:
        rest += ("&" if "?" in rest else "?") + "charset=utf8mb4"
    try:
        make_url(f"{driver}://{rest}")
    except (ArgumentError, ValueError) as error:
        raise ValueError("is not the address of a database") from error
    return f"{driver}://{rest}"


def _proxy(raw: str) -> dict[str, int]:
    """Return ProxyFix's arguments."""
    if raw.lower() == "off":
        return {}
    allowed = {"for": "x_for", "proto": "x_proto", "host": "x_host", "prefix": "x_prefix"}
    result = {}
    for part in raw.split(","):
        name, _, count = part.strip().partition("=")
        if name not in allowed or not count.isascii() or not count.isdigit():
            raise ValueError(f"{part!r} is not one of for, proto, host, prefix with a number")
        result[allowed[name]] = int(count)
    return result


SETTINGS: tuple[Setting, ...] = (
    Setting(
        "SECRET_KEY",
        "Signs the visitors' cookies. Made and kept in the data folder when unset",
        "64 random characters",
        _secret,
    ),
    Setting(
        "DATABASE_URL",
        "The database. An SQLite file in the data folder when unset",
        "postgresql://user:password@localhost/shop",
        _database_url,
    ),
    Setting(
        "SHOP_DATA_DIR",
        "Where database and secrets are kept; `instance` beside wsgi.py when unset",
        "/home/you/shop-data",
        _directory,
        ROOT / "instance",
    ),
    Setting(
        "SHOP_PUBLIC_URL",
        "The shop's address on the web; needed for real payments",
        "https://shop.example",
        _web_address,
    ),
    Setting(
        "SHOP_SANDBOX",
        "Pay with play money: on, off, or by itself while the shop is on your machine",
        "on",
        _switch,
    ),
    Setting("SHOP_NAME", "The name above every page", "Corner Shop", _text, "Corner Shop"),
    Setting("SHOP_CURRENCY", "The currency of all prices", "jpy", _currency, "jpy"),
    Setting(
        "SHOP_TIMEZONE",
        "Whose days the shop counts",
        "Asia/Tokyo",
        _time_zone,
        "Asia/Tokyo",
    ),
    Setting(
        "SHOP_LOCALE",
        "The language where the visitor's is not known",
        "en",
        _choice(*LANGUAGES),
        "en",
    ),
    Setting(
        "STRIPE_SECRET_KEY",
        "Your secret (or restricted) key at Stripe",
        "sk_test_…",
        _prefixed("sk_test_", "rk_test_", "sk_live_", "rk_live_"),
    ),
    Setting(
        "STRIPE_PUBLISHABLE_KEY",
        "Your publishable key at Stripe, for the legacy card page",
        "pk_test_…",
        _prefixed("pk_test_", "pk_live_"),
    ),
    Setting(
        "STRIPE_WEBHOOK_SECRET",
        "The signing secret of your webhook at Stripe",
        "whsec_…",
        _prefixed("whsec_"),
    ),
    Setting(
        "STRIPE_API_BASE",
        "Another server that speaks Stripe, for tests",
        "http://127.0.0.1:5001",
        _web_address,
    ),
    Setting(
        "STRIPE_CHECKOUT_ORIGINS",
        "Your own checkout domains at Stripe, with spaces between",
        "https://pay.shop.example",
        _origins,
        (),
    ),
    Setting(
        "SHOP_LEGACY_CHARGE",
        "The legacy card page: on or off; by itself on in the sandbox alone",
        "off",
        _switch,
    ),
    Setting(
        "MAIL_URL",
        "How mail leaves: console: prints it, smtp:// and smtps:// send it",
        "smtp://user:password@mail.example:587",
        _mail_url,
        "console:",
    ),
    Setting(
        "SHOP_MAIL_FROM",
        "The sender of the shop's mail",
        "shop@shop.example",
        _mail_address,
        "shop@localhost",
    ),
    Setting(
        "SHOP_OWNER_EMAIL",
        "Who is told of new orders; SHOP_MAIL_FROM when unset",
        "you@shop.example",
        _mail_address,
    ),
    Setting(
        "SHOP_PROXY", "Which headers of a proxy in front are true", "for=1,proto=1", _proxy, {}
    ),
    Setting(
        "SHOP_BOARD_HOLD",
        "Which posts wait for you: off, links, first or all",
        "links",
        _choice("off", "links", "first", "all"),
        "off",
    ),
    Setting(
        "SHOP_TASK_TOKEN",
        "The password of /tasks, for hosts whose cron cannot run commands",
        "32 random characters",
        _secret,
    ),
)
