"""The shop's books beside Stripe's and what visitors were told: every difference in words."""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from tests.deep.torture.load import Diary
from tests.deep.torture.world import MUGS, STOCK, World

# What a paid order has once, and another never.
ONCE = ("timeline paid", "mail customer_paid", "mail staff_new_order")
# What a log must not say. The sandbox may: of a shop that died while it took an event.
LOGGED = {"shop": "Traceback", "sandbox": "Exception on"}
KNOWN = ("pending", "cancelled", "paid")


class Books:
    """Both sides, read once when all is quiet."""

    def __init__(self, world: World) -> None:
        charges = world.stripe("charges")
        self.charges = [charge for charge in charges if charge["status"] == "succeeded"]
        self.orders = {
            order["order"]: order for order in json.loads(world.flask("orders", "--json"))
        }
        self.tokens = dict(world.rows("SELECT client_reference, token FROM orders"))
        self.ledger = world.rows(
            "SELECT orders.token, ledger.stripe_id, ledger.amount FROM ledger"
            " JOIN orders ON orders.id = ledger.order_id WHERE ledger.kind = 'payment'"
        )
        self.done: Counter[tuple[str, str]] = Counter()
        tokens = dict(world.rows("SELECT id, token FROM orders"))
        for order_id, kind in world.rows("SELECT order_id, kind FROM timeline"):
            self.done[tokens[order_id], f"timeline {kind}"] += 1
        for subject, kind in world.rows("SELECT subject, kind FROM mails"):
            self.done[tokens[int(subject.removeprefix("order-"))], f"mail {kind}"] += 1


def differences(world: World, diary: Diary) -> list[str]:
    """Return what is not as it must be; nothing, if all is well."""
    books = Books(world)
    return [
        *diary.faults,
        *_faults_of_deliveries(world),
        *_paid_at_stripe(books),
        *_paid_here(books),
        *_charged_twice(books),
        *_told_paid(books, diary),
        *_posts(world, diary),
        *_stock(world),
        *_mail(world),
        *_integrity(world),
    ]


def _faults_of_deliveries(world: World) -> Iterator[str]:
    for row in world.deliveries():
        if (row["response_code"] or 0) >= 500 and row["response_code"] != 503:
            yield f"event {row['event']} was answered with {row['response_code']}"
    for name, sign in LOGGED.items():
        if sign in world.log(name):
            yield f"{name}.log says: {sign}"


def _paid_at_stripe(books: Books) -> Iterator[str]:
    written = Counter(books.ledger)
    for charge in books.charges:
        what = f"{charge['id']} of {charge['amount']}"
        token = books.tokens.get(charge["metadata"].get("order", ""))
        if token is None:
            yield f"paid at Stripe, but of no order here: {what}"
            continue
        entry = (token, charge["payment_intent"] or charge["id"], charge["amount"])
        if written[entry] != 1:
            yield f"order {token} has {written[entry]} ledger rows for {what}"
        if books.orders[token]["state"] != "paid":
            yield f"order {token} is {books.orders[token]['state']}, but Stripe has {what}"


def _paid_here(books: Books) -> Iterator[str]:
    at_stripe = {c["payment_intent"] or c["id"]: c["amount"] for c in books.charges}
    payments = Counter(token for token, _, _ in books.ledger)
    for token, order in books.orders.items():
        is_paid = order["state"] == "paid"
        if order["state"] not in KNOWN:
            yield f"order {token} is {order['state']}"
        if is_paid and at_stripe.get(order["payment_intent"]) != order["amount"]:
            yield f"order {token} is paid here, but Stripe does not have its {order['amount']}"
        if payments[token] != is_paid:
            yield f"order {token} is {order['state']} with {payments[token]} payments"
        for name in ONCE:
            if books.done[token, name] != is_paid:
                yield f"order {token} is {order['state']} with {books.done[token, name]} × {name}"


def _charged_twice(books: Books) -> Iterator[str]:
    orders = Counter(charge["metadata"].get("order") for charge in books.charges)
    # Every buyer has an address of their own and wants one thing.
    buyers = Counter(_buyer(charge) for charge in books.charges)
    for who, count in (*orders.items(), *buyers.items()):
        if count > 1:
            yield f"{who} was charged {count} times"


def _buyer(charge: dict[str, Any]) -> str | None:
    return charge["receipt_email"] or charge["billing_details"]["email"]


def _told_paid(books: Books, diary: Diary) -> Iterator[str]:
    for token in diary.paid:
        if books.orders.get(token, {}).get("state") != "paid":
            yield f"order {token} was shown as paid and is not"


def _posts(world: World, diary: Diary) -> Iterator[str]:
    query = "SELECT comment FROM topics UNION ALL SELECT comment FROM replies"
    there = Counter(comment for (comment,) in world.rows(query))
    for text in diary.posted:
        if there[text] == 0:
            yield f"a post that was acknowledged is lost: {text}"
    for text in diary.tried:
        if there[text] > 1:
            yield f"a post is there {there[text]} times: {text}"
    counted = "SELECT count(*) FROM replies WHERE replies.topic_id = topics.id"
    for row in world.rows(f"SELECT id, reply_count, ({counted}) FROM topics"):
        if row[1] != row[2]:
            yield f"topic {row[0]} counts {row[1]} replies and has {row[2]}"


def _stock(world: World) -> Iterator[str]:
    [(left,)] = world.rows(f"SELECT stock FROM products WHERE slug = '{MUGS}'")
    [(held,)] = world.rows(
        "SELECT coalesce(sum(quantity), 0) FROM order_lines"
        " JOIN orders ON orders.id = order_lines.order_id"
        " JOIN products ON products.id = order_lines.product_id"
        f" WHERE slug = '{MUGS}' AND state <> 'cancelled'"
    )
    if left + held != STOCK:
        yield f"of {STOCK} mugs {left} are on the shelf and {held} in orders"


def _mail(world: World) -> Iterator[str]:
    rows = world.rows("SELECT subject, kind, state, lease_expires_at, error FROM mails")
    for subject, kind, state, leased, error in rows:
        order = int(subject.removeprefix("order-"))
        # A lease of a process that was killed runs out after a minute; then it is sent.
        if state != "sent" and not leased:
            yield f"the mail {kind} of order {order} is {state}: {error}"
        if state == "sent" and not world.mail.taken[order, kind]:
            yield f"the mail {kind} of order {order} is sent, but never came"


def _integrity(world: World) -> Iterator[str]:
    if "DATABASE_URL" in world.settings:
        return
    for pragma in ("integrity_check", "foreign_key_check"):
        found = world.rows(f"PRAGMA {pragma}")
        if found not in ([], [("ok",)]):
            yield f"{pragma} says {found}"
