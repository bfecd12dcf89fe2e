"""Stripe's refusals: one exception class that knows status, body, and what happens to the effects made so far."""

from typing import Any

Doc = dict[str, Any]


class StripeError(Exception):
    """An answer of 400 and above.

    `saved` says whether an Idempotency-Key remembers this answer (Stripe saves what happened once execution began, not
    failed validation, 401, 403, 409 or 429). `kept` says whether the effects made before it stay: a decline is an error
    that still leaves a failed charge behind.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        saved: bool = True,
        kept: bool = False,
        headers: dict[str, str] | None = None,
        **details: Any,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.saved = saved
        self.kept = kept
        self.headers = headers or {}
        given = {"type": kind, "message": message, "code": code, "param": param, **details}
        self.error: Doc = {name: value for name, value in given.items() if value is not None}

    def body(self) -> Doc:
        return {"error": self.error}


def invalid(message: str, param: str | None = None, code: str | None = None) -> StripeError:
    """Parameters that fail validation: nothing is executed, so no key remembers it."""
    return StripeError(400, message, code=code, param=param, saved=False)


def refused(message: str, code: str | None = None, param: str | None = None) -> StripeError:
    """A well-formed call that the object's state does not allow."""
    return StripeError(400, message, code=code, param=param)


def missing(kind: str, object_id: str, param: str = "id", status: int = 404) -> StripeError:
    """Stripe answers 404 for an id in the path and 400 for one in the parameters."""
    return StripeError(status, f"No such {kind.replace('.', ' ')}: '{object_id}'", code="resource_missing", param=param)


def not_implemented(operation: str) -> StripeError:
    message = f"The sandbox does not implement {operation}; Stripe does."
    return StripeError(400, message, code="sandbox_not_implemented", saved=False)


def unrecognized(method: str, path: str) -> StripeError:
    return StripeError(404, f"Unrecognized request URL ({method}: {path[:200]}).", saved=False)


def not_served(param: str) -> StripeError:
    """Stripe takes this parameter, the sandbox does not act on it: refusing is fairer than ignoring it in silence."""
    message = f"The sandbox does not implement the parameter {param}; Stripe does."
    return StripeError(400, message, code="sandbox_not_implemented", param=param, saved=False)
