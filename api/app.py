"""Puts the API together: middleware, error table, routes, document, and the life of what they share."""

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cached_property
from typing import Final

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from api import errors, logs, metrics, openapi, reference
from api.deps import Deps, build_deps
from api.direct import DirectEvents
from api.middleware import Observed
from api.routes import (
    connections,
    coupons,
    credit_grants,
    credit_notes,
    customers,
    environment,
    event_log,
    events,
    features,
    gates,
    health,
    invoices,
    late_events,
    me,
    meter_events,
    meters,
    payment_methods,
    payments,
    plans,
    prices,
    rerates,
    runs,
    subscription_changes,
    subscriptions,
    tax_rates,
    usage,
    webhooks,
)
from settings import load_settings

__all__ = ["create_app"]

_RESOURCES = (
    me,
    environment,
    connections,
    meter_events,
    meters,
    features,
    plans,
    prices,
    tax_rates,
    customers,
    coupons,
    credit_grants,
    payments,
    payment_methods,
    subscription_changes,
    subscriptions,
    events,
    event_log,
    usage,
    invoices,
    credit_notes,
    late_events,
    rerates,
    gates,
    runs,
    webhooks,
)


class Tallyhouse(FastAPI):
    """The application, watched from outside of the framework, and with the short way for events before it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # As the framework does for its own routes.
        scope["app"] = self
        await self.observed(scope, receive, send)

    @cached_property
    def observed(self) -> ASGIApp:
        """What answers a request."""
        return Observed(DirectEvents(super().__call__))


# Hundreds of requests at once hold more objects than Python's first bound, 700, at which it looks for garbage.
_LOOK_FOR_GARBAGE_AFTER: Final = 20_000


def _leave_what_stays_to_itself() -> None:
    """Spares the collector what lives as long as the process: looking through it was a third of a small request."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_LOOK_FOR_GARBAGE_AFTER, *gc.get_threshold()[1:])


def create_app(deps: Deps | None = None) -> FastAPI:
    """The application; `deps` are built from the settings when it starts, unless they are given."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        own = deps
        if own is None:
            settings = load_settings()
            logs.configure(settings.log_level)
            own = build_deps(settings)
            _leave_what_stays_to_itself()
        app.state.deps = own
        own.start()
        try:
            yield
        finally:
            await own.close()

    app = Tallyhouse(
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
    openapi.install(app)
    reference.install(app)
    metrics.install(app)
    return app
