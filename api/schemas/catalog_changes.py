"""What features, plans and prices share when they change: the timing of a change, and their history."""

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field

from api.schemas.common import Instant, LongText, Model, Name, any_case
from billing.errors import InvalidInput
from billing.price_version import ApplyTo
from ledger.store.features import FeatureRecord, FeatureVersionRecord
from ledger.store.plans import PlanRecord, PlanVersionRecord
from pipelines.steps.change_prices import Timing

__all__ = ["ArchivePriceIn", "CatalogVersionOut", "TextChangesIn", "TimingBody"]


class TextChangesIn(Model):
    """What is left out stays. Every other field is fixed and may only be repeated."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "API Calls (v2)"}]})

    name: Name | None = None
    description: LongText | None = Field(default=None, description="null takes it away.")

    def changes(self, known: FeatureRecord | PlanRecord) -> dict[str, str | None]:
        """What was sent to be changed in `known`. Errors: InvalidInput `missing_field`, `fixed_field`."""
        sent: dict[str, str | None] = self.model_dump(exclude_unset=True)
        if "name" in sent and sent["name"] is None:
            raise InvalidInput("missing_field", "cannot be taken away", field="name", hint="Send a name.")
        for name in sent.keys() - TextChangesIn.model_fields.keys():
            if sent.pop(name) != getattr(known, name):
                raise InvalidInput(
                    "fixed_field",
                    "cannot change",
                    field=name,
                    hint="Archive this one and make another: what was sold under it stays what it was.",
                )
        return sent


class TimingBody(Model):
    """When a change of a price bills for the first time. Without both: in the periods that begin from now on.

    While nobody has subscribed to the plan, a change without `effective_from` holds in every period.
    """

    effective_from: Instant | None = Field(
        default=None,
        description="Now when left out. May lie in the future, or in the past where no period has a final invoice yet.",
    )
    apply_to: Annotated[Literal["next_period", "running_period"], any_case()] = Field(
        default="next_period",
        description="`running_period`: the whole period in which `effective_from` lies is billed by it already.",
    )

    def timing(self) -> Timing:
        return Timing(self.effective_from, ApplyTo(self.apply_to))


class ArchivePriceIn(TimingBody):
    model_config = ConfigDict(json_schema_extra={"examples": [{"effective_from": "2026-02-01T00:00:00Z"}]})


class CatalogVersionOut(Model):
    """One version of a feature or plan: what it said from `effective_from` on."""

    version: int
    name: str
    description: str | None
    status: str
    effective_from: Instant

    @classmethod
    def of(cls, record: FeatureVersionRecord | PlanVersionRecord) -> Self:
        return cls.model_validate(record, from_attributes=True)
