"""The checker itself: it accepts what Stripe's document allows and names what it does not."""

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.contract import contract

Node = dict[str, Any]


def sample(schema: Node, name: str = "") -> Any:
    """The smallest body that a response schema allows."""
    schema = contract._deref(schema)
    if schema.get("nullable"):
        return None
    if "anyOf" in schema:
        return sample(schema["anyOf"][0], name)
    if "enum" in schema:
        return schema["enum"][0]
    match schema.get("type"):
        case "object":
            return {n: sample(schema["properties"][n], n) for n in schema.get("required", [])}
        case "array":
            return []
        case "integer" | "number":
            return 0
        case "boolean":
            return False
    if schema.get("format") == "decimal":
        return "0"
    if schema.get("pattern", "").startswith("^/"):
        return schema["pattern"][1:].replace("[^/]+", "x")
    return "usd" if name == "currency" else "x"


def body(method: str, path: str) -> Any:
    _, operation = contract.route(method, path)
    assert not isinstance(operation, str)
    return sample(operation["responses"]["200"]["content"]["application/json"]["schema"])


def exchange(
    method: str = "POST",
    path: str = "/v1/invoices",
    form: Any = "customer=cus_1",
    status: int = 200,
    response: Any = None,
    key: str | None = "inv-1:create",
    **more: Any,
) -> Node:
    if response is None:
        refused = {"error": {"type": "invalid_request_error", "message": "no"}}
        response = body(method, path) if status == 200 else refused
    return {
        "method": method,
        "path": path,
        "query": "",
        "form": form,
        "status": status,
        "response": response,
        "idempotency_key": key,
        **more,
    }


def invoice(**changes: Any) -> Node:
    return {**body("POST", "/v1/invoices"), "status": "open", "metadata": {}, "parent": None, **changes}


def found(violations: list[str], *words: str) -> None:
    assert any(all(word in violation for word in words) for violation in violations), violations


@pytest.mark.parametrize(
    ("template", "method"), [(t, m) for t, item in contract.document()["paths"].items() for m in item]
)
def test_the_smallest_response_of_every_operation_conforms(template: str, method: str) -> None:
    path = template.replace("{", "").replace("}", "")
    recorded = exchange(method.upper(), path, response=body(method, path))
    if template == "/v1/events/{id}":
        recorded["response"]["data"]["object"] = invoice()
    assert contract.check_response(recorded) == []


@pytest.mark.parametrize(
    ("method", "path", "form"),
    [
        ("POST", "/v1/customers", "name=Acme&email=a@x.test&metadata[tenant]=t1&address[country]=US"),
        ("POST", "/v1/invoices/in_1/add_lines", "lines[0][amount]=1000&lines[0][description]=Plan"),
        ("POST", "/v1/invoices/in_1/finalize", "auto_advance=false&expand[]=payments"),
        ("POST", "/v1/invoices/in_1", "metadata="),
        ("POST", "/v1/invoices", {"customer": "cus_1", "auto_advance": False, "metadata": {"a": "b"}}),
        ("POST", "/v1/invoices", {"customer": "cus_1", "metadata[a]": "b", "expand[]": ["payments", "customer"]}),
    ],
)
def test_good_requests_pass(method: str, path: str, form: Any) -> None:
    assert contract.check(exchange(method, path, form)) == []


@pytest.mark.parametrize(
    ("path", "form", "words"),
    [
        ("/v1/invoices", "customer=cus_1&collection_method=charge", ["form.collection_method", "'charge'"]),
        ("/v1/invoices", "customer=cus_1&days_until_due=soon", ["form.days_until_due", "integer"]),
        ("/v1/invoices", "customer=cus_1&line_items[0][amount]=1", ["form.line_items", "unknown parameter"]),
        ("/v1/invoices", "customer=cus_1&customer=cus_2", ["given twice"]),
        ("/v1/invoices", "customer=cus_1&metadata[" + "k" * 41 + "]=v", ["at most 40"]),
        ("/v1/invoices/in_1/add_lines", "", ["form.lines", "required"]),
        ("/v1/invoices/in_1/add_lines", "lines[0][amount]=108.5", ["form.lines[0].amount", "integer"]),
        ("/v1/checkout/sessions", "mode=setup&payment_method_types[0]=card", ["form.payment_method_types", "unknown"]),
        ("/v1/payment_intents", "currency=usd", ["form.amount", "required"]),
        ("/v1/invoices/in_1/finalise", "", ["not in the document"]),
    ],
)
def test_bad_requests_are_named(path: str, form: str, words: list[str]) -> None:
    found(contract.check(exchange(path=path, form=form, response={})), *words)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"status": "finalized"}, ["response.status", "'open'"]),
        ({"total": "11850"}, ["response.total", "integer"]),
        ({"total": 11850.0}, ["response.total", "integer"]),
        ({"total": True}, ["response.total", "integer"]),
        ({"payment_intent": "pi_1"}, ["response.payment_intent", "not in the document"]),
        ({"paid": True}, ["response.paid", "not in the document"]),
        ({"customer": {"object": "customer", "id": "cus_1"}}, ["response.customer.created", "missing"]),
    ],
)
def test_bad_responses_are_named(change: Node, words: list[str]) -> None:
    found(contract.check(exchange(response=invoice(**change))), *words)


def test_the_fast_answer_is_the_schemas_answer() -> None:
    """Each field of each operation's smallest answer removed, or given another type: both must say the same."""
    for template, item in contract.document()["paths"].items():
        for method in item:
            good = body(method, template.replace("{", "").replace("}", ""))
            pointer = ("paths", template, method, "responses", "200", "content", "application/json", "schema")
            for name in good:
                for spoilt in ({k: v for k, v in good.items() if k != name}, *({**good, name: v} for v in ([7], None))):
                    slow = contract._compiled(pointer).is_valid(spoilt)
                    assert contract._conforms(spoilt, node_at(pointer)) == slow, (template, name)


def node_at(pointer: tuple[str, ...]) -> Node:
    node = contract.document()
    for part in pointer:
        node = node[part]
    return node


def test_a_missing_response_field_is_named() -> None:
    short = invoice()
    del short["amount_remaining"]
    assert contract.check(exchange(response=short)) == ["response.amount_remaining: required field is missing"]


def test_a_refused_call_still_shows_its_bad_request_unless_it_was_meant() -> None:
    bad = exchange(form="customer=cus_1&nope=1", status=400)
    found(contract.check(bad), "form.nope")
    assert contract.check({**bad, "expect_refusal": True}) == []


def test_calls_that_bill_need_a_key_of_ours() -> None:
    found(contract.check_key(exchange(path="/v1/invoices/in_1/pay", response={}, key=None)), "missing")
    random = "58a096d0-a882-0fac-7662-aebda56c6f9c"
    found(contract.check_key(exchange(path="/v1/refunds", response={}, key=random)), "looks random")
    assert contract.check_key(exchange(path="/v1/refunds", response={}, key="inv-1:7")) == []
    assert not contract.needs_key("POST", "/v1/invoices/in_1")


def test_one_key_for_two_calls_is_found_within_an_account_only() -> None:
    one, other = exchange(), exchange(form="customer=cus_2")
    assert contract.check_all([one, copy.deepcopy(one)]) == []
    found(contract.check_all([one, other]), "other parameters in exchange 1")
    assert contract.check_all([{**one, "account": "acct_1"}, {**other, "account": "acct_2"}]) == []


def test_events_are_checked_with_the_object_they_carry() -> None:
    event = {
        "id": "evt_1", "object": "event", "api_version": None, "created": 1, "livemode": False, "pending_webhooks": 1,
        "request": None, "type": "invoice.paid", "data": {"object": invoice(status="paid")},
    }  # fmt: skip
    assert contract.check_event(event) == []
    found(contract.check_event({**event, "data": {"object": invoice(status="settled")}}), "event.data.object.status")
    found(contract.check_event({**event, "type": "invoice.updated"}), "previous_attributes")


def test_the_command_prints_every_violation_and_fails(tmp_path: Path) -> None:
    file = tmp_path / "exchanges.jsonl"
    run = [sys.executable, str(Path(contract.__file__)), str(file)]
    file.write_text(json.dumps(exchange()))
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "1 exchanges, 0 violations")
    file.write_text(json.dumps(exchange(form="customer=cus_1&nope=1")))
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "1: POST /v1/invoices: form.nope: unknown parameter" in done.stdout
