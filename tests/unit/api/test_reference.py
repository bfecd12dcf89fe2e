"""The page for people shows every route, escapes what it shows, and loads nothing from elsewhere."""

from __future__ import annotations

import asyncio
import re

import httpx
from fastapi import FastAPI

from api.app import create_app
from api.routing import router

APP = create_app()


def _page(app: FastAPI = APP) -> str:
    async def get() -> httpx.Response:
        # The app is not started: the page needs no store.
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            return await client.get("/docs")

    answer = asyncio.run(get())
    assert answer.status_code == 200
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    return answer.text


def test_every_operation_of_the_document_is_on_the_page() -> None:
    page = _page()
    for path, methods in APP.openapi()["paths"].items():
        for method, operation in methods.items():
            assert f'id="{operation["operationId"]}"' in page
            assert f"{method.upper()} {path}" in page
    assert "prices[].tiers[].up_to" in page
    assert "Scope: <code>catalog:write</code>" in page


def test_the_page_loads_and_runs_nothing() -> None:
    page = _page()
    assert "<script" not in page
    assert not re.search(r'(src|href)="(https?:)?//', page)


def test_what_a_route_says_about_itself_is_escaped() -> None:
    app = create_app()
    routes = router("Health")

    @routes.get("/odd", description="<script>alert(1)</script>")
    async def odd() -> None:
        pass

    app.include_router(routes)
    assert "&lt;script&gt;alert(1)" in _page(app)


def test_descriptions_are_shown_as_the_markdown_that_they_are() -> None:
    page = _page()
    assert "<strong>Keys.</strong>" in page
    assert "**" not in page
