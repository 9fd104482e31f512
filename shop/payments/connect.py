"""The webhook at Stripe: made, compared, repaired, and proven by a message that comes.

https://docs.stripe.com/webhooks
"""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from flask import current_app
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from sqlalchemy.exc import SQLAlchemyError

from shop.config import is_loopback
from shop.db import end_read, now, write
from shop.errors import ShopError
from shop.orders.models import new_token
from shop.payments import gateway
from shop.payments.gateway.objects import Endpoint
from shop.payments.models import forget, keep, kept, recall, remember
from shop.payments.webhook import TYPES
from shop.security import external_url

# Above the least that Stripe takes in any currency; nobody is asked to pay it.
PROOF_AMOUNT = 100_000
# A message of Stripe's within this time shows that a secret of the environment is the right one.
TRUSTED = timedelta(days=30)
# So often a delivery is written down, at most.
NOTED_EVERY = timedelta(minutes=1)
# What restricted keys call their permissions, as the dashboard has them.
PERMISSIONS = {
    "rak_webhook": "Webhook Endpoints",
    "rak_event": "Events",
    "rak_checkout_session": "Checkout Sessions",
}
PROBLEMS = {
    "missing": _l("Stripe has no webhook for this shop: nothing tells it of payments."),
    "off": _l("The webhook is switched off at Stripe."),
    "types": _l("The webhook does not send exactly what the shop needs (%(detail)s)."),
    "version": _l("The webhook speaks another version of Stripe’s API (%(detail)s)."),
    "twice": _l("Stripe has several webhooks for this address: each message comes twice."),
    "unproven": _l("No message of this webhook has reached the shop yet."),
}


class NotConnectable(ShopError):
    """The webhook cannot be made as things are; the text says what to do first."""

    status = 409
    code = "not_connectable"


@dataclass(frozen=True)
class Connection:
    """How the shop is connected, as far as it is known without asking Stripe.

    `is_waiting`: a message was asked for as a proof and has not come yet. `delivered_at`: when a
    genuine message came last, long ago for never.
    """

    url: str
    has_secret: bool
    is_waiting: bool
    delivered_at: datetime

    @property
    def state(self) -> str:
        """`connected`, `waiting` for the first message, or `off`: no secret is known."""
        if not self.has_secret:
            return "off"
        is_proven = not self.is_waiting and self.delivered_at.timestamp() > 0
        return "connected" if is_proven else "waiting"


def state() -> Connection:
    """Return how the shop is connected, from what is written down here."""
    stored = _stored()
    is_waiting = stored.get("proven", 0) < stored.get("asked", 0)
    url = external_url("payments.webhook")
    return Connection(url, bool(secrets()), is_waiting, recall("delivered"))


def secrets() -> list[str]:
    """Return the secrets that Stripe may sign with: the environment's, and our webhook's own."""
    environment = (current_app.config["STRIPE_WEBHOOK_SECRET"] or "").split()
    return [*environment, *filter(None, [_stored().get("secret")])]


def note_delivery(secret: str) -> None:
    """Write down that a genuine message came, signed with this secret; once a minute at most.

    Stripe is answered all the same where that fails.
    """
    try:
        stored, moment = _stored(), now()
        asked = stored.get("asked", 0)
        if stored.get("proven", 0) < asked and secret == stored.get("secret", secret):
            _store(proven=max(asked, int(moment.timestamp())))
        if recall("delivered") < moment - NOTED_EVERY:
            remember("delivered", moment)
    except (ShopError, SQLAlchemyError) as error:
        end_read()
        current_app.logger.warning("the delivery is not noted: %r", error)


def connect() -> None:
    """Make or repair the webhook of this shop at Stripe, and have Stripe send it a message.

    Raises NotConnectable and StripeUnreachable.
    """
    url = _reachable_url()
    with _in_words():
        _ask_permissions()
        found = [one for one in gateway.list_endpoints() if one.url == url]
        mine = _ours(found)
        if mine is None or mine.api_version != gateway.api_version():
            mine = _create(url)
        elif mine.types != set(TYPES) or not mine.is_enabled:
            gateway.update_endpoint(mine.id, TYPES)
        for other in found:
            if other.id != mine.id:
                gateway.delete_endpoint(other.id)
        _store(asked=int(now().timestamp()), proven=0)
        gateway.cause_event(_proof())


def problems() -> list[tuple[str, str]]:
    """Compare the webhook at Stripe with what the shop needs; return kinds of PROBLEMS with words.

    Raises NotConnectable and StripeUnreachable.
    """
    url = _reachable_url()
    with _in_words():
        found = [one for one in gateway.list_endpoints() if one.url == url]
    mine = _ours(found) or next(iter(found), None)
    if mine is None:
        return [("missing", str(PROBLEMS["missing"]))]
    lacking, surplus = set(TYPES) - mine.types - {"*"}, mine.types - set(TYPES)
    if "*" in mine.types:
        lacking = set()
    signs = [*(f"+{name}" for name in sorted(lacking)), *(f"−{name}" for name in sorted(surplus))]
    details = {
        "off": "" if mine.is_enabled else "off",
        "types": " ".join(signs),
        "version": "" if mine.api_version == gateway.api_version() else mine.api_version or "–",
        "twice": "" if len(found) == 1 else "twice",
        "unproven": "" if state().state == "connected" else "unproven",
    }
    return [
        (kind, str(PROBLEMS[kind] % {"detail": detail}))
        for kind, detail in details.items()
        if detail
    ]


def _reachable_url() -> str:
    """Return the webhook's address; raise NotConnectable where Stripe cannot come there."""
    config = current_app.config
    if config["SHOP_MODE"] == "off":
        raise NotConnectable(_("There is no key of Stripe’s yet. Set STRIPE_SECRET_KEY first."))
    public_url = config["SHOP_PUBLIC_URL"]
    if config["SHOP_MODE"] == "sandbox" and is_loopback(public_url):
        raise NotConnectable(
            _("On your own machine the built-in sandbox delivers its messages by itself: there is "
              "nothing to connect. To try it all the same, start the shop with SHOP_SANDBOX=on and "
              "SHOP_PUBLIC_URL set to an https address.")
        )  # fmt: skip
    if is_loopback(public_url) or not public_url.startswith("https://"):
        raise NotConnectable(
            _("Stripe sends its messages to https addresses on the internet alone, and this shop "
              "is at %(url)s. Set SHOP_PUBLIC_URL to its https address, then connect again.",
              url=external_url("board.index"))
        )  # fmt: skip
    end_read()
    return external_url("payments.webhook")


@contextmanager
def _in_words() -> Iterator[None]:
    """Turn what Stripe refuses into what the owner can do about it."""
    try:
        yield
    except gateway.StripeRefused as error:
        lacking = _permission(error)
        if lacking:
            raise _lacks([lacking]) from error
        raise NotConnectable(
            _("Stripe refused: %(said)s", said=str(error) or error.code)
        ) from error


def _permission(error: gateway.StripeRefused) -> str | None:
    """Return the permission that a restricted key lacks, as the dashboard names it."""
    found = re.search(r"'(rak_\w+)_(read|write)'", str(error))
    if found is None:
        return None
    name = PERMISSIONS.get(found[1], found[1].removeprefix("rak_").replace("_", " ").title())
    # Who may read webhooks but not make them is refused a moment later.
    return f"{name}: {'Write' if found[1] == 'rak_webhook' else found[2].title()}"


def _lacks(permissions: Sequence[str]) -> NotConnectable:
    return NotConnectable(
        _("Your restricted key lacks a permission: %(names)s. Add it to the key in Stripe’s "
          "dashboard, under Developers, API keys; nothing was changed.",
          names=", ".join(permissions))
    )  # fmt: skip


def _ask_permissions() -> None:
    """Raise NotConnectable with all that a restricted key lacks: to make webhooks, and to heal."""
    lacking = []
    moment = now()
    for ask in (
        gateway.list_endpoints,
        lambda: gateway.list_events(moment - NOTED_EVERY, moment, TYPES),
    ):
        try:
            ask()
        except gateway.StripeRefused as error:
            permission = _permission(error)
            if permission is None:
                raise
            lacking.append(permission)
    if lacking:
        raise _lacks(lacking)


def _stored() -> dict[str, Any]:
    """Return what is known of this mode's webhook: `id` and `secret` where it was made here, and
    when a proof was `asked` for and the shop `proven` by it, in seconds.
    """
    found: dict[str, Any] = json.loads(kept("webhook") or "{}")
    end_read()
    return found


def _store(**changes: Any) -> None:
    def unit() -> None:
        keep("webhook", json.dumps(json.loads(kept("webhook") or "{}") | changes))
        if "secret" in changes:
            forget("webhook key")

    write(unit)


def _ours(found: Sequence[Endpoint]) -> Endpoint | None:
    """Return the webhook whose secret the shop has, of those for its address (the newest first).

    One that was made by hand is taken for ours if a message proved its secret of late.
    """
    own_id = _stored().get("id")
    if own_id:
        return next((one for one in found if one.id == own_id), None)
    is_by_hand = (
        current_app.config["STRIPE_WEBHOOK_SECRET"] and recall("delivered") > now() - TRUSTED
    )
    return next(iter(found), None) if is_by_hand else None


def _create(url: str) -> Endpoint:
    """Make the webhook and keep its secret; where an answer was lost, the same webhook again."""

    def pending_key() -> str:
        key = kept("webhook key") or f"connect-{new_token()}"
        keep("webhook key", key)
        return key

    key = write(pending_key)
    try:
        made = gateway.create_endpoint(url, TYPES, key)
    except gateway.StripeRefused:
        write(lambda: forget("webhook key"))
        raise
    _store(id=made.id, secret=made.secret)
    return made


def _proof() -> dict[str, Any]:
    """Return the smallest session: it is ended before anybody can pay it."""
    price = {
        "currency": current_app.config["SHOP_CURRENCY"],
        "unit_amount": PROOF_AMOUNT,
        "product_data": {"name": "Connection test"},
    }
    return {
        "mode": "payment",
        "line_items": [{"price_data": price, "quantity": 1}],
        "success_url": external_url("board.index"),
    }
