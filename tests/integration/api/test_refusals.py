"""Bad input in every form: always problem+json, always with the field and the way out, never a 500."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.support.api_catalog import catalogue
from tests.support.api_refusals import CASES
from tests.support.api_stack import Stack, Tenant


@pytest.fixture(scope="module")
def made(stack: Stack) -> tuple[Tenant, dict[str, dict[str, Any]]]:
    tenant = stack.tenant()
    return tenant, catalogue(tenant)


@pytest.mark.parametrize(("path", "body", "status", "code", "field"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_bad_input_is_refused_with_its_field_and_the_way_out(
    made: tuple[Tenant, dict[str, dict[str, Any]]], path: str, body: Any, status: int, code: str, field: str | None
) -> None:
    answer = made[0].post(path, body)
    _is_problem(answer, status, code)
    assert answer.json().get("field") == field
    assert answer.json()["hint"]


@pytest.mark.parametrize(
    ("content", "content_type", "status", "code"),
    [
        (b"{bad", "application/json", 400, "body_not_json"),
        (b'{"name": NaN}', "application/json", 400, "body_not_json"),
        (b'{"name": "\xff"}', "application/json", 400, "body_not_json"),
        (b"[" * 100_000, "application/json", 400, "body_not_json"),
        (b'{"name": 1e9999999999999999999}', "application/json", 400, "body_not_json"),
        (b"9" * 10_000, "application/json", 400, "body_not_json"),
        (b'{"name": "\\ud800"}', "application/json", 422, "not_unicode"),
        (b"name=x", "application/x-www-form-urlencoded", 415, "content_type_not_json"),
        (b"", "application/json", 422, "missing_field"),
    ],
)
def test_a_body_that_cannot_be_read_is_refused(
    tenant: Tenant, content: bytes, content_type: str, status: int, code: str
) -> None:
    answer = tenant.http.post("/api/v1/customers", content=content, headers={"Content-Type": content_type})
    _is_problem(answer, status, code)


@pytest.mark.parametrize("path", ["meters", "events", "events/bulk", "webhooks/stripe/a/b"])
def test_a_body_over_the_bound_is_refused_before_it_is_read(tenant: Tenant, path: str) -> None:
    def endless() -> Any:
        for _ in range(40):
            yield b" " * (1 << 20)

    answer = tenant.http.post(f"/api/v1/{path}", content=endless(), headers={"Content-Type": "application/json"})
    _is_problem(answer, 413, "body_too_large")


def test_a_body_whose_length_is_over_the_bound_is_refused(tenant: Tenant) -> None:
    answer = tenant.http.post(
        "/api/v1/events/bulk", content=bytes(17 << 20), headers={"Content-Type": "application/json"}
    )
    _is_problem(answer, 413, "body_too_large")


def test_unknown_paths_methods_and_things_are_problems_too(tenant: Tenant) -> None:
    _is_problem(tenant.http.get("/nowhere"), 404, "route_not_found")
    wrong_method = tenant.http.put("/api/v1/meters")
    _is_problem(wrong_method, 405, "method_not_allowed")
    assert wrong_method.headers["allow"] == "GET, POST"
    _is_problem(tenant.get("plans/none"), 404, "plan_not_found")
    _is_problem(tenant.get("meters", params={"limit": "500"}), 422, "out_of_range")
    _is_problem(tenant.get("meters", params={"limt": "5"}), 422, "unknown_field")
    _is_problem(tenant.get("meters", params={"cursor": "x"}), 422, "cursor_invalid")


def test_a_request_id_is_taken_over_or_made_and_never_forged(tenant: Tenant) -> None:
    taken = tenant.get("nowhere", headers={"X-Request-Id": "abc-12345"})
    assert taken.headers["x-request-id"] == taken.json()["request_id"] == "abc-12345"
    made = tenant.get("nowhere", headers={"X-Request-Id": "abc 12345; drop"})
    assert made.headers["x-request-id"].startswith("req_")


def _is_problem(answer: httpx.Response, status: int, code: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["code"], problem["status"]) == (code, status)
    assert {"type", "title", "detail", "instance", "request_id"} <= problem.keys()
    assert problem["request_id"] == answer.headers["x-request-id"]
