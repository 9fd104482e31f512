"""How the shop is reached from outside, looked over.

Each check returns a Finding, or None where there is nothing to look at.
"""

from ipaddress import ip_address
from urllib.parse import urlsplit

from flask import current_app
from flask_babel import gettext as _

from shop.config import is_loopback
from shop.doctor.host import Finding

# For connecting, and for the answer.
SECONDS = (2.0, 2.5)


def public_url() -> Finding | None:
    """Tell whether the shop knows an address at which others can reach it."""
    url, mode = current_app.config["SHOP_PUBLIC_URL"], current_app.config["SHOP_MODE"]
    if is_loopback(url):
        if mode not in ("test", "live"):
            return None
        what = _("The shop answers on this machine alone. Others cannot reach it.")
    elif url.startswith("https://"):
        return Finding("public_url", "ok", _("The shop’s address is %(url)s.", url=url))
    else:
        what = _("The shop’s address %(url)s is not encrypted.", url=url)
    todo = _("Set SHOP_PUBLIC_URL to the shop’s https address, such as https://shop.example.")
    return Finding("public_url", "look", what, todo)


def address() -> Finding | None:
    """Open the shop at its public address, as Stripe does. Not to be called in a request.

    One worker cannot answer itself.
    """
    import requests

    url = current_app.config["SHOP_PUBLIC_URL"]
    if is_loopback(url):
        return None
    words = {"url": url}
    try:
        status, target, body = _fetch(f"{url}/healthz")
    except requests.exceptions.SSLError:
        what = _("The certificate of %(url)s is not trusted.", **words)
        todo = _("Let your host make a new one (Let’s Encrypt): browsers and Stripe stay away.")
        return Finding("address", "broken", what, todo)
    except requests.RequestException as error:
        current_app.logger.warning("%s: %r", url, error)
        what = _("%(url)s does not answer to the machine that the shop runs on.", **words)
        todo = _("Some hosts cannot reach themselves: open the address on a telephone.")
        return Finding("address", "unknown", what, todo)
    if target == f"{url}/healthz":
        what = _("%(url)s leads to itself in a circle.", **words)
        todo = _("Take the redirect to https out of the web server, or tell it that it is https.")
        return Finding("address", "broken", what, todo)
    if 300 <= status < 400:
        what = _("%(url)s leads on to %(target)s. Stripe’s messages do not follow.",
                 target=target, **words)  # fmt: skip
        todo = _("Set SHOP_PUBLIC_URL to the address at which the shop itself answers.")
        return Finding("address", "broken", what, todo)
    if (status, b'"status"' in body) != (200, True):
        what = _("At %(url)s something else answers than the shop (status %(status)s).",
                 status=status, **words)  # fmt: skip
        todo = _("Look whether the address leads to this host, and whether the shop runs there.")
        return Finding("address", "broken", what, todo)
    return Finding("address", "ok", _("The shop answers at %(url)s.", **words))


def exposed() -> Finding | None:
    """Try to read the settings over the web, as thieves do. Not to be called in a request."""
    import requests

    if is_loopback(current_app.config["SHOP_PUBLIC_URL"]):
        return None
    url = f"{current_app.config['SHOP_PUBLIC_URL']}/.env"
    try:
        status = _fetch(url)[0]
    except requests.RequestException:
        status = 0
    if 200 <= status < 300:
        todo = _("Let the web server show the shop alone and none of its files. Then make new keys "
                 "at Stripe: the old ones may be stolen.")  # fmt: skip
        what = _("Everybody can read your settings and keys at %(url)s.", url=url)
        return Finding("exposed", "broken", what, todo)
    if status in (401, 403, 404, 410):
        return Finding("exposed", "ok", _("Nobody can read the settings over the web."))
    what = _("It could not be found out whether others can read %(url)s.", url=url)
    return Finding("exposed", "unknown", what, _("Open it: there must be nothing."))


def _fetch(url: str) -> tuple[int, str, bytes]:
    """Return status, Location and the first bytes that one address answers; follows nothing."""
    import requests

    headers = {"Accept-Encoding": "identity"}
    with requests.get(
        url, headers=headers, timeout=SECONDS, allow_redirects=False, stream=True
    ) as answer:
        return answer.status_code, answer.headers.get("Location", "")[:200], answer.raw.read(200)


def visit(scheme: str, remote: str | None) -> Finding | None:
    """Tell whether the shop sees a visit as it is, `remote` being the visitor's address."""
    url = current_app.config["SHOP_PUBLIC_URL"]
    if is_loopback(url):
        return None
    number = current_app.config["SHOP_PROXY"].get("x_for", 0) + 1
    todo = _("If there is a proxy before the shop, set SHOP_PROXY=for=%(number)s,proto=%(number)s.",
             number=number)  # fmt: skip
    own = urlsplit(url).scheme
    if scheme != own:
        what = _("The shop’s address begins with %(own)s, but this visit looks like %(scheme)s.",
                 own=own, scheme=scheme)  # fmt: skip
        return Finding("visit", "look", what, todo)
    try:
        is_far = ip_address(remote or "").is_global
    except ValueError:  # a socket's file has no address
        is_far = False
    if not is_far:
        what = _("This visit seems to come from a machine beside the shop (%(address)s). If all do,"
                 " they share one limit of tries.", address=remote or "?")  # fmt: skip
        return Finding("visit", "look", what, todo)
    return Finding("visit", "ok", _("The shop sees where its visitors come from."))
