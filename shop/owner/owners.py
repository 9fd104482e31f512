"""The owners: their addresses, passwords, and ways in without one."""

import secrets
from datetime import timedelta
from hashlib import sha256

from flask import current_app
from flask_babel import lazy_gettext as _l
from sqlalchemy import delete, select, update
from werkzeug.security import check_password_hash, generate_password_hash

from shop.config import is_loopback
from shop.db import changed_rows, db, is_key, now, write
from shop.errors import ShopError
from shop.owner.audit import record
from shop.owner.models import Owner, OwnerSession
from shop.parsers import is_mail_address

METHOD = "scrypt:32768:8:3"
# Of a password that nobody knows: whoever tries a stranger's address waits as long.
NOBODY = (
    "scrypt:32768:8:3$rKfgh35mO0Q7mfIa$5a52dd28a80520c30a640f3f5a678288fd726f76e9b0366f6f37c9c10868"
    "3b9573173850c965d94b9ca18318f62d8fe9f2ae377b75908a703d4f93a5faf3c36c"
)
SHORTEST, LONGEST = 10, 256
LINK_LIFETIME = timedelta(hours=1)
DEMO_EMAIL = "owner@example.com"
# Who acts where no owner is signed in.
COMMAND = "flask shop"


class BadPassword(ShopError):
    """The new password is too short, too long or too easy to guess."""

    status = 422
    code = "bad_password"
    message = _l(
        "Please choose a password of at least %(least)s characters that is not your address.",
        least=SHORTEST,
    )


class OwnerMissing(ShopError):
    """No owner has this address."""

    status = 404
    code = "no_owner"
    message = _l("There is no owner with this address.")


class OwnerThere(ShopError):
    """An owner has this address already."""

    status = 409
    code = "owner_there"
    message = _l("There is an owner with this address already.")


class BadOwnerAddress(ShopError):
    """An owner is to be reached by mail."""

    status = 422
    code = "bad_email"
    message = _l("This is no mail address.")


def find(email: str) -> Owner | None:
    """Return the owner with this address, None where there is none who may sign in here."""
    email = email.strip().lower()
    owner = db.session.scalar(select(Owner).where(Owner.email == email)) if is_key(email) else None
    return owner if owner is None or may_enter(owner) else None


def get(email: str) -> Owner:
    """Return the owner with this address; raise OwnerMissing."""
    owner = find(email)
    if owner is None:
        raise OwnerMissing
    return owner


def hash_of(owner: Owner | None) -> str:
    """Return the hash of the owner's password; a stranger's is that of one that nobody knows."""
    return owner.password_hash if owner else NOBODY


def is_password(password_hash: str, password: str) -> bool:
    """Tell whether this is the password; takes as long where it is nobody's."""
    return check_password_hash(password_hash, password[:LONGEST])


def add(email: str, password: str, is_demo: bool = False) -> None:
    """Make an owner; raise OwnerThere, BadOwnerAddress and BadPassword."""
    email = email.strip().lower()
    if not is_mail_address(email) or not email.isascii():
        raise BadOwnerAddress
    if find(email) is not None:
        raise OwnerThere
    fresh = hash_password(password, email)

    def unit() -> None:
        db.session.add(Owner(email=email, password_hash=fresh, is_demo=is_demo))
        record("owner_added", email, COMMAND)

    write(unit)


def make_demo_owner() -> str | None:
    """Give the owner to look around with a new password and return it; None where there is none.

    Only a shop of play money on the developer's own machine has one.
    """
    if not is_playground():
        return None
    password = secrets.token_urlsafe(12)
    owner = find(DEMO_EMAIL)
    if owner is None:
        add(DEMO_EMAIL, password, is_demo=True)
    elif owner.is_demo:
        replace_password(owner, password)
    else:
        return None
    return password


def hash_password(password: str, email: str) -> str:
    """Return the hash of a new password; raise BadPassword for one that is easily guessed."""
    too_easy = password.casefold().strip() == email or len(set(password)) < 3
    if not SHORTEST <= len(password) <= LONGEST or too_easy:
        raise BadPassword
    return generate_password_hash(password, METHOD)


def set_password(owner_id: int, password_hash: str, by_link: str | None = None) -> bool:
    """Set an owner's password and use up the way in that is open, inside write().

    Returns False where `by_link` is not the token of that way in (any more).
    """
    this = update(Owner).where(Owner.id == owner_id)
    if by_link is not None:
        this = this.where(Owner.link_hash == hashed(by_link))
    fresh = {"password_hash": password_hash, "link_hash": None, "link_ends_at": None}
    return changed_rows(this.values(fresh)) == 1


def replace_password(owner: Owner, password: str) -> None:
    """Set another password by command, and sign all browsers out; raise BadPassword."""
    owner_id, email, fresh = owner.id, owner.email, hash_password(password, owner.email)

    def unit() -> None:
        set_password(owner_id, fresh)
        end_sessions(owner_id)
        record("password_set", email, COMMAND)

    write(unit)


def end_sessions(owner_id: int, but: int | None = None) -> None:
    """End all sessions of an owner but one, inside write()."""
    changed_rows(
        delete(OwnerSession).where(OwnerSession.owner_id == owner_id, OwnerSession.id != (but or 0))
    )


def remove(owner_id: int, email: str) -> None:
    """Remove an owner with all sessions, inside write()."""
    end_sessions(owner_id)
    changed_rows(delete(Owner).where(Owner.id == owner_id))
    record("owner_removed", email, COMMAND)


def make_link(owner: Owner) -> str:
    """Return the token of a way in that works once, within an hour. An earlier one is void."""
    token, owner_id, email = secrets.token_urlsafe(32), owner.id, owner.email
    values = {"link_hash": hashed(token), "link_ends_at": now() + LINK_LIFETIME}

    def unit() -> None:
        changed_rows(update(Owner).where(Owner.id == owner_id).values(values))
        record("link_made", email, COMMAND)

    write(unit)
    return token


def find_by_link(token: str) -> Owner | None:
    """Return the owner whose way in this is, None where it is used up or over."""
    this = select(Owner).where(Owner.link_hash == hashed(token), Owner.link_ends_at > now())
    owner = db.session.scalar(this)
    return owner if owner is not None and may_enter(owner) else None


def may_enter(owner: Owner) -> bool:
    """Tell whether an owner may enter this shop; the demo's owner goes where he may not."""
    if not owner.is_demo or is_playground():
        return True
    owner_id, email = owner.id, owner.email
    write(lambda: remove(owner_id, email))
    return False


def is_playground() -> bool:
    """Tell whether this shop takes play money, on the developer's own machine."""
    config = current_app.config
    return config["SHOP_MODE"] == "sandbox" and is_loopback(config["SHOP_PUBLIC_URL"])


def hashed(token: str) -> str:
    """Return what is stored of a token: who reads the database cannot use it."""
    return sha256(token.encode()).hexdigest()
