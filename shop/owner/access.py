"""Who is signed in, and the one guard of the back office."""

import re
import secrets
from collections.abc import Sequence
from datetime import timedelta

from flask import Flask, Response, current_app, redirect, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_babel import lazy_gettext as _l
from flask_login import UserMixin, current_user, login_user, logout_user
from sqlalchemy import delete, select, update

from shop.db import changed_rows, db, now, write
from shop.errors import ShopError, same_address, wants_json
from shop.extensions import login
from shop.orders import states
from shop.owner import bp, owners
from shop.owner.audit import record, recorded
from shop.owner.models import Owner, OwnerSession
from shop.owner.owners import hashed
from shop.security import content_security_policy
from shop.throttle import refusal

# Signed in for so long after the last visit; the visit is written down once an hour.
SESSION_LIFETIME = timedelta(days=30)
SEEN_EVERY = timedelta(hours=1)
# What a stranger may open.
OPEN = ("owner.login", "owner.sign_in", "owner.way_in", "owner.take_way_in")
KEPT = _l(
    "You are not signed in, or no longer. Nothing was saved. What you typed is kept on this page: "
    "sign in in another tab, then continue here."
)
BROWSERS = ("Edg", "OPR", "Firefox", "Chrome", "Safari")
SYSTEMS = ("iPhone", "iPad", "Android", "Windows", "Mac OS", "Linux")


class NotSignedIn(ShopError):
    """Only an owner may do this."""

    status = 401
    code = "not_signed_in"
    title = _l("Please sign in first")
    message = _l("You are not signed in, or no longer. Nothing was changed.")


class WrongPassword(ShopError):
    """Address and password do not belong together."""

    status = 422
    code = "wrong_password"
    message = _l("Address or password is wrong. Please look at both and try again.")


class SignedIn(UserMixin):  # type: ignore[misc]
    """The owner in this browser, as Flask-Login wants it: its id is the token of the session."""

    def __init__(self, token: str, row: OwnerSession) -> None:
        self.id = token
        self.session_id = row.id
        self.owner_id = row.owner_id
        self.email = row.owner.email


def init_access(app: Flask) -> None:
    """Let Flask-Login find an owner by the token in the cookie, where a page asks for one."""
    login.init_app(app, add_context_processor=False)
    # Nobody is remembered by a second cookie. No name has a semicolon, so none is ever found.
    app.config["REMEMBER_COOKIE_NAME"] = ";"
    # Its own check ends the session of every telephone that changes its network.
    login.session_protection = None
    login.user_loader(_signed_in)


@bp.before_request
def guard() -> ResponseReturnValue | None:
    """Let nobody but an owner into the back office: strangers are asked to sign in."""
    if request.endpoint in OPEN:
        return None
    if current_user.is_authenticated:
        states.act_as(current_user.email, "office")
        return None
    if request.method in ("GET", "HEAD") and not wants_json():
        return redirect(
            url_for("owner.login", next=request.script_root + request.full_path.rstrip("?")), 303
        )
    error = NotSignedIn(KEPT if same_address() else "")
    error.resend_to = same_address()
    raise error


@bp.after_request
def keep_forms_inside(response: Response) -> Response:
    """Let the forms of the back office lead nowhere else: nobody pays here."""
    policy = content_security_policy(current_app.config, pays=False)
    response.headers.setdefault("Content-Security-Policy", policy)
    return response


def way_on(wanted: str | None) -> str:
    """Return where an owner goes after signing in: the wanted page of the back office, or Today."""
    start = url_for("owner.today")
    return wanted if wanted and wanted.startswith(start) and wanted.isprintable() else start


def sign_in(email: str, password: str) -> None:
    """Sign an owner in in this browser; raise WrongPassword. Called outside write()."""
    owner = owners.find(email)
    password_hash = owners.hash_of(owner)
    if not owners.is_password(password_hash, password) or owner is None:
        raise WrongPassword
    open_session(owner.id, password_hash)


def open_session(owner_id: int, password_hash: str) -> None:
    """Sign this browser in, in a session of its own, whatever it was signed in as before.

    Raises WrongPassword where the owner has got another password meanwhile.
    """
    token, browser = secrets.token_urlsafe(32), browser_name(request.user_agent.string)
    before = current_user.session_id if current_user.is_authenticated else 0

    # Holds the owner's row: a change of the password comes before, or ends this session too.
    same = update(Owner).where(Owner.id == owner_id, Owner.password_hash == password_hash)

    def unit() -> OwnerSession:
        if not changed_rows(same.values(password_hash=password_hash)):
            raise WrongPassword
        row = OwnerSession(token_hash=hashed(token), owner_id=owner_id, browser=browser)
        db.session.add(row)
        over = OwnerSession.seen_at < now() - SESSION_LIFETIME
        changed_rows(delete(OwnerSession).where(over | (OwnerSession.id == before)))
        db.session.flush()
        record("signed_in", browser, row.owner.email)
        return row

    row = write(unit)
    # Whoever knew the form token of before may not use it in the owner's name.
    session.pop("csrf_token", None)
    login_user(SignedIn(token, row))


def sign_out() -> None:
    """End the session of this browser."""
    gone = delete(OwnerSession).where(OwnerSession.id == current_user.session_id)
    recorded(lambda: changed_rows(gone), "signed_out")
    logout_user()
    session.pop("csrf_token", None)


def sessions() -> Sequence[OwnerSession]:
    """Return the sessions of the owner who is signed in, the latest first."""
    mine = select(OwnerSession).where(OwnerSession.owner_id == current_user.owner_id)
    return db.session.scalars(mine.order_by(OwnerSession.seen_at.desc(), OwnerSession.id)).all()


def end_session(session_id: int) -> None:
    """End one session of the owner who is signed in."""
    gone = delete(OwnerSession).where(OwnerSession.owner_id == current_user.owner_id)
    this = gone.where(OwnerSession.id == session_id)
    recorded(lambda: changed_rows(this), "session_ended")


def change_password(old: str, new: str) -> None:
    """Give the owner who is signed in a new password and sign all other browsers out.

    Raises WrongPassword and BadPassword.
    """
    owner = db.session.get_one(Owner, current_user.owner_id)
    if not owners.is_password(owner.password_hash, old):
        raise WrongPassword(_l("This is not your present password."))
    password_hash, session_id = owners.hash_password(new, owner.email), current_user.session_id

    def unit() -> None:
        owners.set_password(current_user.owner_id, password_hash)
        owners.end_sessions(current_user.owner_id, but=session_id)

    recorded(unit, "password_changed")


def confirm_password(password: str) -> None:
    """Raise WrongPassword unless it is that of the owner who is signed in, TooFast after many."""
    fast = refusal("login", f"account {current_user.email}")
    if fast is not None:
        raise fast
    owner = db.session.get_one(Owner, current_user.owner_id)
    if not owners.is_password(owner.password_hash, password):
        raise WrongPassword(_l("This is not your password. Nothing was done."))


def sign_out_elsewhere() -> None:
    """End all sessions of the owner who is signed in but the one in this browser."""
    me = current_user
    recorded(lambda: owners.end_sessions(me.owner_id, but=me.session_id), "signed_out_elsewhere")


def take_link(token: str, owner: Owner, password: str) -> bool:
    """Set a new password by a way in, sign all others out and this browser in.

    Returns False where somebody was faster. Raises BadPassword.
    """
    owner_id, email = owner.id, owner.email
    password_hash = owners.hash_password(password, email)

    def unit() -> bool:
        if not owners.set_password(owner_id, password_hash, by_link=token):
            return False
        owners.end_sessions(owner_id)
        record("password_changed", who=email)
        return True

    if not write(unit):
        return False
    open_session(owner_id, password_hash)
    return True


def browser_name(agent: str) -> str:
    """Return a browser in two words, as its owner knows it: “Safari, iPhone”."""
    names = {"Edg": "Edge", "OPR": "Opera", "Mac OS": "Mac"}
    found = [
        next((name for name in known if re.search(rf"\b{name}", agent)), None)
        for known in (BROWSERS, SYSTEMS)
    ]
    return ", ".join(names.get(name, name) for name in found if name)


def _signed_in(token: str) -> SignedIn | None:
    row = db.session.scalar(select(OwnerSession).where(OwnerSession.token_hash == hashed(token)))
    if row is None or row.seen_at < now() - SESSION_LIFETIME or not owners.may_enter(row.owner):
        return None
    user = SignedIn(token, row)
    if row.seen_at < now() - SEEN_EVERY:
        seen = update(OwnerSession).where(OwnerSession.id == row.id).values(seen_at=now())
        write(lambda: changed_rows(seen))
        session.modified = True  # the signature of the cookie grows old too
    return user
