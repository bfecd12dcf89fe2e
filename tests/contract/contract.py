"""Hold recorded Stripe exchanges to Stripe's OpenAPI document.

    python tests/contract/contract.py exchanges.jsonl

Each line is one exchange:

    {"method": "POST", "path": "/v1/invoices", "query": "", "form": "customer=cus_1&...",
     "status": 200, "response": {...}, "idempotency_key": "inv-7:create"}

`query` and `form` may be the raw encoded string or an already decoded dict. A recording of several accounts names
each exchange's `account`: idempotency keys of different accounts have nothing to do with each other.
Prints every violation and exits 1 if there is one.

    check(exchange)      -> list[str]   one exchange
    check_all(exchanges) -> list[str]   plus rules that span exchanges
    check_event(event)   -> list[str]   one webhook body, with its data.object
    check_object(obj)    -> list[str]   one Stripe object, found by its "object" name
"""

import functools
import gzip
import json
import pathlib
import re
import sys
import urllib.parse
from collections.abc import Iterable
from typing import Any

import jsonschema
import referencing
import referencing.jsonschema

Node = dict[str, Any]
DOCUMENT = pathlib.Path(__file__).with_name("openapi.json.gz")
BASE = "stripe:document"

# POSTs that create something or do one of these need our own idempotency key: a retry without one can
# bill a customer twice.
MONEY_ACTIONS = {
    "add_lines", "attach_payment", "finalize", "pay", "send", "void", "mark_uncollectible",
    "confirm", "capture", "cancel", "increment_authorization", "apply_customer_balance",
}  # fmt: skip
UNKEYED = ("/v1/invoices/create_preview", "/v1/test_helpers/")
# The SDK puts a random key of this form on every POST that has none, so that its own retries are
# safe. Such a key is lost with the process: presence alone proves nothing.
RANDOM_KEY = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", re.IGNORECASE)


@functools.cache
def document() -> Node:
    with gzip.open(DOCUMENT) as f:
        return dict(json.load(f))


@functools.cache
def _routes() -> list[tuple[list[str], str]]:
    """(segments, template) for each path, literal segments before parameters."""
    out = [(t.strip("/").split("/"), t) for t in document()["paths"]]
    return sorted(out, key=lambda r: [s.startswith("{") for s in r[0]])


def route(method: str, path: str) -> tuple[str, Node] | tuple[None, str]:
    """The document's (template, operation) for a call, or (None, why not)."""
    segments = urllib.parse.urlsplit(path).path.strip("/").split("/")
    found = None
    for template_segments, template in _routes():
        if len(segments) == len(template_segments) and all(
            t == s or (t.startswith("{") and s) for t, s in zip(template_segments, segments, strict=True)
        ):
            operation = document()["paths"][template].get(method.lower())
            if operation:
                return template, operation
            found = found or template
    if found:
        return None, f"method {method.upper()} is not defined for {found}"
    return None, f"path {path} is not in the document"


def _deref(schema: Node) -> Node:
    while "$ref" in schema:
        schema = document()["components"]["schemas"][schema["$ref"].rsplit("/", 1)[-1]]
    return schema


def decode(encoded: str | bytes | Node | None) -> Node:
    """Stripe's bracket form encoding (raw string, flat dict or nested dict) as nested dicts.

    List elements come out under their index ("0", "1", ...); `a[]` is numbered in order.
    """
    if not encoded:
        return {}
    if isinstance(encoded, bytes):
        encoded = encoded.decode()
    if isinstance(encoded, str):
        pairs = urllib.parse.parse_qsl(encoded, keep_blank_values=True)
    elif any("[" in key for key in encoded):
        pairs = [(k, v) for k, vs in encoded.items() for v in (vs if isinstance(vs, list) else [vs])]
    else:
        return encoded
    root: Node = {}
    for key, value in pairs:
        parts = [key.split("[", 1)[0], *re.findall(r"\[([^\[\]]*)\]", key[key.find("[") :] if "[" in key else "")]
        node = root
        for i, given in enumerate(parts):
            part = given or str(len(node))
            if i == len(parts) - 1:
                if part in node:
                    raise ValueError(f"{key} is given twice")
                node[part] = value
            else:
                node = node.setdefault(part, {})
                if not isinstance(node, dict):
                    raise ValueError(f"{key} is both a value and a container")
    return root


def _shape(value: Any) -> str:
    return "object" if isinstance(value, dict) else "array" if isinstance(value, list) else "scalar"


def _request(value: Any, schema: Node, where: str) -> list[str]:
    """Violations of one request value. Leaves may be form strings or typed JSON."""
    schema = _deref(schema)
    if "anyOf" in schema:
        tries = [_request(value, option, where) for option in schema["anyOf"]]
        if any(not t for t in tries):
            return []

        # Report against the alternative that fits the value's shape best.
        def rank(pair: tuple[Node, list[str]]) -> tuple[bool, bool, int]:
            option = _deref(pair[0])
            kind = option.get("type") if option.get("type") in ("object", "array") else "scalar"
            shape = _shape(value)
            fits = kind == shape or (kind == "array" and shape == "object" and all(k.isdigit() for k in value))
            return (not fits, option.get("enum") == [""], len(pair[1]))

        return min(zip(schema["anyOf"], tries, strict=True), key=rank)[1]
    kind = schema.get("type")
    if kind == "object":
        if not isinstance(value, dict):
            return [f"{where}: expected an object, got {value!r}"]
        return _request_object(value, schema, where)
    if kind == "array":
        if isinstance(value, dict) and value and all(k.isdigit() for k in value):
            value = [value[k] for k in sorted(value, key=int)]
        if not isinstance(value, list):
            return [f"{where}: expected an array, got {value!r}"]
        out: list[str] = []
        for i, item in enumerate(value):
            out += _request(item, schema.get("items", {}), f"{where}[{i}]")
        if "maxItems" in schema and len(value) > schema["maxItems"]:
            out.append(f"{where}: {len(value)} items, at most {schema['maxItems']}")
        return out
    if isinstance(value, (dict, list)):
        return [f"{where}: expected a {kind or 'scalar'}, got {_shape(value)}"]
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if kind == "integer" and not re.fullmatch(r"-?\d+", text):
        return [f"{where}: expected an integer, got {text!r}"]
    if kind == "number" and not re.fullmatch(r"-?\d+(\.\d+)?", text):
        return [f"{where}: expected a number, got {text!r}"]
    if kind == "boolean" and text not in ("true", "false"):
        return [f"{where}: expected a boolean, got {text!r}"]
    if schema.get("format") == "decimal" and not re.fullmatch(r"-?\d+(\.\d{1,12})?", text):
        return [f"{where}: expected a plain decimal of at most 12 places, got {text!r}"]
    if "enum" in schema and text not in [str(e) for e in schema["enum"]]:
        return [f"{where}: {text!r} is not one of {', '.join(map(repr, schema['enum']))}"]
    if "maxLength" in schema and len(text) > schema["maxLength"]:
        return [f"{where}: {len(text)} characters, at most {schema['maxLength']}"]
    if "pattern" in schema and not re.search(schema["pattern"], text):
        return [f"{where}: {text!r} does not match {schema['pattern']}"]
    return []


def _request_object(value: Node, schema: Node, where: str) -> list[str]:
    properties = schema.get("properties", {})
    extra = schema.get("additionalProperties")
    out = [f"{where}.{name}: required parameter is missing" for name in schema.get("required", []) if name not in value]
    for name, item in value.items():
        at = f"{where}.{name}"
        if name in properties:
            out += _request(item, properties[name], at)
        elif isinstance(extra, dict):
            out += _request(item, extra, at)
        elif extra is not True:
            out.append(f"{at}: unknown parameter")
    if where.rsplit(".", 1)[-1] in ("metadata", "invoice_metadata"):
        out += _metadata(value, where)
    return out


def _metadata(value: Node, where: str) -> list[str]:
    """Limits that the API reference states and the document leaves out."""
    out = []
    if len(value) > 50:
        out.append(f"{where}: {len(value)} keys, at most 50")
    for key, item in value.items():
        if len(key) > 40:
            out.append(f"{where}.{key}: key of {len(key)} characters, at most 40")
        if len(str(item)) > 500:
            out.append(f"{where}.{key}: value of {len(str(item))} characters, at most 500")
    return out


def _parameters(operation: Node, place: str) -> Node:
    """One object schema made of an operation's query parameters or its form."""
    if place == "form":
        content = operation.get("requestBody", {}).get("content", {})
        return dict(next(iter(content.values()))["schema"]) if content else {"type": "object"}
    named = [p for p in operation.get("parameters", []) if p["in"] == "query"]
    return {
        "type": "object",
        "properties": {p["name"]: p["schema"] for p in named},
        "required": [p["name"] for p in named if p.get("required")],
    }


def check_request(exchange: Node) -> list[str]:
    method = exchange["method"].upper()
    _, operation = route(method, exchange["path"])
    if isinstance(operation, str):
        return [operation]
    inline = urllib.parse.urlsplit(exchange["path"]).query
    try:
        query, form = decode(exchange.get("query") or inline), decode(exchange.get("form"))
    except ValueError as error:
        return [f"request: {error}"]
    if method == "POST":
        out = [f"query.{name}: a POST takes no query parameters" for name in query]
        return out + _request(form, _parameters(operation, "form"), "form")
    # The SDK sends the parameters of a DELETE in the query; the document lists them as a form.
    asked, body = _parameters(operation, "query"), _parameters(operation, "form")
    asked["properties"] = {**body.get("properties", {}), **asked["properties"]}
    out = [f"form.{name}: a GET or DELETE takes no form" for name in form]
    return out + _request(query, asked, "query")


def needs_key(method: str, path: str) -> bool:
    template, _ = route("POST", path)
    if method.upper() != "POST" or template is None or template.startswith(UNKEYED):
        return False
    *_, last = template.split("/")
    creates = not last.startswith("{") and ("{" not in template or "get" in document()["paths"][template])
    return creates or last in MONEY_ACTIONS


def check_key(exchange: Node) -> list[str]:
    key = exchange.get("idempotency_key")
    out = []
    if key and len(key) > 255:
        out.append(f"idempotency key of {len(key)} characters, at most 255")
    if needs_key(exchange["method"], exchange["path"]):
        if not key:
            out.append("idempotency key is missing on a call that creates something or moves money")
        elif RANDOM_KEY.match(key):
            out.append(f"idempotency key {key} looks random: it must be derived from what is being billed")
    return out


def to_json_schema(node: Any) -> Any:
    """OpenAPI 3.0 schema -> JSON Schema: `nullable` becomes a choice with null, objects are closed."""
    if isinstance(node, list):
        return [to_json_schema(item) for item in node]
    if not isinstance(node, dict):
        return node
    if isinstance(node.get("$ref"), str):
        return {"$ref": BASE + node["$ref"]}
    out: Node = {}
    for key, value in node.items():
        if key == "properties":
            out[key] = {name: to_json_schema(s) for name, s in value.items()}
        elif key in ("items", "anyOf", "oneOf", "allOf", "additionalProperties"):
            out[key] = to_json_schema(value)
        elif key in ("type", "enum", "required", "maxLength", "minLength", "pattern"):
            out[key] = value
    if out.get("type") == "object" and out.get("properties") and "additionalProperties" not in out:
        out["additionalProperties"] = False  # e.g. a field that this API version no longer has
    if node.get("nullable"):
        return {"anyOf": [out, {"type": "null"}]}
    return out


@functools.cache
def _registry() -> Any:
    schemas = document()["components"]["schemas"]
    whole = {"components": {"schemas": {name: to_json_schema(s) for name, s in schemas.items()}}}
    resource = referencing.jsonschema.DRAFT202012.create_resource(whole)
    return referencing.Registry().with_resource(BASE, resource)


def _is_integer(_checker: Any, value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


_Validator = jsonschema.validators.extend(
    jsonschema.Draft202012Validator,
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine("integer", _is_integer),
)


def _describe(error: Any) -> list[str]:
    """A validation error as readable lines, following the alternative the value means to be."""
    if error.validator == "anyOf" and error.context:
        branches: dict[int, list[Any]] = {}
        for sub in error.context:
            branches.setdefault(sub.schema_path[0], []).append(sub)

        def rank(errors: list[Any]) -> tuple[bool, bool, bool, int]:
            here = len(error.absolute_path)
            wrong_type = any(e.validator == "type" and len(e.absolute_path) == here for e in errors)
            wrong_object = any(e.validator == "enum" and list(e.absolute_path)[here:] == ["object"] for e in errors)
            given = error.instance if isinstance(error.instance, dict) else {}
            wrong_twin = "deleted" not in given and any("'deleted' is a required" in e.message for e in errors)
            return (wrong_type, wrong_object, wrong_twin, len(errors))

        best = min(branches.values(), key=rank)
        return [line for e in best for line in _describe(e)]
    where = "response" + "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in error.absolute_path)
    if error.validator == "required":
        missing = re.match(r"'(.+)' is a required", error.message)
        return [f"{where}.{missing.group(1)}: required field is missing" if missing else f"{where}: {error.message}"]
    if error.validator == "additionalProperties":
        known = error.schema.get("properties", {})
        return [f"{where}.{name}: field is not in the document" for name in error.instance if name not in known]
    shown = json.dumps(error.instance, default=str)
    shown = shown if len(shown) < 80 else shown[:77] + "..."
    if error.validator == "type":
        wanted = error.validator_value
        return [f"{where}: expected {wanted}, got {shown}"]
    if error.validator == "enum":
        return [f"{where}: {shown} is not one of {', '.join(map(repr, error.validator_value))}"]
    if error.validator == "maxLength":
        return [f"{where}: {len(error.instance)} characters, at most {error.validator_value}"]
    return [f"{where}: {error.message[:200]}"]


@functools.lru_cache(maxsize=512)
def _compiled(pointer: tuple[str, ...]) -> Any:
    node = document()
    for part in pointer:
        node = node[part]
    return _Validator(to_json_schema(node), registry=_registry())


def _conforms(value: Any, node: Node) -> bool:
    """Whether a value is what the document allows: the same rules as the schemas below, many times faster.

    Nearly everything conforms; only what does not is worth the slow search for words.
    """
    node = _deref(node)
    if value is None and node.get("nullable"):
        return True
    if "anyOf" in node and not any(_conforms(value, option) for option in node["anyOf"]):
        return False
    if "enum" in node and value not in node["enum"]:
        return False
    match node.get("type"):
        case "object":
            return isinstance(value, dict) and _object_conforms(value, node)
        case "array":
            return isinstance(value, list) and all(_conforms(item, node.get("items", {})) for item in value)
        case "string":
            return isinstance(value, str) and _string_conforms(value, node)
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool)
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "boolean":
            return isinstance(value, bool)
    return True


def _object_conforms(value: Node, node: Node) -> bool:
    properties = node.get("properties", {})
    extra = node.get("additionalProperties", not properties)
    if any(name not in value for name in node.get("required", [])):
        return False
    for name, item in value.items():
        if name in properties:
            if not _conforms(item, properties[name]):
                return False
        elif extra is False or (isinstance(extra, dict) and not _conforms(item, extra)):
            return False
    return True


def _string_conforms(value: str, node: Node) -> bool:
    if not node.get("minLength", 0) <= len(value) <= node.get("maxLength", len(value)):
        return False
    return "pattern" not in node or re.search(node["pattern"], value) is not None


def _validate(value: Any, pointer: tuple[str, ...]) -> list[str]:
    node = document()
    for part in pointer:
        node = node[part]
    if _conforms(value, node):
        return []
    out: list[str] = []
    for error in _compiled(pointer).iter_errors(value):
        out += _describe(error)
    return list(dict.fromkeys(out)) or ["response: does not conform to the document"]


@functools.cache
def _schema_names() -> dict[str, list[str]]:
    """ "object" value -> schema names that describe it (`customer` has a deleted twin)."""
    out: dict[str, list[str]] = {}
    for name, schema in document()["components"]["schemas"].items():
        values = schema.get("properties", {}).get("object", {}).get("enum")
        if values and len(values) == 1 and "id" in schema["properties"]:
            out.setdefault(values[0], []).append(name)
    return out


def check_object(value: Any, where: str = "response") -> list[str]:
    kind = value.get("object") if isinstance(value, dict) else None
    names = _schema_names().get(kind) if isinstance(kind, str) else None
    if not names:
        return [f"{where}: no schema for object {kind!r}"]
    deleted = [n for n in names if n.startswith("deleted_")]
    plain = [n for n in names if not n.startswith("deleted_")]
    name = (deleted if value.get("deleted") is True and deleted else plain or deleted)[0]
    return [m.replace("response", where, 1) for m in _validate(value, ("components", "schemas", name))]


def check_event(event: Any) -> list[str]:
    """A webhook body: the event itself, then the object it carries."""
    out = [m.replace("response", "event", 1) for m in _validate(event, ("components", "schemas", "event"))]
    data = event.get("data") if isinstance(event, dict) else None
    if not isinstance(data, dict):
        return out
    out += check_object(data.get("object"), "event.data.object")
    previous = data.get("previous_attributes")
    if str(event.get("type", "")).endswith(".updated") and not isinstance(previous, dict):
        out.append("event.data.previous_attributes: missing on an .updated event")
    return out


def check_response(exchange: Node) -> list[str]:
    template, operation = route(exchange["method"], exchange["path"])
    if template is None or isinstance(operation, str):
        return []
    status = exchange["status"]
    code = "200" if 200 <= status < 300 else "default"
    if code not in operation["responses"]:
        return [f"status {status} is not described for {template}"]
    described = ("responses", code, "content", "application/json", "schema")
    pointer = ("paths", template, exchange["method"].lower(), *described)
    out = _validate(exchange.get("response"), pointer)
    body = exchange.get("response")
    if code == "200" and template.startswith("/v1/events") and isinstance(body, dict):
        events = body.get("data") if body.get("object") == "list" else [body]
        for event in events if isinstance(events, list) else []:
            out += check_event(event)
    return list(dict.fromkeys(out))


def check(exchange: Node) -> list[str]:
    """Every violation in one exchange."""
    template, reason = route(exchange["method"], exchange["path"])
    if template is None:
        return [str(reason)]
    refused = exchange["status"] >= 400
    # A call that the sandbox was right to refuse is not a violation in itself only if the
    # recording says it was meant: {"expect_refusal": true}.
    request = [] if refused and exchange.get("expect_refusal") else check_request(exchange)
    return request + check_key(exchange) + check_response(exchange)


def check_all(exchanges: Iterable[Node]) -> list[str]:
    """Violations of a whole recording, each with the exchange's number and path."""
    out: list[str] = []
    seen: dict[tuple[Any, str], tuple[int, tuple[str, str, str]]] = {}
    for number, exchange in enumerate(exchanges, 1):
        at = f"{number}: {exchange['method'].upper()} {exchange['path']}"
        out += [f"{at}: {message}" for message in check(exchange)]
        key = exchange.get("idempotency_key")
        if key and not exchange.get("expect_refusal"):
            form = json.dumps(decode(exchange.get("form")), sort_keys=True)
            call = (exchange["method"].upper(), exchange["path"], form)
            first = seen.setdefault((exchange.get("account"), key), (number, call))
            if first[1] != call:
                out.append(f"{at}: idempotency key {key} was used with other parameters in exchange {first[0]}")
    return out


def main(argv: list[str]) -> int:
    if len(argv) != 2:
        print(__doc__)
        return 2
    with pathlib.Path(argv[1]).open(encoding="utf-8") as f:
        exchanges = [json.loads(line) for line in f if line.strip()]
    violations = check_all(exchanges)
    for message in violations:
        print(message)
    if violations:
        print(f"{len(exchanges)} exchanges, {len(violations)} violations")
        return 1
    print(f"{len(exchanges)} exchanges, 0 violations")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
