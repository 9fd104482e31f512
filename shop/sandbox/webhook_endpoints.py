"""Webhook endpoints: the addresses to which events go, and which events."""

import ipaddress
from typing import Any
from urllib.parse import urlsplit

from . import objects
from .errors import ApiError, ParameterError
from .lists import retriever
from .store import Document, Transaction, new_id
from .validation import check_length, check_url, merge_metadata

KIND = "webhook_endpoint"
MOST = 16
LOCAL_DOMAINS = ("localhost", "local", "internal")
NOT_PUBLIC = (
    "Invalid URL: URL must be publicly accessible. Consider using a tool like the Stripe CLI to"
    " test webhooks locally."
)
retrieve = retriever(KIND, KIND)


def create(tx: Transaction, params: dict[str, Any]) -> Document:
    """Create an enabled endpoint and return it with its secret, which no later answer has."""
    secret = new_id("whsec", 32)
    endpoint = objects.new(tx, KIND, new_id("we"), _={"secret": secret})
    endpoint["api_version"] = params.get("api_version")
    _change(endpoint, params)
    if len(tx.find(KIND, limit=MOST)) == MOST:
        raise ApiError(400, f"You have reached the maximum of {MOST} test webhook endpoints.")
    return {**tx.put(endpoint), "secret": secret}


def update(tx: Transaction, params: dict[str, Any], endpoint_id: str) -> Document:
    """Change what is given of an endpoint, and return it."""
    endpoint = retrieve(tx, {}, endpoint_id)
    _change(endpoint, params)
    return tx.put(endpoint)


def delete(tx: Transaction, _: dict[str, Any], endpoint_id: str) -> Document:
    """Delete an endpoint and return what is left of it."""
    retrieve(tx, {}, endpoint_id)
    tx.delete(endpoint_id)
    return {"id": endpoint_id, "object": KIND, "deleted": True}


def receivers(tx: Transaction, event_type: str) -> list[tuple[str | None, str | None]]:
    """Return id and url of each enabled endpoint that takes events of the type.

    The receiver that is there from the start has no id, and perhaps no url. It steps aside while
    an endpoint, even a disabled one, has the same url, so that nothing is delivered twice.
    """
    endpoints = tx.find(KIND, limit=MOST, oldest_first=True)
    found: list[tuple[str | None, str | None]] = [
        (endpoint["id"], endpoint["url"])
        for endpoint in endpoints
        if endpoint["status"] == "enabled" and {event_type, "*"} & set(endpoint["enabled_events"])
    ]
    replaced = tx.start_url in [endpoint["url"] for endpoint in endpoints]
    return found if tx.start_url is None or replaced else [(None, tx.start_url or None), *found]


def _change(endpoint: Document, params: dict[str, Any]) -> None:
    if "url" in params:
        check_url(params["url"], "url")
        check_length(params["url"], 2048, "url")
        if not _is_public(urlsplit(params["url"]).hostname or ""):
            raise ParameterError(NOT_PUBLIC, param="url", code="url_invalid")
        endpoint["url"] = params["url"]
    if "enabled_events" in params:
        if "*" in params["enabled_events"] and len(params["enabled_events"]) > 1:
            text = "The sandbox takes `*` alone, without other types of events."
            raise ParameterError(text, param="enabled_events")
        endpoint["enabled_events"] = params["enabled_events"]
    if "description" in params:
        check_length(params["description"], 5000, "description")
        endpoint["description"] = params["description"] or None
    if "disabled" in params:
        endpoint["status"] = "disabled" if params["disabled"] else "enabled"
    endpoint["metadata"] = merge_metadata(endpoint["metadata"], params.get("metadata", {}))


def _is_public(host: str) -> bool:
    """Return whether the host could be reached from elsewhere; no name is looked up."""
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return "." in host and host.rstrip(".").rpartition(".")[2] not in LOCAL_DOMAINS
