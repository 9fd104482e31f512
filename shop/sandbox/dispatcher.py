"""The dispatcher delivers events to the shop's webhook, signed, and tries again where it failed."""

import hashlib
import hmac
import http.client
import json
import logging
import threading
import time
import urllib.parse
from collections.abc import Callable, Collection

from .store import Document, Store, Transaction

log = logging.getLogger(__name__)
Deliver = Callable[[bytes, str], int]
# Seconds on the sandbox's clock between the attempts; after the last one the delivery has failed.
BACK_OFF = (10, 60, 600, 3600, 10800)
# A process that dies during a delivery frees it after this many real seconds.
CLAIM_SECONDS = 60
# No visitor waits for more deliveries than this.
MOST_AT_ONCE = 100
TIMEOUT_SECONDS = 10


def signature(payload: bytes, secret: str, timestamp: int) -> str:
    """Return the value of the `Stripe-Signature` header."""
    signed = f"{timestamp}.".encode() + payload
    digest = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
    return f"t={timestamp},v1={digest}"


class Dispatcher:
    """Delivers queued events; holds no transaction while it waits for the receiver."""

    def __init__(self, store: Store, secret: str, deliver: Deliver | None) -> None:
        self._store = store
        self._secret = secret
        self._deliver = deliver
        self._local = threading.local()

    @property
    def delivering(self) -> bool:
        """Whether this thread is delivering an event right now."""
        return getattr(self._local, "delivering", False)

    def deliver_due(self, events: Collection[str] | None = None) -> int:
        """Deliver what is due, or only these events; return how many were answered in time.

        Stops at the first time-out, because a visitor may be waiting. The receiver may call the
        API, which ends up here again: that call does nothing, the outer one delivers its events.
        """
        if self._deliver is None or self.delivering:
            return 0
        self._local.delivering = True
        try:
            for count in range(MOST_AT_ONCE):
                if not self._deliver_next(self._deliver, events):
                    return count
            return MOST_AT_ONCE
        finally:
            self._local.delivering = False

    def _deliver_next(self, deliver: Deliver, events: Collection[str] | None) -> bool:
        """Attempt one delivery; return False where none is due or the receiver timed out."""
        with self._store.read() as tx:
            if not self._next(tx, events):
                return False
        with self._store.write() as tx:
            found = self._next(tx, events)
            if found is None:
                return False
            number, attempts, event = found
            until = time.time() + CLAIM_SECONDS
            tx.execute("update deliveries set claimed_until = ? where id = ?", (until, number))
        payload = json.dumps(event, indent=2, ensure_ascii=False).encode()
        code, error, timed_out = None, None, False
        try:
            # The receiver compares the timestamp with its own clock, which nobody moved.
            code = deliver(payload, signature(payload, self._secret, int(time.time())))
        except Exception as failure:  # A broken receiver must not break the sandbox.
            log.warning("%s was not delivered", event["type"], exc_info=True)
            error = f"{type(failure).__name__}: {failure}"[:200]
            timed_out = isinstance(failure, TimeoutError)
        with self._store.write() as tx:
            status, due = "delivered", None
            if code is None or not 200 <= code < 300:
                status = "pending" if attempts < len(BACK_OFF) else "failed"
                due = tx.now + BACK_OFF[attempts] if status == "pending" else None
            tx.execute(
                "update deliveries set status = ?, attempts = attempts + 1, response_code = ?,"
                " error = ?, next_attempt_at = ?, claimed_until = 0 where id = ?",
                (status, code, error, due, number),
            )
            if status == "delivered":
                tx.put({**event, "pending_webhooks": 0})
        return not timed_out

    def _next(
        self, tx: Transaction, events: Collection[str] | None
    ) -> tuple[int, int, Document] | None:
        """Return id, attempts and event of the next delivery that is due, or None."""
        newest_first = tx.setting("webhooks_mode", "deliver") == "reorder"
        if newest_first:
            # An event that is being delivered by another thread must not be overtaken.
            claimed = "select 1 from deliveries where status = 'pending' and claimed_until >= ?"
            if tx.execute(claimed, (time.time(),)).fetchone():
                return None
        wanted = list(events or ())
        among = f"and event in ({', '.join('?' * len(wanted))})" if events is not None else ""
        row = tx.execute(
            "select id, attempts, event from deliveries where status = 'pending'"  # noqa: S608
            f" and next_attempt_at <= ? and claimed_until < ? {among}"
            f" order by id {'desc' if newest_first else 'asc'}",
            (tx.now, time.time(), *wanted),
        ).fetchone()
        event = tx.get(row[2], "event") if row else None
        return (row[0], row[1], event) if event else None


def http_deliver(url: str) -> Deliver:
    """Return a function that posts an event to the URL and returns the HTTP status.

    It follows no redirect; it raises OSError or HTTPException where nobody answers.
    """
    parts = urllib.parse.urlsplit(url)
    secure = parts.scheme == "https"
    kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")

    def deliver(payload: bytes, header: str) -> int:
        connection = kind(parts.hostname or "", parts.port, timeout=TIMEOUT_SECONDS)
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "Stripe-Signature": header,
            "User-Agent": "Stripe/1.0 (shop sandbox)",
        }
        try:
            connection.request("POST", target, payload, headers)
            answer = connection.getresponse()
            # A server whose answer is not read to its end sees the connection break off.
            answer.read(65536)
            return answer.status
        finally:
            connection.close()

    return deliver
