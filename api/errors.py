"""The single table from what went wrong to what the caller is told: RFC 9457 problem+json, always.

Errors below this layer know no HTTP. A NotFound about something in the path is a 404; about something that the body or
the query names it is a 422, because the route exists and `field` is what has to change.
"""

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DataError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import compile_path

from api.schemas.problem import PROBLEM_JSON
from billing.errors import (
    Conflict,
    GateFailed,
    InvalidInput,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    TallyError,
    TooLarge,
    TooManyRequests,
    Unavailable,
    UnsupportedMedia,
)
from billing.ports import CardDeclined, WebhookRefused

__all__ = ["REQUEST_ID", "http_refusal", "install", "problem_response", "refusal", "status_of", "unexpected"]

REQUEST_ID = "tally.request_id"
"""Key of the request's id in the ASGI scope."""

STATUS: dict[type[TallyError], int] = {
    InvalidInput: 422,
    NotFound: 404,
    Conflict: 409,
    GateFailed: 409,
    NotAllowed: 403,
    NotAuthenticated: 401,
    TooLarge: 413,
    UnsupportedMedia: 415,
    Unavailable: 503,
    TooManyRequests: 429,
    CardDeclined: 402,
    WebhookRefused: 400,
}

_STATUS_OF_CODE = {"body_not_json": 400}

_HINTS = {
    "customer_not_found": "Create it with POST /api/v1/customers, or list what exists with GET /api/v1/customers.",
    "meter_not_found": "Create it with POST /api/v1/meters, or list what exists with GET /api/v1/meters.",
    "feature_not_found": "Create it with POST /api/v1/features, or list what exists with GET /api/v1/features.",
    "price_not_found": "Add it with POST /api/v1/prices, or list what exists with GET /api/v1/prices.",
    "plan_not_found": "Create it with POST /api/v1/plans, or list what exists with GET /api/v1/plans.",
    "subscription_not_found": "GET /api/v1/subscriptions lists what exists.",
    "tax_rate_not_found": "Create it with POST /api/v1/tax-rates, or list what exists with GET /api/v1/tax-rates.",
    "coupon_not_found": "Create it with POST /api/v1/coupons, or list what exists with GET /api/v1/coupons.",
    "grant_not_found": "GET /api/v1/customers/{customer_id}/credits lists what exists.",
    "credit_note_not_found": "GET /api/v1/credit-notes lists what exists.",
    "discount_not_found": "GET /api/v1/discounts lists what exists.",
    "invoice_not_found": "GET /api/v1/invoices lists what exists.",
    "payment_not_found": "GET /api/v1/payments lists what exists.",
    "run_not_found": "GET /api/v1/runs lists what exists.",
    "rerate_not_found": "GET /api/v1/rerates lists what exists.",
    "connection_not_found": "Create one with POST /api/v1/connections, or list them with GET /api/v1/connections.",
}

# For errors that were raised without a way out of their own.
_DEFAULT_HINTS = {
    404: "Check the id; things of another environment are not visible to this key.",
    409: "Look at what exists and send a request that fits it.",
    422: "Correct the field and send the request again; /docs describes it.",
    429: "Send the request again after the seconds that Retry-After names.",
    503: "Send the request again after the seconds that Retry-After names.",
}

# pydantic's error type -> our stable code and the way out.
_VALIDATION = {
    "missing": ("missing_field", "Send this field."),
    "extra_forbidden": ("unknown_field", "Remove the field or check its spelling; /docs lists what this route takes."),
    "json_invalid": ("body_not_json", "Send one JSON document in UTF-8."),
    "literal_error": ("not_one_of", "Use one of the values named."),
    "enum": ("not_one_of", "Use one of the values named."),
    "string_too_short": ("too_short", "Send a longer text."),
    "string_too_long": ("too_long", "Send a shorter text."),
    "string_pattern_mismatch": ("wrong_form", "Send a text of the form that the detail names."),
    "string_unicode": ("not_unicode", "Send valid Unicode text."),
    "too_short": ("too_few_items", "Send more items."),
    "too_long": ("too_many_items", "Send fewer items."),
    "greater_than_equal": ("out_of_range", "Send a value inside the range."),
    "less_than_equal": ("out_of_range", "Send a value inside the range."),
    "not_a_decimal": ("not_a_decimal", "Quote the number, so that no digit is lost on the way."),
    "not_a_time": ("not_a_time", "Add the offset or Z."),
}
_MOST_ERRORS = 20

_HTTP_CODES = {
    400: ("bad_request", "Check the request against /docs."),
    404: ("route_not_found", "Check the path; /docs lists every route."),
    405: ("method_not_allowed", "Use a method that the header Allow names."),
    413: ("body_too_large", "Send less at once."),
}

_log = logging.getLogger("tally.api")


def install(app: FastAPI) -> None:
    """Make every refusal of `app` a problem document."""
    app.add_exception_handler(TallyError, refusal)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, http_refusal)
    app.add_exception_handler(DataError, _data_error)


def status_of(error: TallyError) -> int:
    """The HTTP status of an error, by its class and, for the few exceptions, its code."""
    if error.code in _STATUS_OF_CODE:
        return _STATUS_OF_CODE[error.code]
    return next((STATUS[cls] for cls in type(error).__mro__ if cls in STATUS), 500)


def problem_response(
    request: Request,
    status: int,
    code: str,
    detail: str,
    *,
    field: str | None = None,
    hint: str | None = None,
    errors: Sequence[dict[str, str]] = (),
    headers: dict[str, str] | None = None,
    more: Mapping[str, Any] | None = None,
) -> Response:
    """A problem document; `more` are further members, as RFC 9457 allows."""
    body: dict[str, Any] = {
        "type": f"urn:tallyhouse:problem:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
    }
    if field is not None:
        body["field"] = field
    if hint is not None:
        body["hint"] = hint
    if errors:
        body["errors"] = list(errors)
    body |= {"instance": request.url.path, "request_id": request.scope.get(REQUEST_ID, ""), **(more or {})}
    return JSONResponse(body, status, headers, media_type=PROBLEM_JSON)


def incomplete(request: Request) -> Response:
    """The answer to a request whose connection ended in the middle of its body."""
    return problem_response(
        request,
        400,
        "body_incomplete",
        "The connection ended before the whole body had come. Nothing of it was taken.",
        hint="Send the request again.",
    )


def unexpected(request: Request) -> Response:
    """What a caller is told about a fault of ours: nothing but the id under which it is logged."""
    hint = "Try again; if it stays, report the request id."
    return problem_response(request, 500, "internal_error", "Something went wrong on our side.", hint=hint)


def refusal(request: Request, error: Exception) -> Response:
    """The answer to a request that ended in one of our errors."""
    assert isinstance(error, TallyError)  # noqa: S101 - the handler is registered for this class
    status = status_of(error)
    if status == 500:
        _log.error("unmapped error %s", error.code, exc_info=error, extra={"request_id": request.scope.get(REQUEST_ID)})
        return unexpected(request)
    if status == 404 and error.field is not None and error.field not in request.path_params:
        status = 422
    headers = {}
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="tallyhouse"'
    if isinstance(error, Unavailable):
        headers["Retry-After"] = str(error.retry_after_seconds or 5)
    hint = error.hint or _HINTS.get(error.code) or _DEFAULT_HINTS.get(status)
    # Below, details may be the rest of a sentence that begins with the field.
    detail = str(error) if error.detail[:1].islower() else error.detail
    return problem_response(request, status, error.code, detail, field=error.field, hint=hint, headers=headers)


def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - the handler is registered for this class
    found = [_field_problem(item) for item in error.errors()[:_MOST_ERRORS]]
    first, (code, hint) = found[0], _code_and_hint(error.errors()[0])
    if code == "body_not_json":
        return problem_response(request, 400, code, "The body is not JSON.", hint=hint)
    return problem_response(request, 422, code, first["detail"], field=first["field"], hint=hint, errors=found)


def http_refusal(request: Request, error: Exception) -> Response:
    """The answer to a request that the framework, or a bound on its body, turned away."""
    assert isinstance(error, HTTPException)  # noqa: S101 - the handler is registered for this class
    phrase = HTTPStatus(error.status_code).phrase
    code, hint = _HTTP_CODES.get(error.status_code, (phrase.lower().replace(" ", "_"), None))
    headers = {"Allow": _allowed(request)} if error.status_code == 405 else dict(error.headers or {})
    return problem_response(request, error.status_code, code, f"{phrase}.", hint=hint, headers=headers)


def _allowed(request: Request) -> str:
    """Every method of the path: the router itself only names those of the first route that fits."""
    paths: dict[str, dict[str, Any]] = request.app.openapi()["paths"]
    fitting = {path: methods for path, methods in paths.items() if compile_path(path)[0].match(request.url.path)}
    # A path that stands there as it is counts before a template that it would fit as well.
    found = [fitting[request.url.path]] if request.url.path in fitting else list(fitting.values())
    return ", ".join(sorted({method.upper() for methods in found for method in methods}))


def _data_error(request: Request, error: Exception) -> Response:
    """The last net for a text that passed every check and that PostgreSQL cannot hold, such as one with a NUL in it."""
    _log.warning("request %s: the ledger refused a value: %s", request.scope.get(REQUEST_ID), type(error).__name__)
    hint = "Remove control characters from texts and cursors."
    return problem_response(request, 422, "value_not_storable", "A value cannot be stored.", hint=hint)


def _code_and_hint(item: dict[str, Any]) -> tuple[str, str]:
    kind = str(item["type"])
    if kind in _VALIDATION:
        return _VALIDATION[kind]
    if kind.endswith(("_type", "_parsing")):
        return "wrong_type", "Send a value of the type that the detail names."
    # The codes of our own validators are stable as they are.
    return kind, "Check the value against /docs."


def _field_problem(item: dict[str, Any]) -> dict[str, str]:
    field = _path(item["loc"])
    code, _ = _code_and_hint(item)
    detail = {
        "missing_field": f"The field `{field}` is missing.",
        "unknown_field": f"The field `{field}` is not known here.",
    }.get(code, f"{str(item['msg']).rstrip('.')}.")
    return {"field": field, "code": code, "detail": detail}


def _path(location: Sequence[str | int]) -> str:
    """`("body", "prices", 0, "tiers")` -> `prices[0].tiers`; the body as a whole is called `body`."""
    path = ""
    for part in location[1:]:
        if isinstance(part, int):
            path += f"[{part}]"
        elif part != "[key]":
            path += f".{part}" if path else part
    return path or str(location[0])
