"""The shop: a board where visitors post and a till where they pay by card."""

import hmac
import os
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any
from zlib import crc32

from flask import Flask

if TYPE_CHECKING:
    from shop.sandbox.mount import Mount

from shop import (
    accent,
    db,
    details,
    errors,
    extensions,
    i18n,
    logs,
    mail,
    migrations,
    pages,
    security,
    stamps,
)
from shop import config as settings

# Werkzeug compiles the sandbox's addresses, which Python 3.11 cannot do in two threads at once.
_loading = Lock()


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    """Return the application.

    `config` takes the place of the environment: settings by the names of `shop.config`, and
    Flask's own (`TESTING`). Raises ConfigError for what cannot be used.
    Touches no network and no database.
    """
    app = Flask(__name__)
    _configure(app, os.environ if config is None else config)

    logs.init_logging(app)
    security.init_security(app)
    db.init_database(app)
    stamps.init_stamps(app)
    extensions.csrf.init_app(app)
    extensions.bootstrap.init_app(app)
    i18n.init_languages(app)
    errors.init_errors(app)
    pages.init_pages(app)
    migrations.init_schema(app)
    mail.init_mail(app)

    _version_static_files(app)
    _add_packages(app)
    if app.config["SHOP_MODE"] == "sandbox":
        _mount_sandbox(app)
    security.trust_proxy(app)
    return app


def _configure(app: Flask, environ: Mapping[str, Any]) -> None:
    app.config.update(settings.load(environ))
    if environ is not os.environ:
        app.config.update({k: v for k, v in environ.items() if k not in settings.NAMES})
    for name in settings.unknown_names(environ):
        app.logger.warning("%s is set, but there is no such setting. See .env.example.", name)
    if not app.config["SECRET_KEY"]:
        app.config["SECRET_KEY"] = settings.secret_key(app.config["SHOP_DATA_DIR"])
    app.config.update(
        BOOTSTRAP_SERVE_LOCAL=True,
        SEND_FILE_MAX_AGE_DEFAULT=86400,
        BABEL_DEFAULT_LOCALE=app.config["SHOP_LOCALE"],
    )


def _version_static_files(app: Flask) -> None:
    """Give a changed file a new address: browsers keep what they have for a day."""
    folder = Path(app.static_folder or "")

    @cache
    def version(filename: str) -> str | None:
        path = folder / filename
        return f"{crc32(path.read_bytes()):x}" if path.is_file() else None

    @app.url_defaults
    def add_version(endpoint: str, values: dict[str, Any]) -> None:
        if endpoint == "static" and "filename" in values:
            values["v"] = version(values["filename"])


def _add_packages(app: Flask) -> None:
    from shop import board, catalog, cli, owner, payments
    from shop.catalog import cart, deliveries, products
    from shop.owner import access, commands
    from shop.payments.views import order_waiting

    for package in (board, catalog, payments, owner):
        app.register_blueprint(package.bp)
    access.init_access(app)
    for command in (commands.owner, commands.goods, commands.demo, commands.export, commands.erase):
        cli.shop.add_command(command)
    app.cli.add_command(cli.shop)
    app.add_url_rule("/healthz", "healthz", db.health)
    app.add_url_rule("/robots.txt", "robots", security.robots)
    app.add_url_rule("/accent/<colour:colour>.css", "accent", accent.stylesheet)
    # The pages of one package show the words of another, without an import between them.
    app.jinja_env.globals.update(
        shop_window=products.window,
        cart_count=cart.count,
        order_waiting=order_waiting,
        details=details.shown,
        ways_to_send=deliveries.count,
    )


def _mount_sandbox(app: Flask) -> None:
    """Put the stand-in for Stripe under /sandbox, where the till speaks with it in this process.

    It is loaded for the first who pays or looks at it: most visitors only read the board.
    """
    public_url = app.config["SHOP_PUBLIC_URL"]
    if app.config["STRIPE_WEBHOOK_SECRET"] is None:
        # Every worker process must come to the same secret.
        digest = hmac.new(app.config["SECRET_KEY"].encode(), b"sandbox webhook", "sha256")
        app.config["STRIPE_WEBHOOK_SECRET"] = f"whsec_{digest.hexdigest()}"
    shop, mounted = app.wsgi_app, list["Mount"]()

    def mount() -> "Mount":
        from shop.sandbox.mount import Mount

        with _loading:
            if not mounted:
                mounted.append(
                    Mount(
                        shop,
                        app.config["SHOP_DATA_DIR"] / "sandbox.sqlite3",
                        webhook_secret=app.config["STRIPE_WEBHOOK_SECRET"].split()[0],
                        public_url=public_url,
                        latest_url=app.extensions["address"].rstrip("/"),
                        # Nobody but the shop may use its sandbox's API from elsewhere.
                        secret_keys=None if settings.is_loopback(public_url) else (),
                        control_allowed=lambda _environ: settings.is_loopback(public_url),
                        host_allowed=lambda host: security.is_allowed_host(host, public_url),
                    )
                )
        return mounted[0]

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if mounted or environ["PATH_INFO"].startswith(("/sandbox", "/payments")):
            return mount()(environ, start_response)
        return shop(environ, start_response)

    app.extensions["stripe_wsgi"] = lambda *args: mount().ask(*args)
    # Events leave after a request; a command that waits for one has none.
    app.extensions["deliver_events"] = lambda: mount().deliver_due()
    app.wsgi_app = answer  # type: ignore[method-assign]
