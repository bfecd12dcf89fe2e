"""`/docs`: the document as one page for people. Rendered here, so that no stranger's script runs beside API keys."""

import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from fastapi import FastAPI
from jinja2 import Environment
from markdown_it import MarkdownIt
from markupsafe import Markup
from starlette.responses import HTMLResponse

__all__ = ["install"]

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "Referrer-Policy": "no-referrer",
}
_DEEPEST = 4
# HTML in a description stays text: `js-default` escapes it, and takes no link that could run something.
_MARKDOWN = MarkdownIt("js-default")


@dataclass(frozen=True)
class Field:
    """One line of a body's table; `path` is dotted, `[]` stands for each item."""

    path: str
    type: str
    required: bool
    about: str


@dataclass(frozen=True)
class Operation:
    """One route as the page shows it."""

    id: str
    method: str
    path: str
    about: str
    parameters: list[Field]
    fields: list[Field]
    curls: list[str]
    answer: str
    errors: dict[str, str]


def install(app: FastAPI) -> None:
    """Serve the page at /docs; the app's own docs have to be off."""

    @app.get("/docs", include_in_schema=False, response_class=HTMLResponse)
    async def docs() -> HTMLResponse:
        return HTMLResponse(_page(app), headers=_HEADERS)


@cache
def _page(app: FastAPI) -> str:
    document = app.openapi()
    by_tag: dict[str, list[Operation]] = {tag["name"]: [] for tag in document["tags"]}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            by_tag[operation["tags"][0]].append(_operation(document, path, method.upper(), operation))
    source = files("api").joinpath("templates", "reference.html").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["paragraphs"] = lambda text: Markup(_MARKDOWN.render(text))  # noqa: S704 -- escaped by it
    environment.filters["inline"] = lambda text: Markup(_MARKDOWN.renderInline(text))  # noqa: S704
    return environment.from_string(source).render(document=document, by_tag=by_tag)


def _operation(document: dict[str, Any], path: str, method: str, operation: dict[str, Any]) -> Operation:
    bodies: dict[str, dict[str, Any]] = operation.get("requestBody", {}).get("content", {"": {"schema": {}}})
    # Where a body has alternatives, the first one is the one whose fields are shown.
    shown = next(iter(bodies.values()))["schema"]
    schema = _resolved(document, shown.get("anyOf", [shown])[0])
    example = next(iter(schema.get("examples", [])), None)
    answers = operation["responses"]
    success = next(each for status, each in answers.items() if int(status) < 400)
    contents: list[dict[str, Any]] = list(success.get("content", {}).values())
    answer = contents[0].get("example") if contents else None
    return Operation(
        id=operation["operationId"],
        method=method,
        path=path,
        about=operation.get("description", ""),
        parameters=[_parameter(document, each) for each in operation.get("parameters", [])],
        fields=list(_fields(document, schema, "", _DEEPEST)),
        curls=[
            _curl(method, path, media_type, body.get("example", example), keyed="security" in operation)
            for media_type, body in bodies.items()
        ],
        answer="" if answer is None else json.dumps(answer, indent=2, ensure_ascii=False),
        errors={status: each["description"] for status, each in answers.items() if int(status) >= 400},
    )


def _curl(method: str, path: str, media_type: str, example: Any, *, keyed: bool) -> str:
    words = ["curl", *(() if method in {"GET", "POST"} and (method == "GET" or example) else ("-X", method))]
    lines = [" ".join([*words, f'"$TALLY_URL{path}"'])]
    if keyed:
        lines.append('-H "X-API-Key: $TALLY_API_KEY"')
    if example is not None:
        text = example if isinstance(example, str) else json.dumps(example, ensure_ascii=False)
        lines += [f"-H 'Content-Type: {media_type}'", f"--data-binary {shlex.quote(text)}"]
    return " \\\n  ".join(lines)


def _parameter(document: dict[str, Any], parameter: dict[str, Any]) -> Field:
    about = parameter.get("description") or parameter["schema"].get("description", "")
    kind = _type(document, parameter["schema"])
    return Field(f"{parameter['name']} ({parameter['in']})", kind, parameter.get("required", False), about)


def _fields(document: dict[str, Any], schema: dict[str, Any], prefix: str, depth: int) -> Iterator[Field]:
    required = schema.get("required", [])
    for name, each in schema.get("properties", {}).items():
        path = f"{prefix}{name}"
        about = each.get("description") or _resolved(document, each).get("description", "")
        yield Field(path, _type(document, each), name in required, about)
        inner, suffix = _inside(document, each)
        if inner and depth:
            yield from _fields(document, inner, f"{path}{suffix}.", depth - 1)


def _inside(document: dict[str, Any], schema: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """The object that a field holds, directly, as an alternative to null, or as items; and how its path is written."""
    for each in (schema, *schema.get("anyOf", [])):
        found = _resolved(document, each)
        if "properties" in found:
            return found, ""
        items = _resolved(document, found.get("items", {}))
        if "properties" in items:
            return items, "[]"
    return {}, ""


def _type(document: dict[str, Any], schema: dict[str, Any]) -> str:
    found = _resolved(document, schema)
    if "enum" in found or "const" in found:
        return " | ".join(str(value) for value in found.get("enum", [found.get("const")]))
    if "anyOf" in found:
        return " | ".join(dict.fromkeys(_type(document, each) for each in found["anyOf"]))
    if found.get("type") == "array":
        return f"list of {_type(document, found.get('items', {}))}"
    return str(found.get("format") or found.get("type", "any"))


def _resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    name = schema.get("$ref", "").rpartition("/")[2]
    found: dict[str, Any] = document["components"]["schemas"][name] if name else schema
    return found
