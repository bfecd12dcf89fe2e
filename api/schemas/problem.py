"""The body of every refusal: RFC 9457 problem details with a stable code, the field and the way out."""

from typing import Any

from pydantic import Field

from api.schemas.common import Model

__all__ = ["PROBLEM_JSON", "FieldProblem", "Problem", "problem_of", "problems"]

PROBLEM_JSON = "application/problem+json"

_MEANINGS = {
    400: "The body cannot be read, or the signature is wrong.",
    401: "No key was sent, or it is unknown, revoked or expired.",
    402: "The payment provider refused the payment.",
    403: "The key lacks the scope that this route needs.",
    404: "There is no such thing, or it belongs to somebody else.",
    409: "It clashes with what exists, or the state does not allow it.",
    413: "The body is too large.",
    415: "The content type or encoding is not supported.",
    422: "The request is well formed, but something in it is wrong; `field` says where.",
    429: "More came at once than can be held. `Retry-After` says when to try again.",
    500: "The fault is ours. It is logged under `request_id`.",
    502: "The payment provider gave an answer that cannot be used.",
    503: "A part that is needed does not answer. Try again after `Retry-After` seconds.",
}


class FieldProblem(Model):
    """One of several things that are wrong with a request."""

    field: str = Field(description="Dotted path into the body, such as `prices[0].tiers[1].up_to`.")
    code: str
    detail: str


class Problem(Model):
    """Why a request was refused, and what to do."""

    type: str = Field(examples=["urn:tallyhouse:problem:unknown_field"])
    title: str = Field(examples=["Unprocessable Content"])
    status: int = Field(examples=[422])
    detail: str = Field(examples=["The field `unit_prise` is not known here."])
    code: str = Field(description="Stable; meant for programs.", examples=["unknown_field"])
    field: str | None = Field(default=None, examples=["prices[0].unit_prise"])
    hint: str | None = Field(default=None, examples=["Remove the field or check its spelling."])
    errors: list[FieldProblem] | None = Field(default=None, description="All that is wrong, the first one included.")
    instance: str = Field(examples=["/api/v1/plans"])
    request_id: str = Field(description="Also in the header X-Request-Id and in our log.")


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The documentation of these error answers, for a route's `responses`."""
    return {status: problem_of("Problem", status) for status in statuses}


def problem_of(model: str, status: int) -> dict[str, Any]:
    """The documentation of one error answer, which has this schema."""
    schema = {"$ref": f"#/components/schemas/{model}"}
    return {"description": _MEANINGS[status], "content": {PROBLEM_JSON: {"schema": schema}}}
