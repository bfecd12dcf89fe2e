"""The published document: what the routes declare, with the schemas that FastAPI cannot see added."""

import json
from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from api.schemas.event_log import AmendIn
from api.schemas.events import BulkIn, BulkOut, BulkProblem, CloudEventIn, EventIn, EventOut
from api.schemas.meters import MeterBody
from api.schemas.problem import Problem

__all__ = ["document_answer", "install", "json_answer", "request_body"]

_ABOUT = """
Usage events in, exact invoices out.

* **Keys.** Send yours in `X-API-Key`, or as `Authorization: Bearer`. It belongs to one tenant and environment and
  carries scopes; each route names the one that it needs.
* **Numbers.** Decimals are strings in answers. In requests a number is accepted too, its digits taken as written.
* **Times** are RFC 3339, in UTC in answers.
* **Names** of kinds and states are lower-case, and read in any case.
* **Lists** take `limit` and `cursor`, and answer `items` and `next_cursor`.
* **Retries.** Send an `Idempotency-Key` with a POST that creates: the same key and body get the first answer again,
  marked `Idempotency-Replayed: true`. Events need none: their own identity makes them count once.
* **Refusals** are `application/problem+json` (RFC 9457) with a stable `code`, the `field`, and a `hint` at the way out.
"""

_TAGS = [
    ("Keys", "Whose key this is."),
    ("Environment", "What a key belongs to, and when it is billed."),
    ("Connections", "The link to Stripe."),
    ("Meters", "How events become a number."),
    ("Features", "What prices are for."),
    ("Plans", "Prices with a billing period and a currency."),
    ("Prices", "What a quantity costs, in versions."),
    ("Coupons", "What is taken off the invoices of those who have one."),
    ("Credits", "What customers have paid or been given in advance."),
    ("Tax rates", "What comes on top of an invoice, or is in it already."),
    ("Customers", "Whom usage and invoices belong to."),
    ("Subscriptions", "A customer on a plan from a date."),
    ("Events", "Usage, as it happens."),
    ("Usage", "What the events add up to."),
    ("Invoices", "What is owed, line by line."),
    ("Credit notes", "What of a finalized invoice is taken back."),
    ("Late events", "What came after the invoice of its time was final."),
    ("Rating again", "What final periods come to by the events of today or by other prices."),
    ("Payments", "Saved cards and money that moved."),
    ("Runs", "Usage and billing done again, for any days."),
    ("Webhooks", "Where Stripe reports."),
    ("Health", "Whether the service runs."),
]

# Schemas of bodies that routes read and write by themselves.
_ANSWERS: tuple[type[BaseModel], ...] = (Problem, BulkOut, BulkProblem, EventOut)
_QUESTIONS: tuple[type[BaseModel], ...] = (AmendIn, BulkIn, CloudEventIn, EventIn, MeterBody)
_REFERENCE = "#/components/schemas/{model}"


def request_body(contents: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """`openapi_extra` of a route that reads its body itself; `contents` has a schema and an example per media type."""
    return {"requestBody": {"required": True, "content": dict(contents)}}


def json_answer(model: str, description: str) -> dict[str, Any]:
    """One of a route's `responses`, where the route writes its answer itself."""
    schema = {"$ref": _REFERENCE.format(model=model)}
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def document_answer(media_type: str, example: str) -> dict[str, Any]:
    """One of a route's `responses`, where the answer is a document for people."""
    return {"description": "The document.", "content": {media_type: {"schema": {"type": "string"}, "example": example}}}


def install(app: FastAPI) -> None:
    """Make `app` publish this document at /openapi.json and /docs."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    replacement: Callable[[], dict[str, Any]] = document
    app.openapi = replacement  # type: ignore[method-assign]


def _document(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(
        title=app.title,
        version=app.version,
        summary="Usage metering and billing.",
        description=_ABOUT,
        routes=app.routes,
        tags=[{"name": name, "description": description} for name, description in _TAGS],
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
    )
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    _, own = models_json_schema(
        [*((model, "validation") for model in _QUESTIONS), *((model, "serialization") for model in _ANSWERS)],
        ref_template=_REFERENCE,
    )
    schemas.update(own["$defs"])
    # FastAPI's own error shapes are never sent.
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    _add_answer_examples(document)
    return document


def _add_answer_examples(document: dict[str, Any]) -> None:
    known = json.loads(files("api.schemas").joinpath("examples.json").read_text(encoding="utf-8"))
    for methods in document["paths"].values():
        for operation in methods.values():
            for response in operation["responses"].values():
                content = response.get("content", {}).get("application/json", {})
                name = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
                if name in known:
                    content["example"] = known[name]
                elif name.startswith("Listing_"):
                    item = name.removeprefix("Listing_").removesuffix("_")
                    content["example"] = {"items": [known[item]], "next_cursor": None}
