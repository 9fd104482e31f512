"""Events: recorded with the change they tell of, and queued for delivery."""

from typing import Any

from . import contract
from .objects import new, public
from .store import Document, Transaction, new_id

# What becomes of an event, and what that means.
MODES = {
    "deliver": "each arrives once",
    "drop": "they are lost",
    "duplicate": "each arrives twice",
    "delay": "they wait first",
    "reorder": "the newest arrives first",
}


def emit(tx: Transaction, kind: str, doc: Document, previous: Document | None = None) -> Document:
    """Record an event about the object as it is now and queue its delivery; return the event."""
    data: Document = {"object": public(doc)}
    if previous is not None:
        data["previous_attributes"] = previous
    event = new(tx, "event", new_id("evt"), type=kind, data=data, request=tx.request)
    event |= {"api_version": contract.api_version(), "pending_webhooks": int(tx.delivers)}
    tx.put(event)
    tx.raised.append(event["id"])
    if tx.delivers:
        _queue(tx, event)
    return event


def _queue(tx: Transaction, event: Document) -> None:
    mode = tx.setting("webhooks_mode", "deliver")
    wait = tx.setting("webhooks_delay", 60) if mode == "delay" else 0
    for _ in range(2 if mode == "duplicate" else 1):
        add_delivery(tx, event, "dropped" if mode == "drop" else "pending", tx.now + wait)


def add_delivery(tx: Transaction, event: Document, status: str, due: int) -> int:
    """Queue one delivery of the event and return the delivery's number."""
    cursor = tx.execute(
        "insert into deliveries (event, type, status, next_attempt_at) values (?, ?, ?, ?)",
        (event["id"], event["type"], status, due if status == "pending" else None),
    )
    return int(cursor.lastrowid or 0)


def delivery_rows(tx: Transaction, limit: int) -> list[dict[str, Any]]:
    """Return the newest deliveries as plain objects."""
    names = ("id", "event", "type", "status", "attempts", "response_code", "error")
    rows = tx.execute(
        "select id, event, type, status, attempts, response_code, error, next_attempt_at"
        " from deliveries order by id desc limit ?",
        (limit,),
    )
    return [dict(zip((*names, "next_attempt_at"), row, strict=True)) for row in rows]
