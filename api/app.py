"""Puts the API together: middleware, error table, routes, document, and the life of what they share."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from api import errors, logs, openapi, reference
from api.deps import Deps, build_deps
from api.middleware import Observed
from api.routes import (
    connections,
    customers,
    events,
    features,
    health,
    invoices,
    me,
    meters,
    payments,
    plans,
    prices,
    subscriptions,
    usage,
    webhooks,
)
from settings import load_settings

__all__ = ["create_app"]

_RESOURCES = (
    me,
    connections,
    meters,
    features,
    plans,
    prices,
    customers,
    payments,
    subscriptions,
    events,
    usage,
    invoices,
    webhooks,
)


def create_app(deps: Deps | None = None) -> FastAPI:
    """The application; `deps` are built from the settings when it starts, unless they are given."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        own = deps
        if own is None:
            settings = load_settings()
            logs.configure(settings.log_level)
            own = build_deps(settings)
        app.state.deps = own
        own.worker.start()
        try:
            yield
        finally:
            own.worker.stop()
            own.close()

    app = FastAPI(
        title="Tallyhouse",
        version="1",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    errors.install(app)
    for module in _RESOURCES:
        app.include_router(module.routes, prefix="/api/v1")
    app.include_router(health.routes)
    app.add_middleware(Observed)
    openapi.install(app)
    reference.install(app)
    return app
