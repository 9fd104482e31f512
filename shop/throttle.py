"""How often somebody may do something, counted in the database: all processes count together."""

import hmac
from datetime import datetime, timedelta
from hashlib import sha256
from ipaddress import ip_address, ip_network

from flask import current_app
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Mapped, mapped_column

from shop.extensions import (
    Base,
    Key,
    UtcDateTime,
    changed_rows,
    db,
    insert_once,
    now,
    write,
)


class Throttle(Base):
    """How many times one thing was done in a window of time. Who did it cannot be read from it."""

    __tablename__ = "throttles"

    id: Mapped[str] = mapped_column(Key, primary_key=True)
    count: Mapped[int]
    ends: Mapped[datetime] = mapped_column(UtcDateTime, index=True)


def allow(action: str, who: str, most: int, seconds: int) -> bool:
    """Count one more try of `who`; return whether it is among the first `most` in `seconds`."""
    key = _key(action, who)
    ends = now() + timedelta(seconds=seconds)

    def unit() -> int:
        changed_rows(delete(Throttle).where(Throttle.ends <= now()))
        if insert_once(Throttle, id=key, count=1, ends=ends):
            return 1
        mine = update(Throttle).where(Throttle.id == key)
        changed_rows(mine.values(count=Throttle.count + 1))
        return db.session.scalar(select(Throttle.count).where(Throttle.id == key)) or 1

    return write(unit) <= most


def network(address: str | None) -> str:
    """Return the part of an address that is one household or so: /24, or /48 of IPv6."""
    try:
        ip = ip_address(address or "")
    except ValueError:
        return "unknown"
    return str(ip_network((ip, 24 if ip.version == 4 else 48), strict=False))


def _key(action: str, who: str) -> str:
    secret = current_app.config["SECRET_KEY"].encode()
    return hmac.new(secret, f"{action} {who}".encode(), sha256).hexdigest()
