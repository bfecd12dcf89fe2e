"""Whether the process runs, and whether it can do its work."""

import logging
from collections.abc import Callable
from typing import Literal

from fastapi import Request
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import JSONResponse, Response

from api.deps import Deps
from api.routing import router
from api.schemas.common import Model
from billing.errors import TallyError
from ledger.models import Tenant

routes = router("Health")

_log = logging.getLogger("tally.api")


class HealthOut(Model):
    status: Literal["ok"]


class ReadyOut(Model):
    """`ok` or `down` for each part. The journal is `empty`, `draining` (it holds events) or `full`."""

    status: Literal["ok", "down"]
    ledger: Literal["ok", "down"]
    warehouse: Literal["ok", "down"]
    journal: Literal["empty", "draining", "full"]


@routes.get("/healthz")
async def healthz() -> HealthOut:
    """The process answers."""
    return HealthOut(status="ok")


@routes.get("/readyz", response_model=ReadyOut, responses={503: {"model": ReadyOut, "description": "A part is down."}})
def readyz(request: Request) -> Response:
    """The ledger answers and has its tables, and the warehouse answers and has its database."""
    deps: Deps = request.app.state.deps
    ledger = _answers("ledger", lambda: _read_ledger(deps))
    warehouse = _answers("warehouse", deps.warehouse.ping)
    ready = ledger and warehouse
    names = {True: "ok", False: "down"}
    body = {
        "status": names[ready],
        "ledger": names[ledger],
        "warehouse": names[warehouse],
        "journal": deps.intake.journal_state,
    }
    return JSONResponse(body, 200 if ready else 503, {} if ready else {"Retry-After": "2"})


def _read_ledger(deps: Deps) -> bool:
    with deps.ledger.read() as session:
        session.execute(select(Tenant.id).limit(1))
    return True


def _answers(name: str, ask: Callable[[], bool]) -> bool:
    try:
        return ask()
    except (TallyError, SQLAlchemyError) as error:
        # Among them: a store that was never migrated. Its text may hold addresses, its kind says enough.
        _log.warning("the %s is not ready: %s", name, getattr(error, "code", type(error).__name__))
        return False
