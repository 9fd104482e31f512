"""The form for lost links to orders. Its answer never tells whether an address is known."""

from flask import (
    copy_current_request_context,
    current_app,
    redirect,
    render_template,
    request,
    url_for,
)
from flask.typing import ResponseReturnValue
from flask_babel import gettext
from flask_babel import lazy_gettext as _l
from flask_wtf import FlaskForm
from wtforms import EmailField, Field, ValidationError

from shop.errors import wants_json
from shop.i18n import current_language
from shop.payments import bp, receipts
from shop.payments.models import email_key
from shop.throttle import Limit, TooFast, by_known_network, count

# Each may be a mail to somebody who did not ask for it. A person asks once, looks, and asks again
# when they have looked into the spam folder; an office shares a network.
RECEIPTS = 3
RECEIPTS_PER_NETWORK = 10
RECEIPTS_SECONDS = 3600


class AddressForm(FlaskForm):  # type: ignore[misc]
    """The address that an order was paid with."""

    email = EmailField(_l("E-mail address"), filters=[lambda text: (text or "").strip()])

    def validate_email(self, field: Field) -> None:
        """Refuse what no mail could be sent to."""
        if not receipts.is_address(field.data):
            raise ValidationError(receipts.BadAddress().message)


@bp.get("/orders")
def find_orders() -> ResponseReturnValue:
    """Ask for the address of lost orders, or say what follows from having asked."""
    return _page(AddressForm(), asked="asked" in request.args)


@bp.post("/orders")
def mail_orders() -> ResponseReturnValue:
    """Mail the links to the orders of an address, or show the form again with what was typed."""
    form = AddressForm(request.form)
    if not form.validate():
        if wants_json():
            raise receipts.BadAddress
        return _page(form), 422
    email, language = form.email.data or "", current_language()
    refusal = _refusal(email)
    if refusal is not None:
        return _page(form, refusal), refusal.status, refusal.headers
    answer = redirect(url_for("payments.find_orders", asked="yes"), 303)
    # Once the answer has left: how long it took would tell whether the address is known.
    mail_links = copy_current_request_context(_mail_links)
    answer.call_on_close(lambda: mail_links(email, language))
    return answer


def _mail_links(email: str, language: str) -> None:
    try:
        receipts.mail_links(email, language)
    except Exception:  # the asker has the answer: there is nobody to tell but the log
        current_app.logger.exception("the links to somebody's orders were not mailed")


def _refusal(email: str) -> TooFast | None:
    """Count the try; return what to tell who asks too often. Raise it to programs."""
    network = by_known_network(request.remote_addr, RECEIPTS_PER_NETWORK)
    address = Limit(f"address {email_key(email)}", RECEIPTS)
    try:
        count("receipts", RECEIPTS_SECONDS, address, *network)
    except TooFast as fast:
        fast.message = gettext(
            "You have asked several times now, so nothing was sent this time. Please look for our "
            "mail, in the spam folder too; you can ask again %(when)s.",
            when=fast.when,
        )
        if wants_json():
            raise
        return fast
    return None


def _page(form: AddressForm, refusal: TooFast | None = None, asked: bool = False) -> str:
    return render_template("payments/find_orders.html", form=form, refusal=refusal, asked=asked)
