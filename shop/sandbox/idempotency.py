"""Idempotency keys: the same request sent twice has one effect and one answer."""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .errors import ApiError, IdempotencyError, ParameterError
from .store import Document, Store, Transaction

LONGEST_KEY = 255
KEPT_SECONDS = 24 * 3600
# A process that dies during a request frees its key after this many real seconds.
CLAIM_SECONDS = 60
OTHER_PARAMETERS = (
    "Keys for idempotent requests can only be used with the same parameters they were first used"
    " with. Try using a key other than '{key}' if you meant to execute a different request."
)
IN_USE = (
    "There is currently another in-progress request using this Idempotent Key (that probably means"
    " you submitted twice, and the other request is still going through): {key}"
)


@dataclass(frozen=True, slots=True)
class Answer:
    """Status and body of a response; `original` is the first request's id in a replay."""

    status: int
    doc: Document
    original: str | None = None


def fingerprint(method: str, path: str, params: Mapping[str, Any]) -> str:
    """Return a digest that is equal for equal requests."""
    text = json.dumps([method, path, params], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def run_once(
    store: Store,
    request: Mapping[str, str | None],
    request_fingerprint: str,
    operation: Callable[[Transaction], Document],
) -> Answer:
    """Run the operation, or return the stored answer where its key was used before.

    The effect and the stored answer are one commit; a declined card is stored like a success.
    Raises ApiError: 400 where the key was used with other parameters, 409 while the first request
    still runs. A ParameterError of the operation is not stored, so the key can be used again.
    """
    key = request["idempotency_key"]
    stored = _claim(store, key, request_fingerprint, str(request["id"])) if key else None
    if stored:
        return stored
    try:
        with store.write() as tx:
            tx.request = dict(request)
            try:
                answer = Answer(200, operation(tx))
            except ParameterError:
                raise
            except ApiError as error:
                answer = Answer(error.status, error.body())
            tx.execute(
                "update idempotency set status = ?, doc = ? where key = ?",
                (answer.status, json.dumps(answer.doc), key),
            )
    except BaseException:
        if key:
            with store.write() as tx:
                tx.execute("delete from idempotency where key = ? and status is null", (key,))
        raise
    return answer


def _claim(store: Store, key: str, request_fingerprint: str, request_id: str) -> Answer | None:
    """Reserve the key for this request, or return the answer that is stored under it."""
    if len(key) > LONGEST_KEY:
        raise ParameterError(f"Idempotency keys can have up to {LONGEST_KEY} characters.")
    with store.write() as tx:
        tx.execute("delete from idempotency where created < ?", (tx.now - KEPT_SECONDS,))
        row = tx.execute(
            "select fingerprint, request_id, status, doc, claimed_at from idempotency"
            " where key = ?",
            (key,),
        ).fetchone()
        if row is None or (row[2] is None and row[4] < time.time() - CLAIM_SECONDS):
            tx.execute(
                "insert or replace into idempotency values (?, ?, ?, ?, ?, null, null)",
                (key, request_fingerprint, request_id, time.time(), tx.now),
            )
            return None
    stored_fingerprint, original, status, doc, _ = row
    if stored_fingerprint != request_fingerprint:
        raise IdempotencyError(400, OTHER_PARAMETERS.format(key=key))
    if status is None:
        raise ApiError(409, IN_USE.format(key=key), code="idempotency_key_in_use")
    return Answer(status, json.loads(doc), original)
