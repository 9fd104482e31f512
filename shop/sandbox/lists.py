"""Reading objects as Stripe does: one by id, pages by cursor and filter, and `expand`."""

import json
from collections.abc import Callable
from typing import Any

from . import objects
from .errors import ParameterError, missing_object
from .store import Document, Transaction

FILTERS = ("payment_intent", "charge", "status", "type", "customer", "customer_account",
           "payment_link", "subscription", "transfer_group")  # fmt: skip
BOUNDS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
Operation = Callable[..., Document]
KINDS = {"pi": "payment_intent", "ch": "charge", "prod": "product"}


def retriever(kind: str, param: str) -> Operation:
    """Return an operation that returns one object of the kind, or raises 404."""

    def retrieve(tx: Transaction, _: dict[str, Any], object_id: str) -> Document:
        doc = tx.get(object_id, kind)
        if doc is None:
            raise missing_object(object_id, kind, param)
        return doc

    return retrieve


def lister(kind: str, url: str) -> Operation:
    """Return an operation that returns a page of objects of the kind, newest first."""
    return lambda tx, params: list_page(tx, kind, url, params)


def list_page(tx: Transaction, kind: str, url: str, params: dict[str, Any]) -> Document:
    """Return the page for these `limit`, cursors and filters, newest first."""
    limit = page_size(params)
    conditions: list[tuple[str, object]] = [
        (f"json_extract(doc, '$.{name}') = ?", params[name]) for name in FILTERS if name in params
    ]
    if "types" in params:
        among = "json_extract(doc, '$.type') in (select value from json_each(?))"
        conditions.append((among, json.dumps(params["types"])))
    if email := params.get("customer_details", {}).get("email"):
        conditions.append(("json_extract(doc, '$.customer_details.email') = ?", email))
    created = params.get("created", {})
    bounds = created if isinstance(created, dict) else {"gte": created, "lte": created}
    conditions += [(f"created {BOUNDS[name]} ?", value) for name, value in bounds.items()]
    backwards = "ending_before" in params
    for name, sign in (("starting_after", "<"), ("ending_before", ">")):
        if name in params:
            seq = tx.seq(params[name])
            if seq is None:
                raise missing_object(params[name], kind, name)
            conditions.append((f"seq {sign} ?", seq))
    found = tx.find(kind, conditions, limit=limit + 1, oldest_first=backwards)
    data = found[:limit]
    return objects.page(url, data[::-1] if backwards else data, has_more=len(found) > limit)


def page_size(params: dict[str, Any]) -> int:
    """Return `limit`, by default 10; raises ParameterError where it is not from 1 to 100."""
    limit: int = params.get("limit", 10)
    if not 1 <= limit <= 100:
        text = "This value must be between 1 and 100."
        raise ParameterError(text, param="limit", code="parameter_invalid_integer")
    return limit


def expand(tx: Transaction, doc: Document, paths: list[str]) -> Document:
    """Return the object with the ids at these paths replaced by the objects."""
    for path in paths:
        if not _expand(tx, doc, path.split(".")[:4]):
            text = f"This property cannot be expanded ({path[:100]})."
            raise ParameterError(text, param="expand")
    return doc


def _expand(tx: Transaction, doc: Document, steps: list[str]) -> bool:
    """Expand one path in place; return False where the object has nothing to expand there."""
    name, rest = steps[0], steps[1:]
    if doc.get("object") == "list" and name == "data" and rest:
        return all(_expand(tx, item, rest) for item in doc["data"])
    hidden = doc.get("_", {})
    if name == "line_items" and "lines" in hidden:
        url = f"/v1/checkout/sessions/{doc['id']}/line_items"
        lines = hidden["lines"]
        doc[name] = objects.page(url, lines[:10], has_more=len(lines) > 10)
    elif name == "refunds" and doc.get("object") == "charge":
        url = f"/v1/charges/{doc['id']}/refunds"
        doc[name] = list_page(tx, "refund", url, {"charge": doc["id"]})
    elif name == "product" and "product" in hidden:
        doc[name] = hidden["product"]
    elif isinstance(doc.get(name), str) and doc[name].partition("_")[0] in KINDS:
        doc[name] = tx.get(doc[name], KINDS[doc[name].partition("_")[0]]) or doc[name]
    elif name not in doc or (doc[name] is not None and not isinstance(doc[name], (dict, list))):
        return False
    inner = doc[name]
    if not rest or inner is None:
        return True
    return isinstance(inner, dict) and _expand(tx, inner, rest)
