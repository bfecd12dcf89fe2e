"""Around every request: an answer without internals when something of ours breaks, and a log line that finds it."""

from __future__ import annotations

import asyncio
import logging

import httpx
import pytest
from fastapi import FastAPI, Request
from starlette.requests import ClientDisconnect

from api import errors
from api.middleware import Observed

APP = FastAPI()
errors.install(APP)
APP.add_middleware(Observed)


@APP.get("/broken")
def broken() -> None:
    raise RuntimeError("password=hunter2 in /srv/app")


@APP.get("/left")
async def left(_request: Request) -> None:
    raise ClientDisconnect


@APP.get("/fine")
def fine() -> str:
    return "ok"


def _get(path: str) -> httpx.Response:
    async def get() -> httpx.Response:
        transport = httpx.ASGITransport(APP, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.get(path)

    return asyncio.run(get())


def test_a_fault_of_ours_is_a_500_without_internals_and_logged_under_its_id(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        answer = _get("/broken")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert answer.headers["content-type"] == "application/problem+json"
    assert "hunter2" not in answer.text
    assert "RuntimeError" not in answer.text
    [fault] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert answer.json()["request_id"] in fault.getMessage()
    assert fault.exc_info is not None


def test_each_request_is_one_line_with_status_time_and_id(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "tally.api.access"):
        answer = _get("/fine?secret=hunter2")
    [line] = [record.getMessage() for record in caplog.records if record.name == "tally.api.access"]
    assert line.startswith("GET /fine 200 ")
    assert line.endswith(f"caller=- request={answer.headers['x-request-id']}")
    assert "hunter2" not in line


def test_a_caller_who_leaves_is_no_fault(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        answer = _get("/left")
    assert (answer.status_code, answer.json()["code"]) == (400, "body_incomplete")
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert "GET /left 400" in caplog.text


def test_answers_are_not_to_be_cached() -> None:
    assert _get("/fine").headers["cache-control"] == "no-store"
