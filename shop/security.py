"""Headers, hosts, cookies, proxies, and forms of other sites."""

import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

from flask import Config, Flask, Response, current_app, g, has_request_context, request, session
from flask.sessions import SecureCookieSessionInterface
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_wtf.csrf import CSRFError, CSRFProtect
from itsdangerous import URLSafeTimedSerializer
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.routing import BaseConverter, IntegerConverter

from shop.config import is_loopback
from shop.parsers import DEFAULT_PORTS

T = TypeVar("T")
# In the data folder, of a shop without a public URL: the port is chosen when it is started.
ADDRESS_FILE = "address"
BODY_LIMIT = 1024 * 1024
FILES_LIMIT = 64 * 1024 * 1024
STRIPE_JS = "https://js.stripe.com"
# What the content security policy of every page begins with.
SAME_EVERYWHERE = (
    "default-src 'none'; style-src 'self'; font-src 'self'; base-uri 'none'; object-src 'none'; "
    "frame-ancestors 'none'"
)
# What search engines may list and browsers keep, by endpoint or blueprint. All else is private.
PUBLIC = (
    "board", "catalog.index", "catalog.product", "catalog.picture", "catalog.legal_notice",
    "catalog.privacy", "catalog.sitemap", "static", "bootstrap.static", "robots", "accent",
)  # fmt: skip


class FormProtection(CSRFProtect):  # type: ignore[misc]
    """Flask-WTF's token, and a check of the site from which the browser says the form came."""

    def protect(self, apply_exemptions: bool = False) -> None:
        """Raise CSRFError unless the form is ours."""
        super().protect(apply_exemptions)
        if g.get("csrf_valid") and not is_same_origin():
            raise CSRFError(_("The form came from another site."))


class RowIdConverter(IntegerConverter):
    """A row's id in an address; a number that is larger than the databases count is a plain 404."""

    # Werkzeug's own takes the digits of every script.
    regex = r"[0-9]{1,19}"

    def __init__(self, map: Any) -> None:  # noqa: A002 — werkzeug's name
        super().__init__(map, max=2**63 - 1)


class ColourConverter(BaseConverter):
    """Six digits of a colour in an address."""

    regex = "[0-9a-f]{6}"


class SessionCookie(SecureCookieSessionInterface):
    """Flask's signed cookie, with the strictest name and path that the shop's address allows."""

    def __init__(self, app: Flask) -> None:
        # There is always a key.
        usual = cast("URLSafeTimedSerializer", super().get_signing_serializer(app))
        signer = usual.make_signer(self.salt)
        self._serializer = URLSafeTimedSerializer(
            [signer.derive_key(key) for key in usual.secret_keys],
            serializer=self.serializer,
            signer_kwargs={"key_derivation": "none", "digest_method": self.digest_method},
        )

    def get_signing_serializer(self, app: Flask) -> URLSafeTimedSerializer:
        """Return what signs and reads the cookie, with its keys derived once and not each time."""
        return self._serializer

    def get_cookie_path(self, app: Flask) -> str:
        """Return the folder that the shop is mounted at."""
        return (request.script_root or "") + "/"

    def get_cookie_name(self, app: Flask) -> str:
        """Return the name, with the prefix that makes browsers enforce Secure and the path."""
        if not app.config["SESSION_COOKIE_SECURE"]:
            return "session"
        return "__Secure-session" if request.script_root else "__Host-session"


def init_security(app: Flask) -> None:
    """Set up cookies, host and origin checks, and the headers of every answer."""
    app.url_map.converters |= {"row": RowIdConverter, "colour": ColourConverter}
    app.extensions["latest_root"] = None
    app.extensions["address"] = "http://127.0.0.1:5000/"
    with suppress(OSError):
        app.extensions["address"] = (app.config["SHOP_DATA_DIR"] / ADDRESS_FILE).read_text()
    app.session_interface = SessionCookie(app)
    app.config.update(
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_SECURE=(app.config["SHOP_PUBLIC_URL"] or "").startswith("https://"),
        MAX_CONTENT_LENGTH=BODY_LIMIT,
        MAX_FORM_MEMORY_SIZE=BODY_LIMIT,
        WTF_CSRF_TIME_LIMIT=None,
        # Privacy tools cut the Referer; is_same_origin() reads headers that they leave alone.
        WTF_CSRF_SSL_STRICT=False,
    )
    app.config["CONTENT_SECURITY_POLICY"] = content_security_policy(app.config)
    app.jinja_env.globals["is_public"] = is_public
    app.before_request(_check_host)
    app.before_request(_limit_body)
    app.after_request(partial(_add_headers, _headers(app.config)))


def takes_files(view: Callable[..., T]) -> Callable[..., T]:
    """Let a view take as many bytes as a few pictures have."""
    view.body_limit = FILES_LIMIT  # type: ignore[attr-defined]
    return view


def trust_proxy(app: Flask) -> None:
    """Trust the headers of the proxy in front that SHOP_PROXY names."""
    if app.config["SHOP_PROXY"]:
        trusted = {"x_for": 0, "x_proto": 0} | app.config["SHOP_PROXY"]
        app.wsgi_app = ProxyFix(app.wsgi_app, **trusted)  # type: ignore[method-assign]


def visitor() -> str:
    """Return the visitor's id: the same in all tabs of a browser, made with the first page."""
    return str(session.setdefault("visitor", secrets.token_urlsafe(16)))


def external_url(endpoint: str, **values: Any) -> str:
    """Return the full address of a page for Stripe and for mails, under the public URL alone.

    Where none is set, the shop answers loopback names only and the request's is good; a command
    takes the one of the latest visit.
    """
    base = current_app.config["SHOP_PUBLIC_URL"]
    if base is None:
        base = request.url_root if has_request_context() else current_app.extensions["address"]
    parts = urlsplit(base)
    adapter = current_app.url_map.bind(parts.netloc, parts.path, url_scheme=parts.scheme)
    return adapter.build(endpoint, values, force_external=True)


def has_public_address() -> bool:
    """Tell whether others can load a picture from here: Stripe's page, mail programs."""
    return (current_app.config["SHOP_PUBLIC_URL"] or "").startswith("https://")


def no_store(answer: ResponseReturnValue) -> Response:
    """Return the answer as one that browsers and proxies forget at once."""
    response = current_app.make_response(answer)
    response.headers["Cache-Control"] = "no-store"
    return response


def is_public() -> bool:
    """Tell whether the page that is asked for is the same for everybody, or close to it."""
    return request.endpoint in PUBLIC or request.blueprint in PUBLIC


def robots() -> Response:
    """Return robots.txt: where crawlers find nothing to read.

    Orders are not named in it: what a crawler may not read cannot tell it that it is not to be
    listed.
    """
    paths = ("/cart", "/payments/", "/sandbox/")
    lines = "".join(f"Disallow: {request.script_root}{path}\n" for path in paths)
    lines += f"Sitemap: {external_url('catalog.sitemap')}\n"
    return Response(f"User-agent: *\n{lines}", mimetype="text/plain")


def content_security_policy(config: Any, script: str | None = None, pays: bool = True) -> str:
    """Return what a page may load and where its forms may lead.

    `script`: the origin of Stripe.js; without `pays` no form leads to a payment page.

    https://docs.stripe.com/security/guide#content-security-policy
    """
    # Browsers check the redirect that follows a form against form-action too.
    payment = ["https://checkout.stripe.com", *config["STRIPE_CHECKOUT_ORIGINS"]] if pays else []
    if pays and config["STRIPE_API_BASE"]:
        payment.append("{0.scheme}://{0.netloc}".format(urlsplit(config["STRIPE_API_BASE"])))
    scripts = asked = [script] if script else []
    frames: list[str] = []
    pictures = ["data:"]
    if script == STRIPE_JS:
        scripts = [STRIPE_JS, "https://*.js.stripe.com"]
        frames = [*scripts, "https://hooks.stripe.com"]
        asked = ["https://api.stripe.com"]
        pictures = ["data:", "https://*.stripe.com"]
    sources = {
        "script-src": ["'self'", *scripts],
        "img-src": ["'self'", *pictures],
        "connect-src": ["'self'", *asked],
        "frame-src": frames,
        "form-action": ["'self'", *payment],
    }
    more = [f"{name} {' '.join(values)}" for name, values in sources.items() if values]
    return "; ".join([SAME_EVERYWHERE, *more])


def is_allowed_host(host: str, public_url: str | None) -> bool:
    """Tell whether the shop answers at `host`: its public address alone, or any loopback name."""
    if public_url is None:
        return is_loopback(f"http://{host}")
    own = urlsplit(public_url)
    default = "" if own.port else f":{DEFAULT_PORTS[own.scheme]}"
    return host.lower() in (own.netloc, own.netloc + default)


def is_same_origin() -> bool:
    """Tell whether a request comes from a page of the shop, by what the browser says of it."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = request.headers.get("Origin")
    own = urlsplit(current_app.config["SHOP_PUBLIC_URL"] or request.host_url)
    return origin is None or origin == f"{own.scheme}://{own.netloc}".lower()


def _check_host() -> ResponseReturnValue | None:
    """Refuse a forged Host before any address is built from it."""
    if request.endpoint == "healthz":
        return None
    root = request.scheme, request.host, request.script_root
    if root == current_app.extensions["latest_root"]:
        return None
    # A path that begins with // would be taken for the name of another host in a redirect.
    is_path = not request.script_root.startswith("//")
    public_url = current_app.config["SHOP_PUBLIC_URL"]
    if is_path and is_allowed_host(request.host, public_url):
        if public_url is None and request.url_root != current_app.extensions["address"]:
            _remember_address(request.url_root)
        current_app.extensions["latest_root"] = root
        return None
    return Response("400: this shop does not answer at this address.\n", 400, mimetype="text/plain")


def _limit_body() -> None:
    """Let a form with files be larger than others; its token is looked for in it first of all."""
    if request.method == "POST":
        view = current_app.view_functions.get(request.endpoint or "")
        request.max_content_length = getattr(view, "body_limit", BODY_LIMIT)


def _remember_address(root: str) -> None:
    """Keep where the shop is visited, for the mails that commands write in other processes."""
    with suppress(OSError):
        (current_app.config["SHOP_DATA_DIR"] / ADDRESS_FILE).write_text(root)
        current_app.extensions["address"] = root


def _headers(config: Config) -> dict[str, str]:
    headers = {
        "Content-Security-Policy": config["CONTENT_SECURITY_POLICY"],
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "same-origin",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=()",
    }
    if config["SESSION_COOKIE_SECURE"]:
        headers["Strict-Transport-Security"] = "max-age=31536000"
    return headers


def _add_headers(headers: Mapping[str, str], response: Response) -> Response:
    there = {name for name, _ in response.headers}
    response.headers.extend({name: headers[name] for name in headers.keys() - there})
    if response.status_code == 308:
        # Werkzeug names scheme and host; where TLS ends elsewhere it would name http.
        parts = urlsplit(response.headers["Location"])
        path = "/" + parts.path.lstrip("/")
        response.headers["Location"] = parts._replace(scheme="", netloc="", path=path).geturl()
    if not is_public():
        response.headers.setdefault("Cache-Control", "no-store")
    if response.status_code >= 400 or not is_public():
        response.headers.setdefault("X-Robots-Tag", "noindex")
    if response.mimetype == "text/html":
        response.headers.setdefault("Cache-Control", "private, no-cache")
    return response
