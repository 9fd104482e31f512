"""Events: recorded in the transaction that changes the object, and queued for delivery."""

from typing import Any

from . import contract
from .objects import new, public
from .store import Document, Transaction, new_id
from .webhook_endpoints import receivers

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
    wanted = receivers(tx, kind)
    event |= {"api_version": contract.api_version(), "pending_webhooks": len(wanted)}
    tx.put(event)
    tx.emitted.append(event["id"])
    mode = tx.setting("webhooks_mode", "deliver")
    wait = tx.setting("webhooks_delay", 60) if mode == "delay" else 0
    for receiver in wanted * (2 if mode == "duplicate" else 1):
        add_delivery(tx, event, receiver, None if mode == "drop" else tx.now + wait)


def add_delivery(
    tx: Transaction, event: Document, receiver: tuple[str | None, str | None], due: int | None
) -> int:
    """Queue a delivery to one of the event's `receivers`, or drop it; return the delivery's id."""
    cursor = tx.execute(
        "insert into deliveries (event, type, status, next_attempt_at, endpoint, url)"
        " values (?, ?, ?, ?, ?, ?)",
        (event["id"], event["type"], "dropped" if due is None else "pending", due, *receiver),
    )
    return int(cursor.lastrowid or 0)


def list_deliveries(tx: Transaction, limit: int) -> list[dict[str, Any]]:
    """Return the newest deliveries."""
    columns = (
        "id, event, type, status, attempts, response_code, error, next_attempt_at, endpoint, url"
    )
    query = f"select {columns} from deliveries order by id desc limit ?"  # noqa: S608
    rows = tx.execute(query, (limit,))
    return [dict(zip(columns.split(", "), row, strict=True)) for row in rows]
