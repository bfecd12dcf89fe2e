"""Cut Stripe's OpenAPI document down to what the sandbox checks requests and expansions against.

    python tests/contract/derive_sandbox_document.py

Writes integrations/stripe/sandbox/document.json.gz: the parameters of every operation, and per schema the fields that
`expand` may follow. A test compares the file with what this derives, so it cannot drift or be edited by hand.
"""

import gzip
import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SOURCE = HERE / "openapi.json.gz"
TARGET = HERE.parents[1] / "integrations/stripe/sandbox/document.json.gz"
KEPT = ("type", "enum", "required", "maxLength", "pattern", "maxItems")

Node = dict[str, Any]


def derive() -> Node:
    with gzip.open(SOURCE) as file:
        document = json.load(file)
    schemas = document["components"]["schemas"]
    operations = {
        f"{method.upper()} {template}": parameters(operation)
        for template, item in document["paths"].items()
        for method, operation in item.items()
    }
    return {"version": document["info"]["version"], "operations": operations, "expansions": expansions(schemas)}


def parameters(operation: Node) -> Node:
    """One object schema for an operation: its query parameters, and its form."""
    named = [p for p in operation.get("parameters", []) if p["in"] == "query"]
    content = operation.get("requestBody", {}).get("content", {})
    form = compact(next(iter(content.values()))["schema"]) if content else {}
    properties = {p["name"]: compact(p["schema"]) for p in named} | form.get("properties", {})
    required = [p["name"] for p in named if p.get("required")] + form.get("required", [])
    return {"type": "object", "properties": properties, "required": required}


def compact(schema: Node) -> Node:
    out = {key: schema[key] for key in KEPT if key in schema}
    if schema.get("format") == "decimal":
        out["format"] = "decimal"
    if "properties" in schema:
        out["properties"] = {name: compact(child) for name, child in schema["properties"].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            out[key] = compact(schema[key])
    if "anyOf" in schema:
        out["anyOf"] = [compact(child) for child in schema["anyOf"]]
    return out


def expansions(schemas: Node) -> Node:
    """{schema: {field: {"to": [schemas]} | {"list": schema} | {"in": schema}}}, dead ends left out."""
    table = {
        name: {f: step for f, p in s.get("properties", {}).items() if (step := follow(p))}
        for name, s in schemas.items()
    }
    while True:
        dead = {name for name, fields in table.items() if not fields}
        pruned = {
            name: {f: step for f, step in fields.items() if step.get("in") not in dead}
            for name, fields in table.items()
            if name not in dead
        }
        if pruned == table:
            return pruned
        table = pruned


def follow(prop: Node) -> Node | None:
    options = prop.get("anyOf", [prop])
    names = [option["$ref"].rsplit("/", 1)[-1] for option in options if "$ref" in option]
    if names and any(option.get("type") == "string" for option in options):
        return {"to": [name for name in names if not name.startswith("deleted_")]}
    if prop.get("type") == "array":
        return follow(prop["items"])
    data = prop.get("properties", {}).get("data", {})
    if data.get("type") == "array":
        items = follow(data["items"])
        return {"list": items["in"]} if items and "in" in items else None
    return {"in": names[0]} if len(names) == 1 else None


def encoded() -> bytes:
    return gzip.compress(json.dumps(derive(), separators=(",", ":"), sort_keys=True).encode(), mtime=0)


if __name__ == "__main__":
    TARGET.write_bytes(encoded())
