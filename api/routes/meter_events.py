"""What a meter makes of events: of samples, of those that it cannot count, and of those that arrive."""

from typing import Annotated, Any

import msgspec
from fastapi import Query, Request
from starlette.concurrency import run_in_threadpool

from api.auth import Call, needs
from api.routing import PathId, router
from api.schemas.meter_events import (
    ArrivalsAsked,
    ArrivalsOut,
    FreshnessOut,
    MeterTestIn,
    MeterTestOut,
    UnusableAsked,
    UnusableEventsOut,
)
from api.schemas.problem import problems
from billing.errors import InvalidInput, NotFound
from billing.meter import Meter, parse_definition
from ingestion.decode import decode_events
from ledger.store import meters
from pipelines.steps.answer_usage import external_ids
from pipelines.steps.try_meter import try_meter
from warehouse_sql.freshness import read_arrivals, read_freshness
from warehouse_sql.unusable import list_unusable

routes = router("Meters")


class _Sample(msgspec.Struct):
    events: msgspec.Raw


_sample = msgspec.json.Decoder(_Sample)


@routes.post("/meters/test", responses=problems(413))
async def test_meter(request: Request, body: MeterTestIn, call: Annotated[Call, needs("catalog:read")]) -> MeterTestOut:
    """Try a meter on up to 100 sample events: which would count, as what, and what they add up to. Nothing is stored.

    The events are read and counted by the same rules as those that are kept.
    """
    raw = await request.body()
    return await run_in_threadpool(_test, raw, body, call)


@routes.get("/meters/{meter_id}/unusable-events", responses=problems(404, 413))
def list_unusable_events(
    meter_id: PathId, asked: Annotated[UnusableAsked, Query()], call: Annotated[Call, needs("usage:read")]
) -> UnusableEventsOut:
    """List the events that fit a meter and have no value that it can count, oldest first, each with the reason."""
    meter = _meter(call, meter_id)
    ledger, warehouse = call.deps.ledger, call.deps.warehouse
    named = None if asked.customer_id is None else [asked.customer_id]
    customers = None if named is None else tuple(external_ids(ledger, warehouse, call.scope, meter, named))
    page = list_unusable(
        warehouse,
        call.scope,
        meter,
        asked.start_time,
        asked.end_time,
        customers,
        cursor=asked.cursor,
        limit=asked.limit,
    )
    return UnusableEventsOut.of(page)


@routes.get("/meters/{meter_id}/arrivals", responses=problems(404, 413))
def get_arrivals(
    meter_id: PathId, asked: Annotated[ArrivalsAsked, Query()], call: Annotated[Call, needs("usage:read")]
) -> ArrivalsOut:
    """How many events of a meter's name were received, by minute, hour or day of their arrival."""
    asked.require_consistent()
    meter = _meter(call, meter_id)
    found = read_arrivals(
        call.deps.warehouse,
        call.scope,
        meter,
        asked.start_time,
        asked.end_time,
        asked.window_size,
        asked.timezone,
    )
    return ArrivalsOut.of(meter, found)


@routes.get("/meters/{meter_id}/freshness", responses=problems(404))
def get_freshness(meter_id: PathId, call: Annotated[Call, needs("usage:read")]) -> FreshnessOut:
    """How fresh a meter's events and rollups are, and which days have something that no rollup has seen."""
    meter = _meter(call, meter_id)
    return FreshnessOut.of(meter, read_freshness(call.deps.warehouse, call.scope, meter), call.now)


def _test(raw: bytes, body: MeterTestIn, call: Call) -> MeterTestOut:
    meter = _kept(call, body.meter) if isinstance(body.meter, str) else _tried_only(body.meter)
    try:
        events = bytes(_sample.decode(raw).events)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput("not_unicode", "holds text that is not Unicode", field="events") from error
    decoded = decode_events(events, call.deps.limits, call.now)
    return MeterTestOut.of(meter, try_meter(call.deps.warehouse, meter, decoded, body.terms, call.now))


def _kept(call: Call, meter_id: str) -> Meter:
    try:
        return _meter(call, meter_id)
    except NotFound as error:
        error.field = "meter"
        raise


def _tried_only(said: Any) -> Meter:
    """A meter that is only tried; an id in it says nothing."""
    try:
        said = {name: value for name, value in said.items() if name != "id"} if isinstance(said, dict) else said
        return Meter.of("meter", 1, parse_definition(said))
    except InvalidInput as error:
        raise error.within("meter") from None


def _meter(call: Call, meter_id: str) -> Meter:
    with call.deps.ledger.read() as session:
        return meters.get_meter(session, call.scope, meter_id)
