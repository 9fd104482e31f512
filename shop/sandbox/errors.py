"""What Stripe answers when it says no."""

from typing import Any


class ApiError(Exception):
    """A refusal in Stripe's shape, raised while a request is carried out."""

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
    """A parameter that fails validation; nothing was carried out, so no key remembers it."""

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(400, message, code=code, param=param)


class CardError(ApiError):
    """The bank, or the card itself, said no (402)."""

    kind = "card_error"


class IdempotencyError(ApiError):
    """A key came back with other parameters (400)."""

    kind = "idempotency_error"


class AuthenticationError(ApiError):
    """No key, or one that the sandbox does not take (401)."""


class ServerError(ApiError):
    """What Stripe says on a bad day (500)."""

    kind = "api_error"


def missing(object_id: str, kind: str, param: str = "id") -> ApiError:
    """Return the 404 for an object that does not exist."""
    text = f"No such {kind}: '{object_id[:100]}'"
    return ApiError(404, text, code="resource_missing", param=param)
