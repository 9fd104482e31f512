"""Checks a request's parameters against the types of the pinned SDK."""

import functools
import re
import types
from collections.abc import Mapping
from operator import attrgetter
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from .data import load
from .errors import ParameterError, missing_parameter

# The SDK's class of each resource; `stripe.params` has the types of its parameters.
CLASSES = {
    "sessions": "checkout.Session",
    "line_items": "checkout.SessionLineItem",
    "payment_intents": "PaymentIntent",
    "charges": "Charge",
    "tokens": "Token",
    "refunds": "Refund",
    "disputes": "Dispute",
    "events": "Event",
    "webhook_endpoints": "WebhookEndpoint",
}
INTEGER = re.compile(r"-?[0-9]{1,15}")
DECIMAL = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,12})?")


@functools.cache
def api_version() -> str:
    """Return the API version of the pinned SDK."""
    from stripe._api_version import _ApiVersion

    return _ApiVersion.CURRENT


def check(endpoint: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters as integers, booleans, lists and texts, as the SDK declares them.

    Raises ParameterError where the SDK does not know a parameter or its value, or where the
    sandbox would ignore it (`acted_upon.json`).
    """
    import stripe.params

    resource, action = endpoint.split(".")
    struct = attrgetter(f"{CLASSES[resource]}{action.title()}Params")(stripe.params)
    checked = _struct(struct, given, "")
    for name, value in checked.items():
        _refuse_ignored(acted_upon(endpoint), name, value, name)
    return checked


@functools.cache
def acted_upon(endpoint: str) -> dict[str, list[str]]:
    """Return what the endpoint acts upon: dotted paths with the values it takes, [] for any."""
    entries = [entry.partition("=") for entry in load("acted_upon").get(endpoint, ())]
    return {
        "expand": [],
        **{path: values.split("/") if values else [] for path, _, values in entries},
    }


def _refuse_ignored(known: Mapping[str, list[str]], path: str, value: Any, param: str) -> None:
    """Raise ParameterError for what the SDK knows and the sandbox would ignore."""
    text = param
    if path in known:
        if not known[path] or str(value).lower() in known[path]:
            return
        text = f"{param}={value}"
    elif isinstance(value, dict):
        for name, inner in value.items():
            _refuse_ignored(known, f"{path}.{name}", inner, f"{param}[{name}]")
        return
    elif isinstance(value, list):
        for n, inner in enumerate(value):
            _refuse_ignored(known, path, inner, f"{param}[{n}]")
        return
    raise ParameterError(f"The sandbox does not act upon {text} yet.", param=param)


@functools.cache
def _fields(struct: Any) -> tuple[dict[str, Any], frozenset[str]]:
    """Return a TypedDict's fields with their types, and the names of those it requires."""
    from stripe._request_options import RequestOptions

    # The SDK imports these two for type checkers only.
    names = {"StripeContext": object, "Mapping": Mapping}
    hints = get_type_hints(struct, localns=names)
    options = RequestOptions.__annotations__
    fields = {name: hint for name, hint in hints.items() if name not in options}
    return fields, frozenset(struct.__required_keys__) - options.keys()


def _struct(struct: Any, given: Any, path: str) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise ParameterError("Invalid object", param=path)
    fields, required = _fields(struct)
    unknown = [_inside(path, name) for name in given if name not in fields]
    if unknown:
        text = f"Received unknown parameter{'s'[: len(unknown) > 1]}: {', '.join(unknown)}"
        raise ParameterError(text[:500], param=unknown[0][:200], code="parameter_unknown")
    for name in sorted(required - given.keys()):
        raise missing_parameter(_inside(path, name))
    return {name: _value(fields[name], value, _inside(path, name)) for name, value in given.items()}


def _inside(path: str, name: str) -> str:
    return f"{path}[{name}]" if path else name


def _value(hint: Any, given: Any, path: str) -> Any:
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _one_of(args, given, path)
    if origin is Literal:
        if given not in args:
            text = f"Invalid {path}: must be one of {', '.join(map(str, args))}"
            raise ParameterError(text, param=path)
        return given
    if origin is list:
        if not isinstance(given, dict) or not all(INTEGER.fullmatch(key) for key in given):
            raise ParameterError("Invalid array", param=path)
        items = [given[key] for key in sorted(given, key=int)]
        return [_value(args[0], item, f"{path}[{n}]") for n, item in enumerate(items)]
    if origin is dict:
        if not isinstance(given, dict):
            raise ParameterError("Invalid object", param=path)
        return {key: _value(args[1], item, _inside(path, key)) for key, item in given.items()}
    if hasattr(hint, "__required_keys__"):
        return _struct(hint, given, path)
    return _scalar(hint, given, path)


def _one_of(args: tuple[Any, ...], given: Any, path: str) -> Any:
    """Return the value as the first alternative that accepts it."""
    # Many parameters also take "" to unset them; that alone makes none an enum.
    choices = [h for h in args if get_origin(h) is Literal and get_args(h) != ("",)]
    # The SDK adds "or any string" to an enum for values newer than itself; the sandbox has none.
    hints = [hint for hint in args if not (choices and hint is str)]
    hints = [hint for hint in hints if "UntypedStripeObject" not in str(hint)]
    error: ParameterError | None = None
    for hint in hints:
        try:
            return _value(hint, given, path)
        except ParameterError as refused:
            # Report the alternative that got deepest into the value: it fits best.
            if error is None or len(refused.error["param"]) >= len(error.error["param"]):
                error = refused
    raise error or ParameterError(f"Invalid value for {path}", param=path)


def _scalar(hint: Any, given: Any, path: str) -> Any:
    if not isinstance(given, str):
        raise ParameterError(f"Invalid string: {path} must be a single value", param=path)
    if hint is int:
        if not INTEGER.fullmatch(given):
            text = f"Invalid integer: {given[:100]}"
            raise ParameterError(text, param=path, code="parameter_invalid_integer")
        return int(given)
    if hint is bool:
        if given not in ("true", "false"):
            raise ParameterError(f"Invalid boolean: {given[:100]}", param=path)
        return given == "true"
    if hint is not str and not DECIMAL.fullmatch(given):
        raise ParameterError(f"Invalid decimal: {given[:100]}", param=path)
    return given
