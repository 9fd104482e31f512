"""What comes of asking Stripe where it is not what was asked for. `gateway` raises these."""

from flask_babel import lazy_gettext as _l

from shop.errors import ShopError


class StripeUnreachable(ShopError):
    """Stripe did not answer, or not sensibly: what was asked may or may not have happened.

    `is_silent`: nothing came back, or only that nothing is answered now; anything else that is
    asked will fare no better.
    """

    status = 503
    code = "stripe_unreachable"
    message = _l(
        "We cannot reach the payment service just now. Nothing was charged; please try again in a "
        "minute."
    )

    def __init__(
        self, message: str = "", *, order: str | None = None, is_silent: bool = False
    ) -> None:
        super().__init__(message or str(type(self).message), order=order)
        self.is_silent = is_silent


class OutcomeUnknown(StripeUnreachable):
    """Nobody knows yet whether a payment went through."""

    message = _l(
        "Your payment is being confirmed. Nothing is charged twice: look at your order in a minute "
        "before you try again."
    )


class KeyInUse(StripeUnreachable):
    """Another request asks Stripe the very same just now, and will have the answer.

    https://docs.stripe.com/api/idempotent_requests
    """


class StripeRefused(Exception):
    """Stripe said no to a call. `code` is Stripe's own.

    `is_about_request`: it looked at what was asked, so nothing of it was done. Otherwise (a key
    that is not valid, say) nobody knows what became of an earlier call with the same key.
    """

    def __init__(self, code: str, message: str, *, is_about_request: bool) -> None:
        super().__init__(message)
        self.code = code
        self.is_about_request = is_about_request


class CardDeclined(Exception):
    """The bank or Stripe turned the card down. `reason` is Stripe's decline code, or its code.

    https://docs.stripe.com/declines/codes
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class BadSignature(ShopError):
    """What came to the webhook is not a fresh message signed by Stripe."""

    code = "bad_signature"
