"""Stripe and the mail server, asked; each check returns a Finding, or None where there is none."""

from datetime import timedelta
from urllib.parse import urlsplit

from flask import current_app, g
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l

from shop.config import is_loopback
from shop.db import now
from shop.doctor.host import Finding
from shop.i18n import format_moment
from shop.mail import outbox, smtp
from shop.orders import queries
from shop.parsers import visible
from shop.payments import connect
from shop.payments.gateway import StripeRefused, StripeUnreachable
from shop.payments.gateway.probe import Probe, probe
from shop.payments.models import recall
from shop.security import external_url

# Of each server that is asked.
ASK_SECONDS = 5.0
SKEW_LOOK, SKEW_BROKEN = timedelta(seconds=30), timedelta(seconds=120)
# A message of Stripe's may still be on its way.
ON_ITS_WAY = timedelta(minutes=10)
DELIVERY_GAP = timedelta(hours=1)
CONNECT = _l("Press “Connect” under “Stripe” in the back office, or run “flask shop connect”.")


def stripe() -> Finding:
    """Ask Stripe whether it takes the key, and a restricted one for what the shop reads."""
    g.pop("probe", None)
    its_mode = mode()
    if its_mode == "off":
        what = _("Nobody can buy: the shop has no Stripe key.")
        return Finding("stripe", "look", what, _("Set STRIPE_SECRET_KEY to your secret key."))
    try:
        found = g.probe = probe(ASK_SECONDS)
    except StripeRefused as error:
        what = _("Stripe refuses the shop’s question (%(reason)s).", reason=error.code)
        todo = _("Copy the secret key from Stripe’s dashboard into STRIPE_SECRET_KEY once more.")
        # Another server that speaks Stripe may know no events, and still sell.
        return Finding("stripe", "look" if error.is_about_request else "broken", what, todo)
    except StripeUnreachable:
        todo = _("Try again in a minute. If it stays so, ask your host whether programs may reach "
                 "api.stripe.com.")  # fmt: skip
        return Finding("stripe", "unknown", _("Stripe does not answer."), todo)
    if found.forbidden:
        names = ", ".join(found.forbidden)
        what = _("The restricted key may not read: %(names)s.", names=names)
        todo = _("Give the key these rights in Stripe’s dashboard.")
        return Finding("stripe", "broken", what, todo)
    said = {
        "sandbox": _("The shop’s own sandbox answers. No real money moves."),
        "test": _("Stripe takes the test key. No real money moves."),
        "live": _("Stripe takes the live key."),
    }
    return Finding("stripe", "ok", said[its_mode])


def clock() -> Finding | None:
    """Compare this machine's clock with Stripe's, as the answer to the question before has it."""
    found: Probe | None = g.get("probe")
    if mode() == "off" or (found is not None and found.skew is None and mode() == "sandbox"):
        return None
    if found is None or found.skew is None:
        what = _("The clock could not be compared with Stripe’s.")
        return Finding("clock", "unknown", what, _("Try again in a minute."))
    what = _("This machine’s clock and Stripe’s are %(seconds)s seconds apart.",
             seconds=int(found.skew.total_seconds()))  # fmt: skip
    if found.skew <= SKEW_LOOK:
        return Finding("clock", "ok", what)
    todo = _("Ask your host to set the clock. One that is five minutes ahead refuses Stripe’s "
             "messages.")  # fmt: skip
    return Finding("clock", "broken" if found.skew > SKEW_BROKEN else "look", what, todo)


def webhook() -> Finding | None:
    """Tell whether the shop can know Stripe's messages from forged ones."""
    if not is_at_stripe():
        return None
    if connect.secrets():
        return Finding("webhook", "ok", _("The secret of Stripe’s webhook is set."))
    what = _("The shop cannot take Stripe’s messages: the webhook’s secret is missing.")
    return Finding("webhook", "broken", what, str(CONNECT))


def endpoint() -> Finding | None:
    """Compare the webhook at Stripe with what the shop needs, where Stripe can reach it."""
    if not is_at_stripe() or is_loopback(current_app.config["SHOP_PUBLIC_URL"]):
        return None
    try:
        found = connect.problems()
    except connect.NotConnectable as error:
        return Finding("endpoint", "look", error.message, str(CONNECT))
    except StripeUnreachable:
        return Finding(
            "endpoint", "unknown", _("Stripe does not answer."), _("Try again in a minute.")
        )
    if not found:
        return Finding("endpoint", "ok", _("The webhook at Stripe is as the shop needs it."))
    kinds = {kind for kind, _words in found}
    # Without one the shop asks Stripe by itself; a wrong one keeps it from hearing of some things.
    verdict = "broken" if kinds & {"off", "types"} else "look"
    return Finding("endpoint", verdict, " ".join(words for _kind, words in found), str(CONNECT))


def delivery() -> Finding | None:
    """Tell when a message of Stripe's last came whose signature was right."""
    if not is_at_stripe():
        return None
    came, paid = recall("delivered"), queries.newest_paid(now() - ON_ITS_WAY)
    todo = _("Look in Stripe’s dashboard what became of the messages to %(url)s, and compare its "
             "signing secret with STRIPE_WEBHOOK_SECRET.",
             url=external_url("payments.webhook"))  # fmt: skip
    if not came.timestamp() and paid is not None:
        what = _("Orders are paid, but the shop knows of no message that Stripe has sent.")
        return Finding("delivery", "broken", what, todo)
    if not came.timestamp():
        what = _("No message of Stripe’s has come yet.")
        return Finding("delivery", "unknown", what, _("Buy something: then one must come."))
    what = _("Stripe’s last message came on %(day)s.", day=format_moment(came))
    if paid is not None and came < paid - DELIVERY_GAP:
        what += " " + _("An order was paid on %(day)s.", day=format_moment(paid))
        return Finding("delivery", "look", what, todo)
    return Finding("delivery", "ok", what)


def mail() -> Finding:
    """Talk with the mail server as far as a message to the owner goes, and send none."""
    url = current_app.config["MAIL_URL"]
    if url == "console:" and mode() == "live":
        what = _("Mails are printed on the server and reach nobody.")
        todo = _("Set MAIL_URL to your mail server, such as "
                 "smtp://user:password@mail.example:587.")  # fmt: skip
        return Finding("mail", "look", what, todo)
    if url == "console:":
        return Finding("mail", "ok", _("Mails are printed where the shop runs."))
    todo = _("Compare MAIL_URL, SHOP_MAIL_FROM and SHOP_OWNER_EMAIL with what your mail service "
             "says.")  # fmt: skip
    try:
        outbox.try_out(ASK_SECONDS)
    except (smtp.NotSent, ValueError) as error:
        if isinstance(error, smtp.NotSent) and error.is_silent:
            todo = _("Many hosts block port %(port)s. Try port 2525 of your mail service, or your "
                     "host’s own mail server.", port=smtp.port_of(urlsplit(url)))  # fmt: skip
        what = _("Mail does not get through: %(reason)s", reason=visible(str(error), 300))
        return Finding("mail", "broken", what, todo)
    return Finding("mail", "ok", _("The mail server takes mail to you."))


def owner_email() -> Finding | None:
    """Tell whether anybody hears of live orders."""
    address = current_app.config["SHOP_OWNER_EMAIL"]
    if mode() != "live":
        return None
    if address.endswith("@localhost"):
        what = _("Nobody is told of orders: mails go to %(address)s.", address=address)
        todo = _("Set SHOP_OWNER_EMAIL to your address, and SHOP_MAIL_FROM to the shop’s.")
        return Finding("owner_email", "look", what, todo)
    return Finding("owner_email", "ok", _("Orders are told to %(address)s.", address=address))


def waiting_mails() -> Finding:
    """Count the mails that have not left."""
    number = outbox.count_failed() + outbox.count_overdue()
    if not number:
        return Finding("outbox", "ok", _("No mail is late."))
    what = _("Mails that have not left: %(number)s.", number=number)
    todo = _("“flask shop mail list” says why. Once that is mended: “flask shop mail send "
             "--failed”.")  # fmt: skip
    return Finding("outbox", "look", what, todo)


def mode() -> str:
    """Return the mode that the shop is in."""
    return str(current_app.config["SHOP_MODE"])


def is_at_stripe() -> bool:
    """Tell whether payments are made at Stripe, and not in the shop's sandbox."""
    return mode() in ("test", "live")
