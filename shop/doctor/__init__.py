"""The self-check: looks the shop over, and keeps what was found."""

import json
from collections.abc import Callable, Iterable, Mapping
from time import monotonic

from flask import current_app
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from sqlalchemy.exc import SQLAlchemyError

from shop.config import is_loopback
from shop.db import end_read, now, write
from shop.doctor import host, partners, reach, upkeep
from shop.doctor.host import Finding
from shop.errors import ShopError
from shop.payments.models import keep, kept

# Of all checks together: a visitor may wait behind the owner.
MOST_SECONDS = 20.0
VERDICTS = {
    "broken": _l("Broken"),
    "look": _l("Worth a look"),
    "unknown": _l("Not known"),
    "ok": _l("Fine"),
}
TITLES = {
    "visit": _l("Visits"),
    "python": _l("Python"),
    "packages": _l("Packages"),
    "data": _l("Data folder"),
    "disk": _l("Room on the disk"),
    "secret": _l("The shop’s secret"),
    "settings_file": _l("Settings file"),
    "database": _l("Database"),
    "integrity": _l("Database file"),
    "public_url": _l("Public address"),
    "address": _l("The shop from outside"),
    "exposed": _l("Settings from outside"),
    "stripe": _l("Stripe key"),
    "clock": _l("Clock"),
    "webhook": _l("Webhook secret"),
    "endpoint": _l("Webhook at Stripe"),
    "delivery": _l("Stripe’s messages"),
    "mail": _l("Mail server"),
    "owner_email": _l("Your mail address"),
    "outbox": _l("Waiting mails"),
    "cron": _l("Regular tasks"),
    "books": _l("Books"),
    "backup": _l("Backup"),
    "legal": _l("Legal notice"),
    "card": _l("Legacy card page"),
    "goods": _l("Goods on the shelf"),
    "owners": _l("Owners"),
}


Check = Callable[[], Finding | None]
# What the database and the machine know at once: done anew whenever somebody looks.
QUICK: dict[str, Check] = {
    "python": host.python, "data": host.data, "disk": host.disk, "secret": host.secret,
    "settings_file": host.settings_file, "public_url": reach.public_url,
    "webhook": partners.webhook, "delivery": partners.delivery,
    "owner_email": partners.owner_email, "outbox": partners.waiting_mails, "cron": upkeep.cron,
    "books": upkeep.books, "backup": upkeep.backup, "legal": upkeep.notice, "card": upkeep.card,
    "goods": upkeep.goods, "owners": upkeep.owners,
}  # fmt: skip
SLOW: dict[str, Check] = {
    "packages": host.packages, "database": host.database, "integrity": host.integrity,
    "stripe": partners.stripe, "clock": partners.clock, "mail": partners.mail,
    "endpoint": partners.endpoint,
}  # fmt: skip
# What no request may do: one worker cannot answer itself.
FROM_OUTSIDE: dict[str, Check] = {"address": reach.address, "exposed": reach.exposed}


def examine(from_outside: bool = False) -> list[Finding]:
    """Do every check, keep what was found, and return it, the worst first.

    `from_outside`: those too that ask the shop itself, which no request may do.
    """
    slow = SLOW | FROM_OUTSIDE if from_outside else SLOW
    found = _ask(slow | QUICK)
    try:
        _keep({name: found[name] for name in slow})
    except (ShopError, SQLAlchemyError) as error:
        end_read()
        current_app.logger.warning("the self-check is not kept: %r", error)
    return sort(found.values())


def known() -> list[Finding]:
    """Return what the quick checks find now and the others found last, the worst first."""
    found, kept = _ask(QUICK), _kept()
    is_public = not is_loopback(current_app.config["SHOP_PUBLIC_URL"])
    for name in SLOW | FROM_OUTSIDE if is_public else SLOW:
        todo = _("Press “Check now”.")
        if name in FROM_OUTSIDE:
            todo = _("Run “flask shop doctor” on the shop’s server.")
        found[name] = kept.get(name, Finding(name, "unknown", _("Not looked at yet."), todo))
    return sort(found.values())


def sort(found: Iterable[Finding | None]) -> list[Finding]:
    """Return the findings, the worst first."""
    order = list(VERDICTS)
    return sorted(filter(None, found), key=lambda one: order.index(one.verdict))


def to_see_to(found: Iterable[Finding]) -> list[Finding]:
    """Return the findings that are broken or worth a look."""
    return [one for one in found if one.verdict in ("broken", "look")]


def _ask(checks: dict[str, Check]) -> dict[str, Finding | None]:
    """Do the checks; one that fails, or for which no time is left, found nothing out."""
    until, found = monotonic() + MOST_SECONDS, dict[str, Finding | None]()
    for name, check in checks.items():
        try:
            if monotonic() > until:
                raise TimeoutError
            found[name] = check()
        except Exception as error:  # whatever it is: the others are done all the same
            current_app.logger.warning("check %s: %r", name, error)
            what = _("This could not be found out just now.")
            todo = _("Try again in a minute; the server’s log says more.")
            found[name] = Finding(name, "unknown", what, todo)
        finally:
            end_read()
    return found


def _keep(asked: Mapping[str, Finding | None]) -> None:
    """Keep what was found for this mode beside what else is kept."""
    at = int(now().timestamp())
    rows = {name: one and one.to_dict() | {"at": at} for name, one in asked.items()}
    found = {name: one and one.to_dict() | {"at": one.at} for name, one in _kept().items()}
    write(lambda: keep("check", json.dumps(found | rows, ensure_ascii=False)))


def _kept() -> dict[str, Finding | None]:
    found = json.loads(kept("check") or "{}")
    end_read()
    return {name: one and Finding(**one) for name, one in found.items() if name in TITLES}
