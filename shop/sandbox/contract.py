"""What the pinned SDK's own types say about a request's parameters."""

import functools
import re
import types
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from .errors import ParameterError

# Where the SDK keeps the type of each endpoint's parameters, below `stripe.params`.
ENDPOINTS = {
    "sessions.create": ("checkout", "SessionCreateParams"),
    "sessions.retrieve": ("checkout", "SessionRetrieveParams"),
    "sessions.list": ("checkout", "SessionListParams"),
    "sessions.expire": ("checkout", "SessionExpireParams"),
    "sessions.line_items": ("checkout", "SessionLineItemListParams"),
    "payment_intents.retrieve": ("", "PaymentIntentRetrieveParams"),
    "payment_intents.list": ("", "PaymentIntentListParams"),
    "charges.create": ("", "ChargeCreateParams"),
    "charges.retrieve": ("", "ChargeRetrieveParams"),
    "charges.list": ("", "ChargeListParams"),
    "tokens.create": ("", "TokenCreateParams"),
    "tokens.retrieve": ("", "TokenRetrieveParams"),
    "refunds.create": ("", "RefundCreateParams"),
    "refunds.retrieve": ("", "RefundRetrieveParams"),
    "refunds.list": ("", "RefundListParams"),
    "disputes.retrieve": ("", "DisputeRetrieveParams"),
    "disputes.list": ("", "DisputeListParams"),
    "disputes.update": ("", "DisputeUpdateParams"),
    "disputes.close": ("", "DisputeCloseParams"),
    "events.retrieve": ("", "EventRetrieveParams"),
    "events.list": ("", "EventListParams"),
}
INTEGER = re.compile(r"-?[0-9]{1,15}")
DECIMAL = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,12})?")


@functools.cache
def api_version() -> str:
    """Return the API version that the SDK is pinned to."""
    from stripe._api_version import _ApiVersion

    return _ApiVersion.CURRENT


def check(endpoint: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters with their types: integers, booleans, lists.

    Raises ParameterError for what the SDK's types do not know.
    """
    fields, required = _fields(_parameters(endpoint))
    return _struct(fields, required, given, "")


@functools.cache
def _parameters(endpoint: str) -> Any:
    import stripe.params

    folder, name = ENDPOINTS[endpoint]
    return getattr(getattr(stripe.params, folder) if folder else stripe.params, name)


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


def _struct(
    fields: Mapping[str, Any], required: frozenset[str], given: Any, path: str
) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise ParameterError("Invalid object", param=path)
    unknown = [_inside(path, name) for name in given if name not in fields]
    if unknown:
        text = f"Received unknown parameter{'s'[: len(unknown) > 1]}: {', '.join(unknown)}"
        raise ParameterError(text[:500], param=unknown[0][:200], code="parameter_unknown")
    for name in sorted(required - given.keys()):
        raise absent(_inside(path, name))
    return {name: _value(fields[name], value, _inside(path, name)) for name, value in given.items()}


def absent(param: str) -> ParameterError:
    """Return the error for a parameter that has to be there."""
    return ParameterError(
        f"Missing required param: {param}.", param=param, code="parameter_missing"
    )


def _inside(path: str, name: str) -> str:
    return f"{path}[{name}]" if path else name


def _value(hint: Any, given: Any, path: str) -> Any:
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _one_of(args, given, path)
    if origin is Literal:
        return _enum(args, given, path)
    if origin is list:
        return [_value(args[0], item, f"{path}[{n}]") for n, item in enumerate(_items(given, path))]
    if origin is dict:
        if not isinstance(given, dict):
            raise ParameterError("Invalid object", param=path)
        return {key: _value(args[1], item, _inside(path, key)) for key, item in given.items()}
    if hasattr(hint, "__required_keys__"):
        return _struct(*_fields(hint), given, path)
    return _scalar(hint, given, path)


def _one_of(args: tuple[Any, ...], given: Any, path: str) -> Any:
    """Return the value by the first alternative that takes it."""
    # The empty string beside a type unsets the value; that makes it no enum.
    choices = [h for h in args if get_origin(h) is Literal and get_args(h) != ("",)]
    # An enum's "or any string" is there for values newer than the SDK; the sandbox has none.
    hints = [hint for hint in args if not (choices and hint is str)]
    hints = [hint for hint in hints if "UntypedStripeObject" not in str(hint)]
    error: ParameterError | None = None
    for hint in hints:
        try:
            return _value(hint, given, path)
        except ParameterError as refused:
            # The alternative that got furthest into the value has the most to say.
            if error is None or len(refused.error["param"]) >= len(error.error["param"]):
                error = refused
    raise error or ParameterError(f"Invalid value for {path}", param=path)


def _enum(choices: tuple[Any, ...], given: Any, path: str) -> Any:
    if given not in choices:
        text = f"Invalid {path}: must be one of {', '.join(map(str, choices))}"
        raise ParameterError(text, param=path)
    return given


def _items(given: Any, path: str) -> list[Any]:
    if not isinstance(given, dict) or not all(INTEGER.fullmatch(key) for key in given):
        raise ParameterError("Invalid array", param=path)
    return [given[key] for key in sorted(given, key=int)]


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
