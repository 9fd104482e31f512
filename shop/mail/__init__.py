"""Mail: one function per message. Each is called inside write() and fills a row of the outbox.

`customer_…` writes to the order's address in the order's language, and does nothing for an order
without an address; `staff_…` writes to the shop's owner.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Protocol

from flask import Flask, Response, current_app, request

from shop.mail import outbox
from shop.security import external_url, has_public_address

# As their signs say it. https://docs.stripe.com/payments/konbini
STORES = {
    "familymart": "FamilyMart",
    "lawson": "Lawson",
    "ministop": "MINISTOP",
    "seicomart": "Seicomart",
}


class Order(Protocol):
    """What messages read of an order; mail may not import `orders.models.Order` itself."""

    id: Any
    token: Any
    email: Any
    carrier: Any
    tracking: Any
    language: Any
    created_at: Any
    erased_at: Any

    @property
    def lines(self) -> Sequence[Any]:
        """The goods."""

    @property
    def tracking_url(self) -> str | None:
        """Where the parcel is followed."""

    @property
    def is_sent(self) -> bool:
        """Whether the goods are sent to an address."""

    @property
    def lacks_address(self) -> bool:
        """Whether it is not known, or not quite, where they are to be sent."""

    @property
    def address(self) -> Any:
        """Where they go, None where that is not known."""

    @property
    def pictures(self) -> dict[int, Any]:
        """The first picture of each product, by the product's id."""

    def to_dict(self) -> dict[str, Any]:
        """Return the order as outside programs read it; amounts in minor units."""


def customer_paid(order: Order, goods_missing: bool = False) -> None:
    """Thank the customer and send the receipt; goods that are gone are not promised."""
    _tell_customer(order, "customer_paid", goods_missing=goods_missing, **_sending(order))


def customer_awaiting(
    order: Order,
    awaited_from: str,
    slip: str | None,
    until: datetime | None,
    codes: Sequence[Sequence[str]] = (),
) -> None:
    """Tell the customer where the money is to come from (as `awaited_from`), and until when.

    `slip` is the address of what they pay with at a counter, `codes` each store with its numbers.
    """
    said = {"awaited_from": awaited_from, "slip": slip, "codes": list(codes)} | _sending(order)
    said["until"] = until.isoformat() if until else None
    _tell_customer(order, "customer_awaiting", "", **said)


def customer_received(order: Order) -> None:
    """Tell the customer that the money is here, and that a person looks at the order first."""
    _tell_customer(order, "customer_received")


def customer_refunded(order: Order, amount: int, currency: str, refund_id: str) -> None:
    """Tell the customer that money (minor units) goes back."""
    _tell_customer(order, "customer_refunded", refund_id, refund=amount, amount_currency=currency)


def customer_shipped(order: Order) -> None:
    """Tell the customer that the goods are on their way, and how they are followed."""
    parcel = {"carrier": order.carrier, "tracking": order.tracking, "track": order.tracking_url}
    _tell_customer(order, "customer_shipped", **parcel, **_sending(order))


def customer_links(orders: Sequence[Order], language: str) -> None:
    """Send the links to these orders (newest first) to the address that all of them have.

    Unlike the other messages, this one is sent each time a customer asks.
    """
    newest = orders[0]
    listed = [_said(order) | {"created": order.created_at.isoformat()} for order in orders]
    said = newest.to_dict() | {"orders": listed}
    outbox.put_again(f"order-{newest.id}", "customer_links", newest.email, language, said)


def staff_new_order(order: Order, missing: str | None = None) -> None:
    """Tell the shop that an order was paid; `missing`: the name of goods that are gone."""
    _tell_staff(order, "staff_new_order", missing=missing, **_sending(order))


def staff_needs_review(order: Order) -> None:
    """Tell the shop that Stripe has money that does not fit the order."""
    _tell_staff(order, "staff_needs_review")


def staff_paid_twice(order: Order, money_id: str) -> None:
    """Tell the shop that an order was paid once more; `money_id` is Stripe's id of that money."""
    _tell_staff(order, "staff_paid_twice", money_id)


def staff_refund_failed(order: Order, amount: int, currency: str, refund_id: str) -> None:
    """Tell the shop that a refund (minor units) came back: the customer does not have it."""
    _tell_staff(order, "staff_refund_failed", refund_id, refund=amount, amount_currency=currency)


def staff_dispute(
    order: Order, amount: int, currency: str, reason: str, inquiry: bool, dispute_id: str
) -> None:
    """Tell the shop that the cardholder's bank takes money (minor units) back, and what to do now.

    With `inquiry` the bank only asks, and the money stays for now; a dispute may follow, and is
    told of by a mail of its own.
    """
    about = f"{dispute_id}-inquiry" if inquiry else dispute_id
    more = {"disputed": amount, "amount_currency": currency, "reason": reason, "inquiry": inquiry}
    _tell_staff(order, "staff_dispute", about, **more)


def staff_dispute_closed(
    order: Order, amount: int, currency: str, outcome: str, dispute_id: str
) -> None:
    """Tell the shop how a dispute ended (`outcome`: won or lost); `amount` in minor units."""
    more = {"disputed": amount, "amount_currency": currency, "outcome": outcome}
    _tell_staff(order, "staff_dispute_closed", dispute_id, **more)


def staff_test() -> None:
    """Write to the shop's owner that mail arrives; each time anew."""
    to, language = current_app.config["SHOP_OWNER_EMAIL"], current_app.config["SHOP_LOCALE"]
    outbox.put_again("test", "staff_test", to, language, {"desk": external_url("owner.mails")})


def slip_stores(codes: Sequence[Sequence[str]]) -> list[tuple[str, Sequence[str]]]:
    """Return the name of each store where a slip can be paid, with the numbers that it asks for."""
    return [(STORES.get(store, store), numbers) for store, *numbers in codes]


def init_mail(app: Flask) -> None:
    """Send one waiting message after each successful POST, once the visitor has the answer."""

    def send_one() -> None:
        with app.app_context():  # the request's own is gone by then
            try:
                outbox.send_due()
            except Exception:  # the visitor has the answer, so only the log can be told
                app.logger.exception("mail was not sent")

    app.jinja_env.globals["slip_stores"] = slip_stores

    @app.after_request
    def send_afterwards(response: Response) -> Response:
        if request.method == "POST" and response.status_code < 400:
            response.call_on_close(send_one)
        return response


def _tell_customer(order: Order, kind: str, about: str = "", **more: Any) -> None:
    if order.email:
        said = _said(order) | more
        outbox.put(f"order-{order.id}", kind, order.email, order.language, said, about)


def _tell_staff(order: Order, kind: str, about: str = "", **more: Any) -> None:
    to, language = current_app.config["SHOP_OWNER_EMAIL"], current_app.config["SHOP_LOCALE"]
    desk = {"desk": external_url("owner.order", number=order.id), "email": order.email}
    desk["erased"] = order.erased_at is not None
    outbox.put(f"order-{order.id}", kind, to, language, _said(order) | desk | more, about)


def _sending(order: Order) -> dict[str, Any]:
    """Return what a message says of where the goods go."""
    lines = order.address.lines if order.address else []
    return {"sent": order.is_sent, "lacks_address": order.lacks_address, "address": lines}


def _said(order: Order) -> dict[str, Any]:
    said = order.to_dict() | {"link": external_url("payments.order", token=order.token)}
    if not has_public_address():
        return said
    shown = order.pictures
    of_lines = [shown.get(line.product_id) for line in order.lines]
    addresses = [
        external_url("catalog.picture", name=picture.jpeg(320)) if picture else ""
        for picture in of_lines
    ]
    return said | {"pictures": addresses}
