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
from functools import partial

from .store import Document, Store, Transaction

log = logging.getLogger(__name__)
Deliver = Callable[[bytes, str], int]
DeliverTo = Callable[[str, bytes, str], int]
# Seconds on the sandbox's clock between the attempts; after the last one the delivery has failed.
BACK_OFF = (10, 60, 600, 3600, 10800)
# A process that dies during a delivery frees it after this many real seconds.
CLAIM_SECONDS = 60
# No visitor waits for more deliveries than this.
MOST_AT_ONCE = 100
TIMEOUT_SECONDS = 10
# How many receivers have not answered with 2xx to an event.
WAITING = (
    "select count(*) from (select 1 from deliveries where event = ? group by endpoint"
    " having not max(status = 'delivered'))"
)


def signature(payload: bytes, secret: str, timestamp: int) -> str:
    """Return the value of the `Stripe-Signature` header."""
    signed = f"{timestamp}.".encode() + payload
    digest = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
    return f"t={timestamp},v1={digest}"


class Undeliverable(Exception):
    """An event has nowhere to go, and it would be no use to try again."""


class Dispatcher:
    """Delivers queued events; holds no transaction while it waits for the receiver."""

    def __init__(
        self, store: Store, secret: str, deliver: Deliver | None, deliver_to: DeliverTo
    ) -> None:
        self._store = store
        self._secret = secret
        self._deliver = deliver
        self._deliver_to = deliver_to
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
        if self.delivering:
            return 0
        self._local.delivering = True
        try:
            for count in range(MOST_AT_ONCE):
                if not self._deliver_next(events):
                    return count
            return MOST_AT_ONCE
        finally:
            self._local.delivering = False

    def _deliver_next(self, events: Collection[str] | None) -> bool:
        """Attempt one delivery; return False where none is due or the receiver timed out."""
        with self._store.read() as tx:
            if not self._next(tx, events):
                return False
        with self._store.write() as tx:
            found = self._next(tx, events)
            if found is None:
                return False
            number, attempts, endpoint_id, event = found
            endpoint = tx.get(endpoint_id, "webhook_endpoint") if endpoint_id else None
            until, url = time.time() + CLAIM_SECONDS, endpoint and endpoint["url"]
            tx.execute(
                "update deliveries set claimed_until = ?, url = coalesce(?, url) where id = ?",
                (until, url, number),
            )
        code, failure = self._attempt(event, endpoint_id, endpoint)
        error = f"{type(failure).__name__}: {failure}"[:200] if failure else None
        with self._store.write() as tx:
            status, due = "delivered", None
            if code is None or not 200 <= code < 300:
                last = attempts == len(BACK_OFF) or isinstance(failure, Undeliverable)
                status, due = ("failed", None) if last else ("pending", tx.now + BACK_OFF[attempts])
            tx.execute(
                "update deliveries set status = ?, attempts = attempts + 1, response_code = ?,"
                " error = ?, next_attempt_at = ?, claimed_until = 0 where id = ?",
                (status, code, error, due, number),
            )
            left = tx.execute(WAITING, (event["id"],)).fetchone()[0]
            tx.put({**event, "pending_webhooks": left})
        return not isinstance(failure, TimeoutError)

    def _attempt(
        self, event: Document, endpoint_id: str | None, endpoint: Document | None
    ) -> tuple[int | None, Exception | None]:
        """Deliver the event; return the HTTP status of the answer, or why there is none."""
        deliver, secret = self._deliver, self._secret
        try:
            if endpoint and endpoint["status"] == "enabled":
                deliver = partial(self._deliver_to, endpoint["url"])
                secret = endpoint["_"]["secret"]
                event = {**event, "api_version": endpoint["api_version"] or event["api_version"]}
            elif endpoint_id:
                raise Undeliverable("the webhook endpoint is disabled or deleted")
            elif deliver is None:
                raise Undeliverable("the sandbox was started without SANDBOX_WEBHOOK_URL")
            payload = json.dumps(event, indent=2, ensure_ascii=False).encode()
            # The receiver compares the timestamp with its own clock, which nobody moved.
            return deliver(payload, signature(payload, secret, int(time.time()))), None
        except Exception as failure:  # A broken receiver must not break the sandbox.
            log.warning("%s was not delivered", event["type"], exc_info=True)
            return None, failure

    def _next(
        self, tx: Transaction, events: Collection[str] | None
    ) -> tuple[int, int, str | None, Document] | None:
        """Return id, attempts, endpoint's id and event of the next delivery due, or None."""
        newest_first = tx.setting("webhooks_mode", "deliver") == "reorder"
        if newest_first:
            # An event that is being delivered by another thread must not be overtaken.
            claimed = "select 1 from deliveries where status = 'pending' and claimed_until >= ?"
            if tx.execute(claimed, (time.time(),)).fetchone():
                return None
        wanted = list(events or ())
        among = f"and event in ({', '.join('?' * len(wanted))})" if events is not None else ""
        row = tx.execute(
            "select id, attempts, endpoint, event from deliveries where status = 'pending'"  # noqa: S608
            f" and next_attempt_at <= ? and claimed_until < ? {among}"
            f" order by id {'desc' if newest_first else 'asc'}",
            (tx.now, time.time(), *wanted),
        ).fetchone()
        event = tx.get(row[3], "event") if row else None
        return (*row[:3], event) if event else None


def http_deliver(url: str) -> Deliver:
    """Return a function that posts an event to the URL and returns the HTTP status."""
    return partial(post, url)


def post(url: str, payload: bytes, header: str) -> int:
    """Post an event to the URL and return the HTTP status; follows no redirect.

    Raises OSError, HTTPException or ValueError where nobody answers.
    """
    parts = urllib.parse.urlsplit(url)
    secure = parts.scheme == "https"
    kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=TIMEOUT_SECONDS)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
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
