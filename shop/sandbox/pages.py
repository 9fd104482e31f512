"""The pages a customer sees: checkout, the bank's question, the konbini slip."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import urlsplit

from flask import Blueprint, Response, make_response, redirect, render_template, request, url_for
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response as BaseResponse

from . import cards, clock, payments
from .cards import Behaviour, Card
from .money import written
from .state import current_state
from .store import Document, Transaction
from .texts import language, words
from .validation import is_email

bp = Blueprint("pages", __name__, url_prefix="/checkout")
JAPAN = timezone(timedelta(hours=9))


@dataclass
class Form:
    """What the customer typed, and what is wrong with it by field."""

    email: str = ""
    method: str = "card"
    number: str = ""
    expiry: str = ""
    errors: dict[str, str] = field(default_factory=dict)
    declined: str = ""
    card: Card | None = None


@bp.before_request
def wind() -> None:
    """Expire what is due before anybody looks at it."""
    clock.tick(current_state().store)


@bp.get("/<session_id>")
def show(session_id: str) -> BaseResponse:
    """Show the form, or lead on where there is nothing left to pay."""
    with current_state().store.read() as tx:
        session = _session(tx, session_id)
    return _elsewhere(session) or _checkout(session, Form(session["customer_email"] or ""), 200)


@bp.post("/<session_id>")
def pay(session_id: str) -> BaseResponse:
    """Take the form: 303 onward, 402 declined, 422 where a field needs mending."""
    state = current_state()
    with state.store.write() as tx:
        session = _session(tx, session_id)
        elsewhere = _elsewhere(session)
        if elsewhere:
            return elsewhere
        form = _read(session, tx.now)
        why = None if form.errors else _confirm(tx, session, form)
    if form.errors:
        return _checkout(session, form, 422)
    state.dispatcher.deliver_due(tx.raised)
    return _onward(session, form, why)


def _confirm(tx: Transaction, session: Document, form: Form) -> Behaviour | None:
    if form.card:
        return payments.pay_by_card(tx, session, form.email, form.card)
    voucher_url = url_for("pages.voucher", session_id=session["id"], _external=True)
    payments.issue_voucher(tx, session, form.email, voucher_url)
    return None


def _onward(session: Document, form: Form, why: Behaviour | None) -> BaseResponse:
    if why is not None:
        text = _words(session)
        form.declined = text.get(f"declined_{why.decline_code or why.code}", text["declined"])
        return _checkout(session, form, 402)
    if session["status"] == "open":
        return redirect(url_for("pages.challenge", session_id=session["id"]), 303)
    return _elsewhere(session) or _checkout(session, form, 200)


@bp.get("/<session_id>/challenge")
def challenge(session_id: str) -> BaseResponse:
    """Show the bank's question."""
    with current_state().store.read() as tx:
        session = _session(tx, session_id)
    elsewhere = _elsewhere(session)
    if elsewhere:
        return elsewhere
    if not session["_"].get("asked"):
        return redirect(url_for("pages.show", session_id=session_id), 303)
    return _page("challenge.html", session)


@bp.post("/<session_id>/challenge")
def answer(session_id: str) -> BaseResponse:
    """Take the answer to the bank's question: `result` is `complete` or `fail`."""
    state = current_state()
    result = request.form.get("result")
    with state.store.write() as tx:
        session = _session(tx, session_id)
        elsewhere = _elsewhere(session)
        if elsewhere:
            return elsewhere
        if not session["_"].get("asked"):
            return redirect(url_for("pages.show", session_id=session_id), 303)
        if result not in ("complete", "fail"):
            return _page("challenge.html", session, status=422)
        why = payments.answer_bank(tx, session, agreed=result == "complete")
    state.dispatcher.deliver_due(tx.raised)
    return _onward(session, Form(session["_"]["email"]), why)


@bp.get("/<session_id>/voucher")
def voucher(session_id: str) -> BaseResponse:
    """Show the slip to pay at a convenience store."""
    with current_state().store.read() as tx:
        session = _session(tx, session_id)
    if not session["_"].get("slip"):
        return redirect(url_for("pages.show", session_id=session_id), 303)
    slip = session["_"]["slip"]
    until = datetime.fromtimestamp(slip["expires_at"], JAPAN)
    return _page("voucher.html", session, slip=slip, until=until)


def _session(tx: Transaction, session_id: str) -> Document:
    session = tx.get(session_id, "checkout.session")
    if session is None:
        raise NotFound
    return session


def _elsewhere(session: Document) -> BaseResponse | None:
    """Return where to go from a session that is no longer open, None where it is."""
    if session["status"] == "open":
        return None
    if session["status"] == "expired":
        return _page("expired.html", session, status=410)
    if session["_"].get("slip"):
        return redirect(url_for("pages.voucher", session_id=session["id"]), 303)
    return redirect(success_url(session), 303)


def success_url(session: Document) -> str:
    """Return where the shop wants its paid customers."""
    url: str = session["success_url"]
    return url.replace("{CHECKOUT_SESSION_ID}", session["id"])


def _read(session: Document, now: int) -> Form:
    """Return what the form holds, with an error beside every field that needs mending."""
    given = request.form
    form = Form(
        email=cards.plain(given.get("email", "")),
        method=given.get("method", "card"),
        number=cards.plain(given.get("number", "")),
        expiry=cards.plain(given.get("expiry", "")),
    )
    text = _words(session)
    if not is_email(form.email):
        form.errors["email"] = text["bad_email"]
    if form.method not in session["payment_method_types"]:
        form.errors["method"] = text["bad_method"]
        form.method = session["payment_method_types"][0]
    elif form.method == "card":
        _read_card(form, given.get("cvc", ""), now, text)
    return form


def _read_card(form: Form, cvc: str, now: int, text: Mapping[str, str]) -> None:
    number, expiry, cvc = cards.digits(form.number), cards.expiry(form.expiry), cards.plain(cvc)
    if not cards.plausible(number):
        form.errors["number"] = text["bad_number"]
    if expiry is None:
        form.errors["expiry"] = text["bad_expiry"]
    elif cards.expired(*expiry, now):
        form.errors["expiry"] = text["past_expiry"]
    if not (cvc.isascii() and cvc.isdecimal() and len(cvc) in (3, 4)):
        form.errors["cvc"] = text["bad_cvc"]
    if expiry and not form.errors:
        form.card = cards.card(number, *expiry)


def _words(session: Document) -> Mapping[str, str]:
    return words(language(session["locale"], request.accept_languages))


def _checkout(session: Document, form: Form, status: int) -> Response:
    return _page("checkout.html", session, status=status, form=form)


def _page(template: str, session: Document, status: int = 200, **context: Any) -> Response:
    text = _words(session)
    currency = session["currency"]
    html = render_template(
        template,
        session=session,
        text=text,
        money=lambda amount: written(amount, currency),
        success_url=success_url(session),
        back_url=session["cancel_url"],
        **context,
    )
    response = make_response(html, status)
    # Browsers hold form-action against the redirect that answers a form, too.
    targets = {_origin(url) for url in (session["success_url"], session["cancel_url"]) if url}
    response.headers["Content-Security-Policy"] = policy(sorted(targets))
    return response


def policy(form_targets: list[str] | None = None) -> str:
    """Return the Content-Security-Policy of a page whose forms may lead to those origins."""
    targets = " ".join(["'self'", *(form_targets or [])])
    return (
        "default-src 'none'; style-src 'self'; img-src 'self' data:; base-uri 'none';"
        f" frame-ancestors 'none'; form-action {targets}"
    )


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
