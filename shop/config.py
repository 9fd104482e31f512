"""Every setting: its name, type, default and one line of help. Nonsense is refused at the start."""

import os
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
    for name, value in dotenv_values(path).items():
        if name not in known and not name.startswith(FOREIGN_PREFIXES):
            raise ConfigError(f"{name}: no such setting (in {path.name}). See .env.example.")
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
        key = path.read_text().strip()
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


def _value(setting: Setting, raw: Any) -> Any:
    if raw is None or raw == "":
        return setting.default
    if not isinstance(raw, str):
        raw = {True: "on", False: "off"}.get(raw, str(raw)) if isinstance(raw, bool) else str(raw)
    try:
        return setting.parse(raw.strip())
    except ValueError as error:
        raise ConfigError(f"{setting.name}: {error}. Right: {setting.example}") from error


def _mode(values: Mapping[str, Any]) -> str:
    key = values["STRIPE_SECRET_KEY"]
    if key:
        return "live" if "_live_" in key else "test"
    wanted = values["SHOP_SANDBOX"]
    if wanted is None:
        wanted = is_loopback(values["SHOP_PUBLIC_URL"])
    return "sandbox" if wanted else "off"


def _refuse_contradictions(values: Mapping[str, Any]) -> None:
    key, public = values["STRIPE_SECRET_KEY"], values["STRIPE_PUBLISHABLE_KEY"]
    live = bool(key) and "_live_" in key
    if key and public and live != ("_live_" in public):
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
    if "\x00" in raw or "\n" in raw:
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
        if not raw.startswith(prefixes) or not raw.isascii() or len(raw.split()) != 1:
            raise ValueError(f"does not begin with {' or '.join(prefixes)}")
        if not raw.removeprefix(next(p for p in prefixes if raw.startswith(p))):
            raise ValueError("is only the beginning of a key")
        return raw

    return parse


def _secret(raw: str) -> str:
    if len(raw) < 16 or raw.lower() in ("changeme" * 2, "secret" * 3):
        raise ValueError("is too short to keep a secret (16 characters at least)")
    return raw


def _web_address(raw: str) -> str:
    try:
        parts = urlsplit(raw)
        parts.port  # noqa: B018 — reading it is the check
    except ValueError as error:
        raise ValueError(f"{raw!r} is not a web address") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(f"{raw!r} is not a web address")
    if parts.username or parts.password or " " in raw:
        raise ValueError("has a user name or a space in it")
    return raw.rstrip("/")


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
    name, _, host = raw.rpartition("@")
    if not name or ("." not in host and host != "localhost") or len(raw.split()) != 1:
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
    if parts.scheme not in ("smtp", "smtps") or not parts.hostname:
        raise ValueError("is not a mail server's address")
    return raw


def _database_url(raw: str) -> str:
    """Name the driver: hosts hand out addresses that SQLAlchemy alone would refuse or misread."""
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
        ZoneInfo("Asia/Tokyo"),
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
    Setting("SHOP_OWNER_EMAIL", "Who is told of new orders", "you@shop.example", _mail_address),
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
