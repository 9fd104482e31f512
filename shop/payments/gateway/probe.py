"""A question to Stripe for the self-check: what the key may read, and what time it is there."""

import time
from calendar import timegm
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from email.utils import parsedate
from typing import TYPE_CHECKING, Any

from flask import current_app

from shop.payments.gateway import _ask

if TYPE_CHECKING:
    import stripe


@dataclass(frozen=True)
class Probe:
    """What Stripe's answers say of the shop's key and clock."""

    # How far the clocks are apart; None where the answer does not say what time it was made at.
    skew: timedelta | None
    # What a restricted key may not read, by the names in Stripe's dashboard.
    forbidden: tuple[str, ...]


def probe(seconds: float) -> Probe:
    """Ask Stripe for one thing of each kind that the shop reads; a full key may read them all.

    It takes about so many seconds at most. Raises StripeRefused for a key that Stripe does not
    take, and StripeUnreachable. https://docs.stripe.com/keys/restricted-api-keys
    """
    import stripe

    until = time.monotonic() + seconds
    is_restricted = (current_app.config["STRIPE_SECRET_KEY"] or "").startswith("rk_")

    def call(client: "stripe.StripeClient") -> Probe:
        lists: dict[str, Callable[[Any], Any]] = {
            "Events": client.v1.events.list,
            "Checkout Sessions": client.v1.checkout.sessions.list,
            "PaymentIntents": client.v1.payment_intents.list,
            "Charges and Refunds": client.v1.charges.list,
            "Disputes": client.v1.disputes.list,
        }
        said: dict[str, str] = {}
        forbidden = []
        for name, ask in list(lists.items())[: None if is_restricted else 1]:
            if time.monotonic() > until:
                raise TimeoutError("Stripe answers too slowly")
            try:
                said = dict(ask({"limit": 1}).last_response.headers)
            except stripe.PermissionError as error:
                said = dict(error.headers or {})
                forbidden.append(name)
        date = next((value for name, value in said.items() if name.lower() == "date"), None)
        moment = parsedate(date)  # always in GMT
        skew = timedelta(seconds=abs(time.time() - timegm(moment))) if moment else None
        return Probe(skew, tuple(forbidden))

    return _ask(call, timeout=(seconds / 2, seconds / 2))
