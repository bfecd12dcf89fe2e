"""Runs: usage built or periods billed again for a range of days. Always safe: what is unchanged stays as it is."""

from typing import Annotated

from fastapi import Query
from starlette.responses import Response

from api.auth import Call, needs
from api.once import Once, creates
from api.routing import PathId, router
from api.schemas.common import Listing
from api.schemas.problem import problems
from api.schemas.runs import RunDetailOut, RunFilters, RunIn, RunOut
from ledger.store import runs
from pipelines.steps.request_run import request_run

routes = router("Runs")


@routes.post("/runs", status_code=201, response_model=RunOut, responses=problems(409))
def create_run(body: RunIn, once: Annotated[Once, creates("runs:write")]) -> Response:
    """Ask for a run over days of your own usage or billing. It starts within seconds; read it to see how far it is."""
    call, wanted = once.call, body.wanted()
    return once.create(lambda session: RunOut.of(request_run(session, call.scope, wanted, call.caller.id, call.now)))


@routes.get("/runs/{run_id}", responses=problems(404))
def get_run(run_id: PathId, call: Annotated[Call, needs("runs:read")]) -> RunDetailOut:
    """Read a run with its log: steps, results of its checks, and why it failed."""
    with call.deps.ledger.read() as session:
        return RunDetailOut.of(runs.get_run(session, call.scope, run_id))


@routes.get("/runs")
def list_runs(filters: Annotated[RunFilters, Query()], call: Annotated[Call, needs("runs:read")]) -> Listing[RunOut]:
    """List runs, newest first."""
    with call.deps.ledger.read() as session:
        page = runs.list_runs(session, call.scope, **filters.model_dump())
    return Listing(items=[RunOut.of(run) for run in page.items], next_cursor=page.next_cursor)
