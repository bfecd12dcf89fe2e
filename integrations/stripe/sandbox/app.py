"""The FastAPI application: Stripe's paths, the pages for people, and the control paths under /_sandbox/."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.concurrency import run_in_threadpool

from integrations.stripe.sandbox import control, pages
from integrations.stripe.sandbox.connection import TornResponse, cut
from integrations.stripe.sandbox.errors import StripeError, not_implemented, unrecognized
from integrations.stripe.sandbox.parameters import document
from integrations.stripe.sandbox.recorder import Recorder
from integrations.stripe.sandbox.resources import all_operations
from integrations.stripe.sandbox.routing import Operation
from integrations.stripe.sandbox.service import Incoming, Service
from integrations.stripe.sandbox.store import Store
from integrations.stripe.sandbox.webhooks import Deliverer
from integrations.stripe.sandbox.worker import Worker


@dataclass(frozen=True)
class Options:
    """`path` is the folder of the database (None: in memory), `record` the file of the recording (None: none)."""

    path: Path | None
    base_url: str
    record: Path | None = None
    retry_base_seconds: float = 1.0


def create_app(options: Options) -> FastAPI:
    store = Store(_database(options.path))
    defaults: dict[str, Any] = {"retry_base_seconds": options.retry_base_seconds}
    worker = Worker(store, options.base_url, defaults)
    deliverer = Deliverer(store, options.base_url, defaults)
    worker.listeners.append(deliverer.wake)
    service = Service(store, worker, Recorder(options.record), options.base_url, defaults)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        worker.start()
        deliverer.start()
        yield
        await run_in_threadpool(deliverer.stop)
        await run_in_threadpool(worker.stop)
        store.close()

    app = FastAPI(title="Stripe sandbox", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    app.include_router(control.router(service))
    app.include_router(pages.router(service))
    served = {operation.name: operation for operation in all_operations()}
    # Literal paths go before those with parameters: /v1/invoices/search is not an invoice.
    for name in sorted(document()["operations"], key=lambda n: [part.startswith("{") for part in n.split("/")]):
        method, template = name.split(" ")
        app.add_api_route(template, _endpoint(service, served.get(name) or not_implemented(name)), methods=[method])
    app.add_api_route("/v1/{path:path}", _unknown(service), methods=["GET", "POST", "DELETE", "PUT", "PATCH"])
    return app


def _endpoint(service: Service, target: Operation | StripeError) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        return await _answer(service, target, request)

    return endpoint


def _unknown(service: Service) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        return await _answer(service, unrecognized(request.method, request.url.path), request)

    return endpoint


async def _answer(service: Service, target: Operation | StripeError, request: Request) -> Response:
    incoming = Incoming(
        method=request.method,
        path=request.url.path,
        query=request.url.query,
        body=await request.body(),
        headers=request.headers,
        ids=dict(request.path_params) if isinstance(target, Operation) else {},
    )
    outcome = await run_in_threadpool(service.answer, target, incoming)
    if outcome.dropped:
        cut(request)
    body = json.dumps(outcome.body, indent=2)
    if outcome.torn:
        return TornResponse(request, body, outcome.status, outcome.headers, media_type="application/json")
    return Response(body, outcome.status, outcome.headers, media_type="application/json")


def _database(folder: Path | None) -> Path | None:
    if folder is None:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    return folder / "stripe_sandbox.sqlite3"
