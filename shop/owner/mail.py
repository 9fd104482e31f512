"""The shop's mail: what left, what did not and why, and how each message looks."""

from flask import Response, abort, current_app, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import force_locale
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l

from shop import mail
from shop.config import LANGUAGES
from shop.mail import outbox, sample
from shop.owner import bp
from shop.owner.audit import recorded
from shop.owner.story import MAILS
from shop.parsers import whole_number

PAGE_SIZE = 50
# A preview is no page of the shop: it may show what mails may, and nothing of it may act.
PREVIEW_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"
# By words in the reason why a message did not leave: what the owner does about it.
ADVICE = {
    "refused the login": _l("User or password in MAIL_URL are wrong, or no longer valid."),
    "takes no login": _l("Take the login out of MAIL_URL, or ask your mail provider for the port."),
    "refused the recipient": _l(
        "The address does not exist or its mailbox is full. Look for a typing mistake and write to "
        "the customer another way."
    ),
    "refused the sender": _l(
        "The mail server does not send for SHOP_MAIL_FROM. Use an address of that provider."
    ),
    "is not trusted": _l("Use the name in MAIL_URL that the mail server’s certificate has."),
    "no encrypted connection": _l("Try the other way: smtps:// with port 465, smtp:// with 587."),
    "offers no encryption": _l("Try the other way: smtps:// with port 465, smtp:// with 587."),
    "was not found": _l("The mail server’s name in MAIL_URL is mistyped."),
    "did not answer": _l(
        "The server is down, or your host blocks this port. Ask it, or try port 465, 587 or 2525."
    ),
    "cannot be talked to": _l(
        "The server is down, or your host blocks this port. Ask it, or try port 465, 587 or 2525."
    ),
}


@bp.get("/mail")
def mails() -> str:
    """Show the messages, the newest first, and why those that wait have not left."""
    before = whole_number(request.args.get("before", ""), None)
    found = outbox.newest(PAGE_SIZE + 1, before)[::-1]
    return render_template(
        "owner/mail.html",
        mails=[(one, _advice(one.error)) for one in found[:PAGE_SIZE]],
        next_before=found[PAGE_SIZE - 1].id if len(found) > PAGE_SIZE else None,
        names=MAILS,
        languages=LANGUAGES,
    )


@bp.post("/mail/<row:mail_id>/resend")
def resend_mail(mail_id: int) -> ResponseReturnValue:
    """Send a message once more."""
    if not recorded(lambda: outbox.resend(mail_id), "mail_resent", str(mail_id)):
        abort(404)
    flash(_("The mail is sent again."))
    return redirect(url_for("owner.mails"), 303)


@bp.post("/mail/test")
def test_mail() -> ResponseReturnValue:
    """Send a message to the owner now, and say what the mail server answered."""
    to = current_app.config["SHOP_OWNER_EMAIL"]
    recorded(mail.staff_test, "mail_tested", to)
    error = outbox.send_now("test", "staff_test")
    if error:
        flash(f"{_('The mail did not leave: %(error)s.', error=error)} {_advice(error)}".strip())
    elif current_app.config["MAIL_URL"] == "console:":
        flash(_("Mails are only printed where the shop was started. Set MAIL_URL to send them."))
    else:
        flash(_("The mail server has taken the mail to %(address)s. Has it arrived?", address=to))
    return redirect(url_for("owner.mails"), 303)


@bp.get("/mail/preview/<kind>")
def mail_preview(kind: str) -> Response:
    """Show a message as its reader sees it, about an order that is made up."""
    language = request.args.get("language", current_app.config["SHOP_LOCALE"])
    if kind not in MAILS or language not in LANGUAGES:
        abort(404)
    with force_locale(language):
        context = sample.context()
    if kind.startswith("staff"):
        context["desk"] = url_for("owner.orders_list", _external=True)
    response = Response(outbox.render(kind, language, context)[2], mimetype="text/html")
    response.headers["Content-Security-Policy"] = PREVIEW_POLICY
    return response


def _advice(error: str) -> str:
    return next((str(words) for said, words in ADVICE.items() if said in error), "")
