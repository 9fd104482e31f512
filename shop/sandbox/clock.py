"""Time in the sandbox: what falls due is done when somebody looks, in its order."""

from . import charges, disputes, payments, sessions
from .store import Document, Store, Transaction

ACTIONS = {
    "expire": ("checkout.session", sessions.expire_now),
    "pay_voucher": ("checkout.session", payments.pay_voucher),
    "expire_voucher": ("checkout.session", payments.expire_voucher),
    "dispute": ("charge", disputes.fall_due),
    "succeed_refund": ("refund", charges.succeed_refund),
    "fail_refund": ("refund", charges.fail_refund),
}
FARTHEST = 10 * 365 * 86400


def tick(store: Store) -> None:
    """Do everything that has fallen due; each thing happens at its own time."""
    with store.read() as tx:
        if _next(tx) is None:
            return
    with store.write() as tx:
        now = tx.now
        while due := _next(tx):
            number, tx.now, action, object_id = due
            tx.execute("delete from schedule where id = ?", (number,))
            _act(tx, action, object_id)
            tx.now = now


def _next(tx: Transaction) -> tuple[int, int, str, str] | None:
    row: tuple[int, int, str, str] | None = tx.execute(
        "select id, due, action, object from schedule where due <= ? order by due, id limit 1",
        (tx.now,),
    ).fetchone()
    return row


def _act(tx: Transaction, action: str, object_id: str) -> None:
    kind, act = ACTIONS[action]
    doc: Document | None = tx.get(object_id, kind)
    # A session that was paid or expired meanwhile has nothing left to expire.
    if doc and not (action == "expire" and doc["status"] != "open"):
        act(tx, doc)


def advance(store: Store, seconds: int) -> None:
    """Move the sandbox's clock forward, then do what has fallen due."""
    with store.write() as tx:
        tx.set({"clock_offset": min(tx.setting("clock_offset", 0) + seconds, FARTHEST)})
    tick(store)
