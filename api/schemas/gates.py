"""The gates that an invoice passes before it is final, and a person's word against one of them."""

from typing import Annotated, Self

from pydantic import ConfigDict, Field

from api.schemas.common import Instant, LongText, Model, Name, any_case
from ledger.store.gates import GateRecord
from pipelines.steps.gate_invoices import Gate

__all__ = ["GateName", "GateOut", "OverrideIn"]

GateName = Annotated[Gate, any_case()]


class OverrideIn(Model):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"person": "Dana Smith", "reason": "The customer ran a load test and knows; ticket 4711"}]
        }
    )

    person: Annotated[Name, Field(description="Who decides this: a person's name.")]
    reason: Annotated[LongText, Field(min_length=1, max_length=1000, description="Kept in the audit log.")]


class GateOut(Model):
    gate: str
    passed: bool
    problems: list[str] = Field(description="What it found; still named when somebody has overridden it.")
    overridden_by: str | None
    reason: str | None
    checked_at: Instant

    @classmethod
    def of(cls, record: GateRecord) -> Self:
        return cls(
            gate=record.gate,
            passed=record.passed,
            problems=[str(problem) for problem in record.detail.get("problems", [])],
            overridden_by=record.detail.get("overridden_by"),
            reason=record.detail.get("reason"),
            checked_at=record.checked_at,
        )
