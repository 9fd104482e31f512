"""Stripe's error objects, as exceptions."""

from typing import Any


class ApiError(Exception):
    """A request that is refused; `body()` is the error object that Stripe would send."""

    kind = "invalid_request_error"

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(message)
        self.status = status
        details = {"code": code, "param": param, **extra}
        self.error: dict[str, Any] = {"type": self.kind, "message": message}
        self.error |= {name: value for name, value in details.items() if value is not None}
        if code:
            self.error["doc_url"] = f"https://stripe.com/docs/error-codes/{code.replace('_', '-')}"

    def body(self) -> dict[str, Any]:
        """Return the JSON body of the answer."""
        return {"error": self.error}


class ParameterError(ApiError):
    """A parameter is wrong (400). Nothing was done, so its idempotency key stays free."""

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(400, message, code=code, param=param)


class CardError(ApiError):
    """The card cannot be used, or the bank declined it (402)."""

    kind = "card_error"


class IdempotencyError(ApiError):
    """An idempotency key was used again with other parameters (400)."""

    kind = "idempotency_error"


class ServerError(ApiError):
    """Stripe itself failed (500)."""

    kind = "api_error"


def missing_object(object_id: str, kind: str, param: str = "id") -> ApiError:
    """Return the 404 for an object that does not exist."""
    text = f"No such {kind}: '{object_id[:100]}'"
    return ApiError(404, text, code="resource_missing", param=param)


def missing_parameter(param: str) -> ParameterError:
    """Return the error for a parameter that Stripe requires."""
    text = f"Missing required param: {param}."
    return ParameterError(text, param=param, code="parameter_missing")
