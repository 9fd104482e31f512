"""How often somebody may do something, counted in the database: all processes count together."""

import hmac
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from hashlib import sha256
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from flask import current_app, request
from flask_babel import lazy_gettext as _l
from flask_babel import ngettext
from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import Mapped, mapped_column

from shop.db import Base, Key, changed_rows, db, now, write
from shop.errors import ShopError, wants_json

# Addresses that hosts give their own machines.
INSIDE = "10.0.0.0/8 100.64.0.0/10 172.16.0.0/12 192.168.0.0/16 fc00::/7".split()
SWEPT = 100


@dataclass(frozen=True)
class Limit:
    """At most `most` tries of one visitor, order or address in `seconds`, `network` of a network.

    `strict`: a network counts although it may be that of a proxy, and so everybody's.
    """

    most: int
    network: int
    seconds: int
    message: str = _l("You were faster than the shop allows. Please try again %(when)s.")
    code: str = "too_fast"
    strict: bool = False


# fmt: off
LIMITS = {
    # A lively talk stays below, also of several people in one house; a machine does not. There are
    # no puzzles to solve here, so this is what keeps the board readable.
    "post": Limit(20, 60, 300, _l(
        "That was a lot in a short time. This text is not posted yet, but it is not lost either: "
        "it is here. Please send it again %(when)s.")),
    # A person who cannot decide, and a school class that orders together, stay below; each session
    # is an order and a call to Stripe, and a tester of stolen cards opens thousands.
    "session": Limit(60, 120, 600, _l(
        "You have begun a great many payments in a short time. Nothing was charged, and what you "
        "chose is kept. Please go on %(when)s.")),
    # Nobody has more cards to try. In a network a few people pay in the same ten minutes; a tester
    # of stolen cards sends thousands, each as a new visitor.
    "charge": Limit(5, 20, 600, _l(
        "Those were too many tries. Nothing was charged. Please try again %(when)s, or pay on "
        "Stripe's page now."), code="too_many_cards", strict=True),
    # Who has forgotten a password tries a few; a machine tries thousands, at many addresses.
    "login": Limit(10, 50, 900, _l(
        "Those were too many tries. Please try again %(when)s. Who runs this shop's server can "
        "make a way in at once: flask shop owner link.")),
    # Each may be a mail to somebody who did not ask for it. A person asks once, looks, and asks
    # again after a look into the spam folder; an office shares a network.
    "receipts": Limit(3, 10, 3600, _l(
        "You have asked several times now, so nothing was sent this time. Please look for our mail,"
        " in the spam folder too; you can ask again %(when)s.")),
}
# fmt: on


class Throttle(Base):
    """A count of tries in a window of time. Its id is an HMAC and tells nobody whose they were."""

    __tablename__ = "throttles"

    id: Mapped[str] = mapped_column(Key, primary_key=True)
    count: Mapped[int]
    ends_at: Mapped[datetime] = mapped_column(index=True)


class TooFast(ShopError):
    """A limit is used up for the next `seconds`."""

    status = 429

    def __init__(self, limit: Limit, seconds: int) -> None:
        when = ngettext("in a minute", "in %(num)d minutes", -(-seconds // 60))
        super().__init__(limit.message, when=when)
        self.code, self.retry_after = limit.code, seconds


def refusal(name: str, *who: str) -> TooFast | None:
    """Count a try; return what the form says to a person who is too fast, raise it to programs."""
    try:
        count(name, *who)
    except TooFast as fast:
        if wants_json():
            raise
        return fast
    return None


def count(name: str, *who: str, with_network: bool = True) -> None:
    """Count a try of a visitor, order or address, then of its network; raise TooFast at a limit.

    Behind a limit none counts: who is stopped takes nothing from those who share the network.
    """
    fast = write(partial(count_inside, name, *who, with_network=with_network))
    if fast:
        raise fast


def count_inside(name: str, *who: str, with_network: bool = True) -> TooFast | None:
    """Count a try inside write(), as count() does; return TooFast at a limit.

    Until that write() ends, other tries of the same visitor, order or address wait.
    """
    limit = LIMITS[name]
    budgets = dict.fromkeys(who, limit.most)
    part, is_visitors = network(request.remote_addr)
    if with_network and part and (is_visitors or limit.strict):
        budgets[f"network {part}"] = limit.network
    seconds = count_all(name, limit.seconds, budgets)
    return TooFast(limit, seconds) if seconds else None


def count_all(name: str, seconds: int, budgets: Mapping[str, int]) -> int:
    """Count inside write(), in this order; return how many seconds to wait, 0 for a try let in."""
    moment = now()
    ends_at = moment + timedelta(seconds=seconds)
    for who, most in budgets.items():
        key = _key(name, who)
        mine = update(Throttle).where(Throttle.id == key, Throttle.ends_at > moment)
        if not changed_rows(mine.values(count=Throttle.count + 1)):
            # Of two first tries at once one fails here, and write() lets it find the other's row.
            # On MariaDB an INSERT before the UPDATE would keep a lock that other UPDATEs wait for.
            _sweep(key, moment)
            changed_rows(insert(Throttle).values(id=key, count=1, ends_at=ends_at))
            continue
        window = select(Throttle.count, Throttle.ends_at).where(Throttle.id == key)
        tries, ends = db.session.execute(window).one()
        if tries > most:
            return max(1, int((ends - moment).total_seconds()))
    return 0


def forget(who: Iterable[str]) -> None:
    """Delete the counts of visitors and addresses, inside write()."""
    keys = [_key(name, one) for one in who for name in LIMITS]
    changed_rows(delete(Throttle).where(Throttle.id.in_(keys)))


def _key(name: str, who: str) -> str:
    secret = current_app.config["SECRET_KEY"].encode()
    return hmac.new(secret, f"{name} {who}".encode(), sha256).hexdigest()


def _sweep(key: str, moment: datetime) -> None:
    """Delete windows that have ended, the one of `key` first.

    They are looked for before: a DELETE of all that have ended waits for every row that is just
    written, on MariaDB even where none has ended.
    """
    has_ended = Throttle.ends_at <= moment
    ended = select(Throttle.id).where(has_ended).order_by(Throttle.id != key, Throttle.id)
    found = db.session.scalars(ended.limit(SWEPT)).all()
    if found:
        changed_rows(delete(Throttle).where(Throttle.id.in_(found), has_ended))


def network(address: str | None) -> tuple[str, bool]:
    """Return the part of an address that is one household or so, and whether it is a visitor's.

    Empty where the address cannot be read: what cannot be read is nobody's, and not everybody's.
    Where a proxy stands in front that SHOP_PROXY does not name, every visitor seems to come from
    this machine or the host's network, and the whole shop would share one budget.
    """
    ip = _read_address((address or "").strip(' "'))
    if ip is None or ip.is_unspecified:
        return "", False
    # A server that listens to both kinds says ::ffff:192.0.2.7, and all of IPv4 is one /48 of it.
    ip = getattr(ip, "ipv4_mapped", None) or ip
    inside = ip.is_loopback or ip.is_link_local or any(ip in ip_network(part) for part in INSIDE)
    return str(ip_network((int(ip), 24 if ip.version == 4 else 48), strict=False)), not inside


def _read_address(text: str) -> IPv4Address | IPv6Address | None:
    """Return the address, with or without the port that some proxies add, or None."""
    # The whole comes first: in 2001:db8::1:443 the end is no port.
    for part in (text, text.rpartition(":")[0]):
        with suppress(ValueError):
            return ip_address(part[1:-1] if part.startswith("[") and part.endswith("]") else part)
    return None
