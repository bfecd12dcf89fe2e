"""The sandbox checks requests against a cut of Stripe's document: the cut must be what the document says."""

import gzip
import json

import stripe

from integrations.stripe.sandbox.parameters import document
from integrations.stripe.sandbox.resources import all_operations
from tests.contract import contract
from tests.contract.derive_sandbox_document import TARGET, derive


def test_the_sandboxs_document_is_derived_from_stripes() -> None:
    assert json.loads(gzip.decompress(TARGET.read_bytes())) == derive()


def test_the_version_is_the_one_that_the_sdk_pins() -> None:
    assert document()["version"] == contract.document()["info"]["version"] == stripe.api_version


def test_every_operation_that_the_sandbox_serves_is_stripes_and_so_is_every_parameter_it_acts_on() -> None:
    for operation in all_operations():
        schema = document()["operations"][operation.name]
        for parameter in operation.served:
            assert _known(schema, parameter.split(".")), f"{operation.name}: {parameter}"


def _known(schema: dict[str, object], path: list[str]) -> bool:
    options = [schema, *_dicts(schema.get("anyOf"))]
    options += [option["items"] for option in options if isinstance(option.get("items"), dict)]  # type: ignore[misc]
    options += [deeper for option in list(options) for deeper in _dicts(option.get("anyOf"))]
    for option in options:
        properties = option.get("properties")
        if isinstance(properties, dict) and path[0] in properties:
            return len(path) == 1 or _known(properties[path[0]], path[1:])
    return False


def _dicts(value: object) -> list[dict[str, object]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
