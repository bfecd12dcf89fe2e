"""The published document is valid, complete and true: security, errors, examples, references."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from api.app import create_app
from api.schemas.problem import PROBLEM_JSON
from ledger.store.keys import ALL_SCOPES

DOCUMENT: dict[str, Any] = create_app().openapi()
OPERATIONS = {
    operation["operationId"]: operation for methods in DOCUMENT["paths"].values() for operation in methods.values()
}
OPEN = {"healthz", "readyz", "receive_stripe_event"}


def _validator(schema: dict[str, Any]) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator({**schema, "components": DOCUMENT["components"]})


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


def _numbers(node: Any) -> Iterator[int | float]:
    """All numbers in a part of the document, examples of what it refers to included."""
    if isinstance(node, int | float):
        yield node
    elif isinstance(node, dict | list):
        for value in node.values() if isinstance(node, dict) else node:
            yield from _numbers(value)
    if isinstance(node, dict) and "$ref" in node:
        name = node["$ref"].removeprefix("#/components/schemas/")
        yield from _numbers(DOCUMENT["components"]["schemas"][name].get("examples"))


def test_every_reference_resolves_and_every_schema_is_used() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    named = {reference.removeprefix("#/components/schemas/") for reference in _references(DOCUMENT)}
    assert named == schemas.keys()


@pytest.mark.parametrize("name", DOCUMENT["components"]["schemas"])
def test_a_schema_is_valid_and_its_examples_fit_it(name: str) -> None:
    schema = DOCUMENT["components"]["schemas"][name]
    jsonschema.Draft202012Validator.check_schema(schema)
    for example in schema.get("examples", []):
        _validator(schema).validate(example)


@pytest.mark.parametrize("name", OPERATIONS)
def test_M1_no_answer_shows_a_number_that_could_be_a_float(name: str) -> None:
    answers = [answer for status, answer in OPERATIONS[name]["responses"].items() if status.startswith("2")]
    assert not [number for number in _numbers(answers) if isinstance(number, float)]


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_names_its_scope_and_its_errors(name: str) -> None:
    operation = OPERATIONS[name]
    if name not in OPEN:
        assert operation["security"] == [{"ApiKey": []}, {"Bearer": []}]
        assert {"401", "403", "500", "503"} <= operation["responses"].keys()
        if name != "get_me":
            assert operation["x-required-scope"] in ALL_SCOPES
            assert f"`{operation['x-required-scope']}`" in operation["description"]
    if "requestBody" in operation and name != "receive_stripe_event":
        assert {"400", "413", "415", "422"} <= operation["responses"].keys()
    if operation.get("parameters"):
        assert "422" in operation["responses"]
    for status, response in operation["responses"].items():
        if int(status) >= 400 and name != "readyz":
            assert list(response["content"]) == [PROBLEM_JSON], (name, status)


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_has_examples_of_what_goes_in_and_out(name: str) -> None:
    operation = OPERATIONS[name]
    bodies = [operation["requestBody"]] if "requestBody" in operation else []
    answers = [response for status, response in operation["responses"].items() if status in {"200", "201"}]
    for body in [*bodies, *answers]:
        for media_type, content in body["content"].items():
            examples = list(_examples(content))
            assert examples, (name, media_type)
            for example in examples:
                _validator(content["schema"]).validate(example)


def _examples(content: dict[str, Any]) -> Iterator[Any]:
    if "example" in content:
        yield content["example"]
    schema = content["schema"]
    reference = next(iter(schema.get("anyOf", [])), schema).get("$ref")
    if reference is not None:
        yield from DOCUMENT["components"]["schemas"][reference.rpartition("/")[2]].get("examples", [])


@pytest.mark.parametrize("name", [name for name in OPERATIONS if name.startswith(("create_", "start_"))])
def test_what_creates_takes_an_idempotency_key(name: str) -> None:
    assert "Idempotency-Key" in [parameter["name"] for parameter in OPERATIONS[name]["parameters"]]
