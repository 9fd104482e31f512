"""Mail: one function per message. They are called inside write() and leave through the outbox."""

from typing import Any

from flask import Flask, Response, current_app, request

from shop.mail import outbox


def customer_paid(order_id: int, to: str, language: str, order: dict[str, Any]) -> None:
    """Thank the customer and send the receipt."""
    outbox.put(order_id, "customer_paid", to, language, order)


def customer_awaiting(order_id: int, to: str, language: str, order: dict[str, Any]) -> None:
    """Tell the customer where to pay at a konbini (`slip`), and until when."""
    outbox.put(order_id, "customer_awaiting", to, language, order)


def customer_received(order_id: int, to: str, language: str, order: dict[str, Any]) -> None:
    """Tell the customer that their money is here, and that a person looks at it."""
    outbox.put(order_id, "customer_received", to, language, order)


def customer_refunded(
    order_id: int, to: str, language: str, order: dict[str, Any], number: int
) -> None:
    """Tell the customer that money (`refund`) goes back; `number`: of the order's refunds."""
    outbox.put(order_id, _nth("customer_refunded", number), to, language, order)


def customer_shipped(order_id: int, to: str, language: str, order: dict[str, Any]) -> None:
    """Tell the customer that the goods are on their way."""
    outbox.put(order_id, "customer_shipped", to, language, order)


def customer_links(order_id: int, to: str, language: str, order: dict[str, Any]) -> None:
    """Send the customer the links to their `orders`, anew each time they ask for them."""
    outbox.put_again(order_id, "customer_links", to, language, order)


def staff_new_order(order_id: int, order: dict[str, Any]) -> None:
    """Tell the shop that an order was paid."""
    _tell_staff(order_id, "staff_new_order", order)


def staff_needs_review(order_id: int, order: dict[str, Any]) -> None:
    """Tell the shop that Stripe holds money which does not fit its order."""
    _tell_staff(order_id, "staff_needs_review", order)


def staff_paid_twice(order_id: int, order: dict[str, Any], number: int) -> None:
    """Tell the shop that an order was paid once more, the `number`th time too many."""
    _tell_staff(order_id, _nth("staff_paid_twice", number), order)


def staff_refund_failed(order_id: int, order: dict[str, Any], number: int) -> None:
    """Tell the shop that a refund came back: the customer does not have the money."""
    _tell_staff(order_id, _nth("staff_refund_failed", number), order)


def staff_dispute(order_id: int, order: dict[str, Any], number: int) -> None:
    """Tell the shop that the cardholder's bank takes a payment back, and what to do now."""
    _tell_staff(order_id, _nth("staff_dispute", number), order)


def staff_dispute_closed(order_id: int, order: dict[str, Any], number: int) -> None:
    """Tell the shop how a dispute ended (`outcome`: won or lost)."""
    _tell_staff(order_id, _nth("staff_dispute_closed", number), order)


def init_mail(app: Flask) -> None:
    """Send one waiting message after each POST that was taken, when the visitor has gone."""

    @app.after_request
    def send_afterwards(response: Response) -> Response:
        if request.method == "POST" and response.status_code < 400:
            response.call_on_close(lambda: _send_one_for(app))
        return response


def _nth(kind: str, number: int) -> str:
    """Return the kind of a message that an order may need more than once."""
    return kind if number == 1 else f"{kind}-{number}"


def _tell_staff(order_id: int, kind: str, context: dict[str, Any]) -> None:
    config = current_app.config
    outbox.put(order_id, kind, config["SHOP_OWNER_EMAIL"], config["SHOP_LOCALE"], context)


def _send_one_for(app: Flask) -> None:
    """Send one message in a context of its own; nothing that goes wrong reaches the visitor."""
    with app.app_context():
        try:
            outbox.send_due()
        except Exception:  # the answer has left already: there is nobody to tell but the log
            app.logger.exception("mail was not sent")
