"""Events on their way to the receiver: signed at every try, never while a transaction is open."""

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
# Waits between the tries, in seconds of the sandbox's clock; after the last one it gives up.
BACK_OFF = (10, 60, 600, 3600, 10800)
# A process that dies while delivering loses its claim after this many real seconds.
CLAIM_SECONDS = 60
# No visitor waits for more than this many deliveries.
MOST_AT_ONCE = 100
TIMEOUT_SECONDS = 10


def signature(payload: bytes, secret: str, timestamp: int) -> str:
    """Return the value of the `Stripe-Signature` header."""
    signed = f"{timestamp}.".encode() + payload
    digest = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
    return f"t={timestamp},v1={digest}"


class Dispatcher:
    """Takes queued events to the receiver, never while a transaction is open."""

    def __init__(self, store: Store, secret: str, deliver: Deliver | None) -> None:
        self._store = store
        self._secret = secret
        self._deliver = deliver
        self._here = threading.local()

    @property
    def busy(self) -> bool:
        """Whether this very thread is delivering, so that the receiver's answer is awaited."""
        return getattr(self._here, "busy", False)

    def deliver_due(self, events: Collection[str] | None = None) -> int:
        """Deliver what is due, or of it only those events; return how many got an answer in time.

        The first that times out ends the round, for somebody may be waiting. A call from inside
        a delivery does nothing: the outer one sees what was raised meanwhile.
        """
        if self._deliver is None or self.busy:
            return 0
        self._here.busy = True
        try:
            for tries in range(MOST_AT_ONCE):
                if not self._deliver_next(self._deliver, events):
                    return tries
            return MOST_AT_ONCE
        finally:
            self._here.busy = False

    def _deliver_next(self, deliver: Deliver, events: Collection[str] | None) -> bool:
        with self._store.read() as tx:
            if not self._next(tx, events):
                return False
        with self._store.write() as tx:
            found = self._next(tx, events)
            if found is None:
                return False
            number, event = found
            until = time.time() + CLAIM_SECONDS
            tx.execute("update deliveries set claimed_until = ? where id = ?", (until, number))
        payload = json.dumps(event, indent=2, ensure_ascii=False).encode()
        code, error, slow = None, None, False
        try:
            # The receiver compares the signature's time with its own clock: real time, no offset.
            code = deliver(payload, signature(payload, self._secret, int(time.time())))
        except Exception as failure:  # Whatever the receiver does, the sandbox lives on.
            log.warning("%s was not delivered", event["type"], exc_info=True)
            error = f"{type(failure).__name__}: {failure}"[:200]
            slow = isinstance(failure, TimeoutError)
        self._record(number, event, code, error)
        return not slow

    def _next(self, tx: Transaction, events: Collection[str] | None) -> tuple[int, Document] | None:
        newest_first = tx.setting("webhooks_mode", "deliver") == "reorder"
        if newest_first and self._in_flight(tx):
            return None
        wanted = list(events or ())
        among = f"and event in ({', '.join('?' * len(wanted))})" if events is not None else ""
        row = tx.execute(
            "select id, event from deliveries where status = 'pending' and next_attempt_at <= ?"  # noqa: S608
            f" and claimed_until < ? {among} order by id {'desc' if newest_first else 'asc'}",
            (tx.now, time.time(), *wanted),
        ).fetchone()
        event = tx.get(row[1], "event") if row else None
        return (row[0], event) if event else None

    def _in_flight(self, tx: Transaction) -> bool:
        """Return whether an event is being delivered right now; none may overtake it."""
        claimed = "select 1 from deliveries where status = 'pending' and claimed_until >= ?"
        return tx.execute(claimed, (time.time(),)).fetchone() is not None

    def _record(self, number: int, event: Document, code: int | None, error: str | None) -> None:
        with self._store.write() as tx:
            tries = tx.execute(
                "select attempts from deliveries where id = ?", (number,)
            ).fetchone()[0]
            status, due = "delivered", None
            if code is None or not 200 <= code < 300:
                status = "pending" if tries < len(BACK_OFF) else "failed"
                due = tx.now + BACK_OFF[tries] if status == "pending" else None
            tx.execute(
                "update deliveries set status = ?, attempts = attempts + 1, response_code = ?,"
                " error = ?, next_attempt_at = ?, claimed_until = 0 where id = ?",
                (status, code, error, due, number),
            )
            if status == "delivered":
                tx.put({**event, "pending_webhooks": 0})


def http_deliver(url: str) -> Deliver:
    """Return a function that posts events to the URL and returns the HTTP status.

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
            return connection.getresponse().status
        finally:
            connection.close()

    return deliver
