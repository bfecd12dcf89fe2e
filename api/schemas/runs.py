"""Runs of the pipeline, as an environment asks for them and reads what became of them."""

from datetime import date
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field

from api.schemas.common import Instant, Model, Slug, any_case
from api.schemas.paging import Paging
from ledger.store.runs import RunRecord
from pipelines.steps.request_run import RunWanted

__all__ = ["RunDetailOut", "RunFilters", "RunIn", "RunOut"]

RunKind = Annotated[Literal["usage", "billing"], any_case()]
RunStatus = Annotated[Literal["requested", "queued", "running", "succeeded", "failed", "canceled"], any_case()]


class RunIn(Model):
    """Days are UTC days, both included; for billing the day in which a period ends."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"kind": "usage", "first_day": "2024-01-20", "last_day": "2024-02-19"}]}
    )

    kind: RunKind = Field(description="`usage` builds rollups of events, `billing` makes and finalizes invoices.")
    first_day: date
    last_day: date | None = Field(default=None, description="The first day when left out.")
    subscription_id: Slug | None = Field(default=None, description="Bill this subscription only.")
    meter_id: Slug | None = Field(default=None, description="Build the usage of this meter only.")
    force: bool = Field(default=False, description="Build days again whose rollups have seen everything.")

    def wanted(self) -> RunWanted:
        return RunWanted(
            self.kind, self.first_day, self.last_day or self.first_day, self.subscription_id, self.meter_id, self.force
        )


class RunFilters(Paging):
    kind: RunKind | None = None
    status: RunStatus | None = None


class RunOut(Model):
    id: str
    kind: RunKind
    first_day: date
    last_day: date
    subscription_id: str | None
    meter_id: str | None
    force: bool
    status: RunStatus
    requested_at: Instant
    started_at: Instant | None
    finished_at: Instant | None

    @classmethod
    def fields_of(cls, run: RunRecord) -> dict[str, Any]:
        return {name: getattr(run, name) for name in RunOut.model_fields}

    @classmethod
    def of(cls, run: RunRecord) -> Self:
        return cls(**cls.fields_of(run))


class RunLogEntry(Model):
    at: Instant
    step: str | None
    event: Literal["started", "done", "failed", "check", "result"]
    message: str


class RunDetailOut(RunOut):
    log: list[RunLogEntry] = Field(description="What happened so far, oldest first.")

    @classmethod
    def of(cls, run: RunRecord) -> Self:
        return cls(**cls.fields_of(run), log=[RunLogEntry.model_validate(entry) for entry in run.log])
