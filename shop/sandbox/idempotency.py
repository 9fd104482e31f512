"""Idempotency keys: the same request twice has one effect and one answer."""

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
# A process that dies in the middle loses its claim after this many real seconds.
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
    """What a request is answered with; `original` is the first request's id when replayed."""

    status: int
    doc: Document
    original: str | None = None


def fingerprint(method: str, path: str, params: Mapping[str, Any]) -> str:
    """Return a digest that is equal for equal requests."""
    text = json.dumps([method, path, params], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def once(
    store: Store,
    request: Mapping[str, str | None],
    mark: str,
    operation: Callable[[Transaction], Document],
) -> Answer:
    """Carry out the operation, or return the stored answer where the key was used before.

    The effect and the stored answer are one commit. Raises ApiError: 400 where the key came with
    other parameters, 409 while the first request is still being carried out, and whatever
    ParameterError the operation raises, which no key remembers.
    """
    key = request["idempotency_key"]
    stored = _claim(store, key, mark, str(request["id"])) if key else None
    if stored:
        return stored
    try:
        with store.write() as tx:
            tx.request = dict(request)
            answer = _carry_out(tx, operation)
            _keep(tx, key, answer)
    except BaseException:
        if key:
            _release(store, key)
        raise
    return answer


def _carry_out(tx: Transaction, operation: Callable[[Transaction], Document]) -> Answer:
    try:
        return Answer(200, operation(tx))
    except ParameterError:
        raise
    except ApiError as refusal:
        return Answer(refusal.status, refusal.body())


def _claim(store: Store, key: str, mark: str, request_id: str) -> Answer | None:
    """Take the key for this request, or return the answer that it already has."""
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
                (key, mark, request_id, time.time(), tx.now),
            )
            return None
    first, original, status, doc, _ = row
    if first != mark:
        raise IdempotencyError(400, OTHER_PARAMETERS.format(key=key))
    if status is None:
        raise ApiError(409, IN_USE.format(key=key), code="idempotency_key_in_use")
    return Answer(status, json.loads(doc), original)


def _keep(tx: Transaction, key: str | None, answer: Answer) -> None:
    tx.execute(
        "update idempotency set status = ?, doc = ? where key = ?",
        (answer.status, json.dumps(answer.doc), key),
    )


def _release(store: Store, key: str) -> None:
    with store.write() as tx:
        tx.execute("delete from idempotency where key = ? and status is null", (key,))
