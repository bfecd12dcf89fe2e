"""The environment of a key, and how it is billed."""

from datetime import timedelta
from typing import Annotated, Self

from pydantic import ConfigDict, Field

from api.schemas.common import Model
from ledger.store.tenants import EnvironmentRecord

__all__ = ["EnvironmentChangesIn", "EnvironmentOut"]

_LONGEST_GRACE = 31 * 24 * 3600


class EnvironmentChangesIn(Model):
    model_config = ConfigDict(json_schema_extra={"examples": [{"billing_grace_seconds": 7200}]})

    billing_grace_seconds: Annotated[
        int,
        Field(
            strict=True,
            ge=0,
            le=_LONGEST_GRACE,
            description="So long after its end a period is billed by itself: 31 days at most.",
        ),
    ]

    @property
    def billing_grace(self) -> timedelta:
        return timedelta(seconds=self.billing_grace_seconds)


class EnvironmentOut(Model):
    id: str
    name: str
    kind: str
    timezone: str
    billing_grace_seconds: int

    @classmethod
    def of(cls, record: EnvironmentRecord) -> Self:
        return cls(
            id=record.id,
            name=record.name,
            kind=record.kind,
            timezone=record.timezone,
            billing_grace_seconds=int(record.billing_grace.total_seconds()),
        )
