"""Features: what prices are for."""

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field

from api.schemas.catalog_changes import TextChangesIn
from api.schemas.common import Instant, LongText, Model, Name, Slug, any_case
from billing.errors import InvalidInput
from ledger.store.features import FeatureRecord

__all__ = ["FeatureChangesIn", "FeatureIn", "FeatureOut"]

FeatureType = Annotated[Literal["metered", "boolean", "static"], any_case()]


class FeatureIn(Model):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "API Calls",
                    "key": "api_calls",
                    "feature_type": "metered",
                    "meter_id": "meter_api_requests",
                    "description": "Number of API requests made",
                }
            ]
        }
    )

    name: Name
    key: Slug
    feature_type: FeatureType
    meter_id: Slug | None = Field(default=None, description="Needed by a metered feature, and by no other.")
    description: LongText | None = None

    def require_consistent(self) -> None:
        """InvalidInput when a metered feature has no meter, or another one has."""
        if self.feature_type == "metered" and self.meter_id is None:
            raise InvalidInput(
                "meter_missing", "A metered feature needs a meter.", field="meter_id", hint="Name a meter's id."
            )
        if self.feature_type != "metered" and self.meter_id is not None:
            raise InvalidInput(
                "meter_not_allowed",
                f"A {self.feature_type} feature has no meter.",
                field="meter_id",
                hint="Leave meter_id out, or make the feature metered.",
            )


class FeatureChangesIn(TextChangesIn):
    key: Slug | None = None
    feature_type: FeatureType | None = None
    meter_id: Slug | None = None


class FeatureOut(Model):
    id: str
    version: int
    name: str
    key: str
    feature_type: str
    meter_id: str | None
    description: str | None
    status: str
    created_at: Instant

    @classmethod
    def of(cls, record: FeatureRecord) -> Self:
        return cls.model_validate(record, from_attributes=True)
