"""Events: recorded in the transaction that changes the object, and queued for delivery."""

from typing import Any

from . import contract
from .objects import new, public
from .store import Document, Transaction, new_id

# The modes of the switch `control/webhooks`, explained for the control page.
MODES = {
    "deliver": "each arrives once",
    "drop": "they are lost",
    "duplicate": "each arrives twice",
    "delay": "they wait first",
    "reorder": "the newest arrives first",
}


def emit(tx: Transaction, kind: str, doc: Document, previous: Document | None = None) -> None:
    """Record an event with a copy of the object and queue its delivery as the switch says."""
    data: Document = {"object": public(doc)}
    if previous is not None:
        data["previous_attributes"] = previous
    event = new(tx, "event", new_id("evt"), type=kind, data=data, request=tx.request)
    event |= {"api_version": contract.api_version(), "pending_webhooks": int(tx.has_receiver)}
    tx.put(event)
    tx.emitted.append(event["id"])
    if not tx.has_receiver:
        return
    mode = tx.setting("webhooks_mode", "deliver")
    wait = tx.setting("webhooks_delay", 60) if mode == "delay" else 0
    for _ in range(2 if mode == "duplicate" else 1):
        add_delivery(tx, event, "dropped" if mode == "drop" else "pending", tx.now + wait)


def add_delivery(tx: Transaction, event: Document, status: str, due: int) -> int:
    """Queue one delivery of the event and return the delivery's id."""
    cursor = tx.execute(
        "insert into deliveries (event, type, status, next_attempt_at) values (?, ?, ?, ?)",
        (event["id"], event["type"], status, due if status == "pending" else None),
    )
    return int(cursor.lastrowid or 0)


def list_deliveries(tx: Transaction, limit: int) -> list[dict[str, Any]]:
    """Return the newest deliveries."""
    columns = "id, event, type, status, attempts, response_code, error, next_attempt_at"
    query = f"select {columns} from deliveries order by id desc limit ?"  # noqa: S608
    rows = tx.execute(query, (limit,))
    return [dict(zip(columns.split(", "), row, strict=True)) for row in rows]
