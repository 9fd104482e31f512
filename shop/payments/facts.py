"""What Stripe says, as plain frozen values. `answers` reads them."""

from dataclasses import dataclass
from datetime import datetime

# https://docs.stripe.com/api/disputes/object#dispute_object-status
DISPUTE_CLOSED = ("won", "lost", "warning_closed", "prevented")


@dataclass(frozen=True)
class Slip:
    """What a customer pays at a konbini counter with."""

    url: str | None
    expires: datetime | None


@dataclass(frozen=True)
class CheckoutSession:
    """A Checkout Session. `amount` is in minor units; `attempt` is the key it was asked for with.

    https://docs.stripe.com/api/checkout/sessions/object
    """

    id: str
    status: str
    payment_status: str
    url: str | None
    amount: int | None
    currency: str | None
    reference: str | None
    attempt: str | None
    livemode: bool
    payment_intent: str | None
    intent_status: str | None
    email: str | None
    slip: Slip | None

    @property
    def is_paid(self) -> bool:
        """Whether Stripe has the money."""
        return self.status == "complete" and self.payment_status == "paid"

    @property
    def is_awaited(self) -> bool:
        """Whether the customer has done their part and the money is still to come."""
        return self.status == "complete" and self.payment_status == "unpaid" and not self._failed

    @property
    def is_over(self) -> bool:
        """Whether no money will come through this session any more."""
        return self.status == "expired" or (self.status == "complete" and self._failed)

    @property
    def money_id(self) -> str:
        """Stripe's id of the money, under which the ledger knows it."""
        return self.payment_intent or self.id

    @property
    def _failed(self) -> bool:
        failed = self.intent_status in ("requires_payment_method", "canceled")
        return failed and self.payment_status == "unpaid"


@dataclass(frozen=True)
class Charge:
    """A charge of a card token. `amount` is in minor units.

    https://docs.stripe.com/api/charges/object
    """

    id: str
    is_paid: bool
    is_over: bool
    amount: int | None
    currency: str | None
    reference: str | None
    attempt: str | None
    livemode: bool
    email: str | None
    is_awaited = False
    slip = None
    url = None

    @property
    def money_id(self) -> str:
        """Stripe's id of the money, under which the ledger knows it."""
        return self.id


Facts = CheckoutSession | Charge


@dataclass(frozen=True)
class Refund:
    """Money that goes back. `key` is that of the ledger where it was asked for here.

    https://docs.stripe.com/api/refunds/object
    """

    id: str
    state: str
    amount: int
    currency: str
    key: str | None
    payment: tuple[str, ...]


@dataclass(frozen=True)
class Dispute:
    """A payment that the cardholder's bank takes back. `amount` is in minor units.

    https://docs.stripe.com/api/disputes/object
    """

    id: str
    state: str
    amount: int
    currency: str
    reason: str
    payment: tuple[str, ...]

    @property
    def is_closed(self) -> bool:
        """Whether nothing will change any more."""
        return self.state in DISPUTE_CLOSED


@dataclass(frozen=True)
class Event:
    """A verified event: a hint that something happened to `object_id`, to be asked for again.

    What else it says of its object is empty where it does not say it.
    https://docs.stripe.com/api/events/object
    """

    id: str
    type: str
    object_id: str
    reference: str = ""
    attempt: str = ""
    order: str = ""
    payment_intent: str = ""
    charge: str = ""
