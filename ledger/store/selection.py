"""Whether the ids by which somebody chooses what to work on name anything, over all environments."""

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from ledger.models import Environment, Meter, Subscription, Tenant

__all__ = ["names_nothing"]


def names_nothing(
    session: Session, *, tenant_id: str, environment_id: str, subscription_id: str, meter_id: str
) -> str | None:
    """The first of the given ids that is not there, within the tenant and environment that are given with it; an empty
    id is not given."""

    def within(model: type[Subscription | Meter], one: str) -> Select[str]:
        rows = select(model.id).where(model.id == one)
        rows = rows.where(model.tenant_id == tenant_id) if tenant_id else rows
        return rows.where(model.environment_id == environment_id) if environment_id else rows

    environments = select(Environment.id).where(Environment.id == environment_id)
    wanted: dict[str, tuple[str, Select[str]]] = {
        "tenant_id": (tenant_id, select(Tenant.id).where(Tenant.id == tenant_id)),
        "environment_id": (
            environment_id,
            environments.where(Environment.tenant_id == tenant_id) if tenant_id else environments,
        ),
        "subscription_id": (subscription_id, within(Subscription, subscription_id)),
        "meter_id": (meter_id, within(Meter, meter_id)),
    }
    return next((name for name, (given, rows) in wanted.items() if given and session.scalar(rows) is None), None)
