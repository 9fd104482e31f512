"""The pages that a customer sees: checkout, 3-D Secure challenge, PayPay, konbini voucher."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import urlsplit

from flask import Blueprint, abort, make_response, redirect, render_template, request, url_for
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response

from . import clock, payments
from .cards import Behaviour
from .form import Form, country_options, fields_asked, new_form, read_form, store_answers
from .letterhead import letterhead_css
from .money import format_amount
from .state import current_state
from .store import Document, Transaction
from .texts import choose_language, custom_html, texts

bp = Blueprint("pages", __name__, url_prefix="/checkout")
QUESTION = "/<session_id>/<any(challenge, paypay):name>"
JAPAN = timezone(timedelta(hours=9))


@bp.before_request
def tick() -> None:
    """Expire sessions that are due, before one of them is shown."""
    clock.tick(current_state().store)


@bp.get("/<session_id>")
def show(session_id: str) -> Response:
    """Show the checkout form, or redirect from a session that is no longer open."""
    with current_state().store.read() as tx:
        session = _open_session(tx, session_id)
    return _page("checkout.html", session, form=new_form(session))


@bp.post("/<session_id>")
def pay(session_id: str) -> Response:
    """Pay: 303 where that worked, 402 where the card is declined, 422 where a field is wrong.

    With `apply`, only apply the promotion code and show the form again.
    """
    state = current_state()
    with state.store.write() as tx:
        session = _open_session(tx, session_id)
        form = read_form(session, request.form, tx.now, _texts(session))
        if form.errors:
            return _page("checkout.html", session, 422, form=form)
        if "apply" in request.form:
            return _page("checkout.html", tx.put(session), form=form)
        store_answers(session, form)
        decline = None
        if form.card:
            decline = payments.pay_by_card(tx, session, form.card)
        elif form.values["method"] == "paypay":
            payments.ask_paypay(tx, session, f"{request.base_url}/paypay")
        else:
            payments.issue_voucher(tx, session, f"{request.base_url}/voucher")
    state.dispatcher.deliver_due(tx.emitted)
    return _after_payment(session, form, decline)


def _after_payment(session: Document, form: Form, decline: Behaviour | None) -> Response:
    if decline is not None:
        text, code = _texts(session), decline.decline_code or decline.code
        form.declined = text.get(f"declined_{code}", text["declined"])
        return _page("checkout.html", session, 402, form=form)
    asked = {"session_id": session["id"], "name": session["_"].get("asked")}
    return _closed_response(session) or redirect(url_for("pages.question", **asked), 303)


@bp.get(QUESTION)
def question(session_id: str, name: str) -> Response:
    """Ask as the bank does for 3-D Secure ("challenge"), or as PayPay does."""
    with current_state().store.read() as tx:
        session = _open_session(tx, session_id, name)
    return _page("question.html", session, name=name)


@bp.post(QUESTION)
def answer(session_id: str, name: str) -> Response:
    """Take the answer to the question: `result` is `complete` or `fail`."""
    state = current_state()
    result = request.form.get("result")
    with state.store.write() as tx:
        session = _open_session(tx, session_id, name)
        if result not in ("complete", "fail"):
            return _page("question.html", session, 422, name=name)
        decline = payments.answer_question(tx, session, agreed=result == "complete")
    state.dispatcher.deliver_due(tx.emitted)
    return _after_payment(session, Form(session["_"]["typed"]), decline)


@bp.get("/<session_id>/voucher")
def voucher(session_id: str) -> Response:
    """Show the voucher to pay at a convenience store."""
    with current_state().store.read() as tx:
        session = _session(tx, session_id)
    if not session["_"].get("slip"):
        return redirect(url_for("pages.show", session_id=session_id), 303)
    slip = session["_"]["slip"]
    until = datetime.fromtimestamp(slip["expires_at"], JAPAN)
    return _page("voucher.html", session, slip=slip, until=until)


@bp.get("/<session_id>/accent.css")
def accent(session_id: str) -> Response:
    """Show every page of the session in the shop's colours."""
    with current_state().store.read() as tx:
        session = _session(tx, session_id)
    return make_response(letterhead_css(session), {"Content-Type": "text/css; charset=utf-8"})


def _session(tx: Transaction, session_id: str) -> Document:
    session = tx.get(session_id, "checkout.session")
    if session is None:
        raise NotFound
    return session


def _open_session(tx: Transaction, session_id: str, asked: str | None = None) -> Document:
    """Return the session; redirects where it is not open, or not `asked` that question."""
    session = _session(tx, session_id)
    closed = _closed_response(session)
    if closed:
        abort(closed)
    if asked and session["_"].get("asked") != asked:
        abort(redirect(url_for("pages.show", session_id=session_id), 303))
    return session


def _closed_response(session: Document) -> Response | None:
    """Return the response for a session that is paid, waiting or expired, None for an open one."""
    if session["status"] == "open":
        return None
    if session["status"] == "expired":
        return _page("expired.html", session, 410)
    if session["_"].get("slip"):
        return redirect(url_for("pages.voucher", session_id=session["id"]), 303)
    return redirect(success_url(session), 303)


def success_url(session: Document) -> str:
    """Return the shop's address for customers who have paid."""
    url: str = session["success_url"]
    return url.replace("{CHECKOUT_SESSION_ID}", session["id"])


def _texts(session: Document) -> Mapping[str, str]:
    return texts(choose_language(session["locale"], request.accept_languages))


def _page(template: str, session: Document, status: int = 200, **context: Any) -> Response:
    text = _texts(session)
    currency, language = session["currency"], text["lang"]
    html = render_template(
        template,
        session=session,
        text=text,
        money=lambda amount: format_amount(amount, currency),
        success_url=success_url(session),
        back_url=session["cancel_url"],
        shop=session["branding_settings"]["display_name"] or text["shop"],
        asked=fields_asked(session, language),
        countries=country_options(session, language),
        custom_html=custom_html,
        **context,
    )
    response = make_response(html, status)
    # Browsers apply form-action to the redirect after a form, too.
    targets = [url for url in (session["success_url"], session["cancel_url"]) if url]
    products = [line["price"]["_"]["product"] for line in session["_"]["lines"]]
    images = [url for product in products for url in product["images"]]
    response.headers["Content-Security-Policy"] = policy(targets, images)
    return response


def policy(form_targets: Iterable[str] = (), images: Iterable[str] = ()) -> str:
    """Return the Content-Security-Policy of a page.

    Its forms lead to itself or the origins of these addresses, and so do its pictures.
    """
    return (
        f"default-src 'none'; style-src 'self'; img-src 'self' data: {_origins(images)};"
        f" base-uri 'none'; frame-ancestors 'none'; form-action 'self' {_origins(form_targets)}"
    )


def _origins(urls: Iterable[str]) -> str:
    parts = [urlsplit(url) for url in urls]
    return " ".join(sorted({f"{part.scheme}://{part.netloc.rpartition('@')[2]}" for part in parts}))
