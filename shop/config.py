"""Every setting in a line or two, and what may not stand together. Nonsense stops the start."""

import os
import secrets
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from shop import parsers
from shop.database_url import read_database_url

ROOT = Path(__file__).resolve().parent.parent
LANGUAGES = ("en", "ja")
# Names in .env that belong to the tools that start the shop, not to the shop.
FOREIGN_PREFIXES = ("FLASK_", "PYTHON", "GUNICORN_", "WEB_CONCURRENCY", "SANDBOX_")


class ConfigError(Exception):
    """A setting that cannot be used; the text is one line for the owner."""


@dataclass(frozen=True)
class Setting:
    """One setting; `parse` turns its text into a value, or raises ValueError with the reason."""

    name: str
    parse: Callable[[str], Any]
    help: str
    example: str
    default: Any = None


# fmt: off
SETTINGS = (
    Setting("SECRET_KEY", parsers.secret,
            "Signs the visitors' cookies. Made and kept in the data folder when unset",
            "64 random characters"),
    Setting("DATABASE_URL", read_database_url,
            "The database. An SQLite file in the data folder when unset",
            "postgresql://user:password@localhost/shop"),
    Setting("SHOP_DATA_DIR", parsers.directory,
            "Where database and secrets are kept; `instance` beside wsgi.py when unset",
            "/home/you/shop-data", ROOT / "instance"),
    Setting("SHOP_PUBLIC_URL", parsers.web_address,
            "The shop's address on the web; needed for real payments", "https://shop.example"),
    Setting("SHOP_SANDBOX", parsers.switch,
            "Pay with play money: on, off, or by itself while the shop is on your machine", "on"),
    Setting("SHOP_NAME", parsers.text, "The name above every page", "Corner Shop", "Corner Shop"),
    Setting("SHOP_CURRENCY", parsers.currency, "The currency of all prices", "jpy", "jpy"),
    Setting("SHOP_TIMEZONE", parsers.time_zone,
            "Whose days the shop counts", "Asia/Tokyo", "Asia/Tokyo"),
    Setting("SHOP_LOCALE", parsers.choice(*LANGUAGES),
            "The language where the visitor's is not known", "en", "en"),
    Setting("STRIPE_SECRET_KEY", parsers.prefixed("sk_test_", "rk_test_", "sk_live_", "rk_live_"),
            "Your secret (or restricted) key at Stripe", "sk_test_…"),
    Setting("STRIPE_PUBLISHABLE_KEY", parsers.prefixed("pk_test_", "pk_live_"),
            "Your publishable key at Stripe, for the legacy card page", "pk_test_…"),
    Setting("STRIPE_WEBHOOK_SECRET", parsers.webhook_secrets,
            "The signing secret of your webhook at Stripe; several with spaces between", "whsec_…"),
    Setting("STRIPE_API_BASE", parsers.web_address,
            "Another server that speaks Stripe, for tests", "http://127.0.0.1:5001"),
    Setting("STRIPE_CHECKOUT_ORIGINS", parsers.origins,
            "Your own checkout domains at Stripe, with spaces between",
            "https://pay.shop.example", ()),
    Setting("SHOP_LEGACY_CHARGE", parsers.switch,
            "The legacy card page: on or off; by itself on in the sandbox alone", "off"),
    Setting("MAIL_URL", parsers.mail_url,
            "How mail leaves: console: prints it, smtp:// and smtps:// send it",
            "smtp://user:password@mail.example:587", "console:"),
    Setting("SHOP_MAIL_FROM", parsers.mail_address,
            "The sender of the shop's mail", "shop@shop.example", "shop@localhost"),
    Setting("SHOP_OWNER_EMAIL", parsers.mail_address,
            "Who is told of new orders; SHOP_MAIL_FROM when unset", "you@shop.example"),
    Setting("SHOP_PROXY", parsers.proxy,
            "Which headers of a proxy in front are true", "for=1,proto=1", {}),
    Setting("SHOP_BOARD_HOLD", parsers.choice("off", "links", "first", "all"),
            "Which posts wait for you: off, links, first or all", "links", "off"),
    Setting("SHOP_TASK_TOKEN", parsers.secret,
            "The password of /tasks, for hosts whose cron cannot run commands",
            "32 random characters"),
)
# fmt: on
NAMES = {setting.name for setting in SETTINGS}


def load(environ: Mapping[str, Any]) -> dict[str, Any]:
    """Return every setting by name, plus `SHOP_MODE`; raise ConfigError where one is unusable."""
    values = {setting.name: _value(setting, environ.get(setting.name)) for setting in SETTINGS}
    _refuse_contradictions(values)
    key, sandbox = values["STRIPE_SECRET_KEY"], values["SHOP_SANDBOX"]
    if sandbox is None:
        sandbox = is_loopback(values["SHOP_PUBLIC_URL"])
    values["SHOP_MODE"] = "sandbox" if sandbox else "off"
    if key:
        values["SHOP_MODE"] = "live" if _is_live(key) else "test"
    if values["SHOP_LEGACY_CHARGE"] is None:
        values["SHOP_LEGACY_CHARGE"] = values["SHOP_MODE"] == "sandbox"
    if values["SHOP_OWNER_EMAIL"] is None:
        values["SHOP_OWNER_EMAIL"] = values["SHOP_MAIL_FROM"]
    return values


def load_env_file(path: Path) -> None:
    """Put the settings of a `.env` file into the environment, which wins where both name one.

    Raises ConfigError for a name that is no setting: nobody else reads this file. A line that
    cannot be read is left out; dotenv logs a warning with its number.
    """
    from dotenv import dotenv_values  # a host that sets the environment itself needs no dotenv

    try:
        values = dotenv_values(path)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path.name}: cannot be read ({error}). Right: a UTF-8 file that the shop may read"
        ) from error
    for name, value in values.items():
        if name not in NAMES and not name.startswith(FOREIGN_PREFIXES):
            raise ConfigError(
                f"{name}: no such setting (in {path.name}). Right: a name that .env.example lists"
            )
        if value is not None:
            os.environ.setdefault(name, value)


def unknown_names(environ: Mapping[str, Any]) -> list[str]:
    """Return the names that look like ours but are no setting, usually a spelling mistake."""
    return sorted(n for n in environ if n.startswith(("SHOP_", "STRIPE_")) and n not in NAMES)


def is_loopback(url: str | None) -> bool:
    """Tell whether `url` (or none at all) can only be reached from this machine."""
    if url is None:
        return True
    try:
        host = urlsplit(url).hostname or ""
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
        key = _read_secret(path)
    except OSError as error:
        raise ConfigError(
            f"SHOP_DATA_DIR: {data_dir} cannot be used ({error.strerror}). "
            "Name a folder that the shop may write, for example /home/you/shop-data"
        ) from error
    if len(key) < 32:
        raise ConfigError(f"SECRET_KEY: {path} is damaged. Delete it, and a new one is made.")
    return key


def _make_secret(path: Path) -> None:
    """Make the file, unless another process that starts at once has made it first."""
    handle, name = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_hex(32))
        with suppress(FileExistsError):
            os.link(name, path)  # whole from the first moment
    except (OSError, AttributeError, NotImplementedError):
        # Not every disk knows links (FAT, Android, shared folders), nor does every system.
        with suppress(FileExistsError):
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w") as file:
                file.write(secrets.token_hex(32))
    finally:
        os.unlink(name)


def _read_secret(path: Path) -> str:
    # Without links another process may just be about to write.
    for _ in range(50):
        key = path.read_text(errors="replace").strip()
        if key:
            return key
        time.sleep(0.02)
    return ""


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


def _is_live(key: str | None) -> bool:
    return key is not None and key.split("_")[1] == "live"


def _refuse_contradictions(values: Mapping[str, Any]) -> None:
    key, public = values["STRIPE_SECRET_KEY"], values["STRIPE_PUBLISHABLE_KEY"]
    live = _is_live(key)
    address = values["SHOP_PUBLIC_URL"] or ""
    for wrong, reason in (
        (key and public and live != _is_live(public),
         "STRIPE_PUBLISHABLE_KEY: one key is live and the other is test. Right: both from one page "
         "of the Stripe dashboard, such as pk_test_… with sk_test_…"),
        (key and values["SHOP_SANDBOX"],
         "SHOP_SANDBOX: is on although STRIPE_SECRET_KEY is set. Right: keep one of the two"),
        (values["STRIPE_API_BASE"] and (live or not key),
         "STRIPE_API_BASE: is for test keys only. Right: remove it, or set "
         "STRIPE_SECRET_KEY=sk_test_…"),
        (live and not address.startswith("https://"),
         "SHOP_PUBLIC_URL: real payments need the shop's https address. "
         "Right: https://shop.example"),
    ):  # fmt: skip
        if wrong:
            raise ConfigError(reason)
