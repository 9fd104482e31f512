"""How often somebody may do something, counted in the database: all processes count together."""

import hmac
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from hashlib import sha256
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from flask import current_app
from flask_babel import gettext as _
from flask_babel import ngettext
from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import Mapped, mapped_column

from shop.db import Base, Key, UtcDateTime, changed_rows, db, now, write
from shop.errors import ShopError

# Addresses that hosts give their own machines.
INSIDE = [
    ip_network(part)
    for part in ("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
]

SWEPT = 100


class Throttle(Base):
    """How many times one thing was done in a window of time. Who did it cannot be read from it."""

    __tablename__ = "throttles"

    id: Mapped[str] = mapped_column(Key, primary_key=True)
    count: Mapped[int]
    ends_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)


class TooFast(ShopError):
    """Something was tried more often than a person tries it; may be tried again in `seconds`."""

    status = 429
    code = "too_fast"

    def __init__(self, seconds: int) -> None:
        minutes = -(-seconds // 60)
        self.when = ngettext("in a minute", "in %(num)d minutes", minutes)
        super().__init__(
            _("You were faster than the shop allows. Please try again %(when)s.", when=self.when)
        )
        self.seconds = self.retry_after = seconds


@dataclass(frozen=True)
class Limit:
    """At most so many tries of `who`: a visitor, an order, an address, a network."""

    who: str
    most: int


def count(action: str, seconds: int, *limits: Limit) -> None:
    """Count one more try against every limit; raises TooFast where one of them is used up.

    The limits count in their order, and behind one that is used up none does: who is stopped alone
    takes nothing from those who share the network. A window is `seconds` long.
    """
    wait = write(partial(_count_all, action, seconds, limits))
    if wait:
        raise TooFast(wait)


def by_network(address: str | None, most: int) -> Limit:
    """Return the limit of the network that an address belongs to, whatever network that is."""
    return Limit(f"network {network(address)}", most)


def by_known_network(address: str | None, most: int) -> tuple[Limit, ...]:
    """Return the limit of the visitor's network, none where the address is not the visitor's.

    Where a proxy stands in front that SHOP_PROXY does not name, every visitor seems to come from
    this machine or the host's network, and the whole shop would share one budget.
    """
    ip = _parse(address)
    if ip is None or ip.is_loopback or ip.is_link_local or any(ip in part for part in INSIDE):
        return ()
    return (by_network(address, most),)


def network(address: str | None) -> str:
    """Return the part of an address that is one household or so: /24, or /48 of IPv6."""
    ip = _parse(address)
    if ip is None:
        return "unknown"
    return str(ip_network((ip, 24 if ip.version == 4 else 48), strict=False))


def _parse(address: str | None) -> IPv4Address | IPv6Address | None:
    try:
        ip = ip_address(address or "")
    except ValueError:
        return None
    # A server that listens to both kinds says ::ffff:192.0.2.7, and all of IPv4 is one /48 of it.
    return (ip.ipv4_mapped or ip) if isinstance(ip, IPv6Address) else ip


def _count_all(action: str, seconds: int, limits: tuple[Limit, ...]) -> int:
    """Count, inside write(); return after how many seconds to come again, 0 for those let in."""
    moment = now()
    keys = [_key(action, limit.who) for limit in limits]
    _sweep(moment, keys)
    for key, limit in zip(keys, limits, strict=True):
        more = update(Throttle).where(Throttle.id == key).values(count=Throttle.count + 1)
        if not changed_rows(more):
            # Of two first ones at once one fails here, and write() lets it find the other's row. On
            # MariaDB an INSERT tried first would keep a lock that the others' UPDATEs wait for.
            ends = moment + timedelta(seconds=seconds)
            changed_rows(insert(Throttle).values(id=key, count=1, ends_at=ends))
        mine = select(Throttle.count, Throttle.ends_at).where(Throttle.id == key)
        tries, ends = db.session.execute(mine).one()
        if tries > limit.most:
            return max(1, int((ends - moment).total_seconds()))
    return 0


def _sweep(moment: datetime, keys: list[str]) -> None:
    """Delete what has ended: these keys, and a good deal of the others in passing.

    They are looked for first, because a DELETE of all that has ended waits for every row that
    somebody else is just writing, on MariaDB even where nothing has ended.
    """
    has_ended = Throttle.ends_at <= moment
    ours_first = Throttle.id.not_in(keys)
    ended = select(Throttle.id).where(has_ended).order_by(ours_first, Throttle.id).limit(SWEPT)
    found = db.session.scalars(ended).all()
    if found:
        changed_rows(delete(Throttle).where(Throttle.id.in_(found), has_ended))


def _key(action: str, who: str) -> str:
    secret = current_app.config["SECRET_KEY"].encode()
    return hmac.new(secret, f"{action} {who}".encode(), sha256).hexdigest()
