"""The sandbox's clock, and the schedule of what happens later: expiry, disputes, late payments."""

from collections.abc import Callable

from . import disputes, payments, refunds, sessions
from .store import Document, Store, Transaction

ACTIONS: dict[str, tuple[str, Callable[[Transaction, Document], object]]] = {
    "expire": ("checkout.session", sessions.expire_now),
    "pay_voucher": ("checkout.session", payments.pay_voucher),
    "expire_voucher": ("checkout.session", payments.expire_voucher),
    "dispute": ("charge", disputes.open_scheduled),
    "succeed_refund": ("refund", refunds.succeed),
    "fail_refund": ("refund", refunds.fail),
}
FARTHEST = 10 * 365 * 86400


def tick(store: Store) -> None:
    """Run the actions that are due, earliest first, each at the time for which it was scheduled.

    No timer runs in the sandbox: every request calls this before it reads anything.
    """
    with store.read() as tx:
        if _next_due(tx) is None:
            return
    with store.write() as tx:
        now = tx.now
        while due := _next_due(tx):
            number, tx.now, action, object_id = due
            tx.execute("delete from schedule where id = ?", (number,))
            kind, run = ACTIONS[action]
            doc = tx.get(object_id, kind)
            # A session that was paid or expired since then has nothing left to expire.
            if doc and not (action == "expire" and doc["status"] != "open"):
                run(tx, doc)
            tx.now = now


def _next_due(tx: Transaction) -> tuple[int, int, str, str] | None:
    row: tuple[int, int, str, str] | None = tx.execute(
        "select id, due, action, object from schedule where due <= ? order by due, id limit 1",
        (tx.now,),
    ).fetchone()
    return row


def advance(store: Store, seconds: int) -> None:
    """Move the clock forward and run the actions that are due by then."""
    with store.write() as tx:
        tx.set({"clock_offset": min(tx.setting("clock_offset", 0) + seconds, FARTHEST)})
    tick(store)
