"""Tenants and environments."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from billing.errors import Conflict, NotFound
from billing.line_adjustment import Treatment
from billing.scope import Scope
from ledger.ids import new_id
from ledger.models import Environment, Tenant
from ledger.store.rows import insert_new


@dataclass(frozen=True)
class TenantRecord:
    id: str
    name: str
    created_at: datetime


@dataclass(frozen=True)
class EnvironmentRecord:
    """`billing_grace`: so long after a period's end it is billed by itself, for events that are on their way.

    `usage_freshness`: rollups that lack events received longer ago than this are reported as late. `late_events`: how
    what came after an invoice was final is billed.
    """

    id: str
    tenant_id: str
    name: str
    kind: str
    timezone: str
    billing_grace: timedelta = timedelta(hours=1)
    usage_freshness: timedelta = timedelta(hours=1)
    late_events: Treatment = Treatment.NEXT_INVOICE

    @property
    def scope(self) -> Scope:
        return Scope(self.tenant_id, self.id)


def create_tenant(session: Session, name: str, now: datetime) -> TenantRecord:
    """A new tenant. Conflict `tenant_exists` when the name is taken."""
    tenant = TenantRecord(new_id("tenant", now), name, now)
    if not insert_new(session, Tenant, {"id": tenant.id, "name": name, "created_at": now}):
        raise Conflict("tenant_exists", "a tenant of this name exists", field="name", hint="Choose another name.")
    return tenant


def find_tenant(session: Session, name: str) -> TenantRecord | None:
    """The tenant of that name, if any."""
    row = session.scalar(select(Tenant).where(Tenant.name == name))
    return None if row is None else TenantRecord(row.id, row.name, row.created_at)


def get_tenant(session: Session, scope: Scope) -> TenantRecord:
    """The tenant of an environment that exists. NotFound `environment_not_found`."""
    get_environment(session, scope)
    row = session.get_one(Tenant, scope.tenant_id)
    return TenantRecord(row.id, row.name, row.created_at)


def create_environment(
    session: Session, tenant_id: str, name: str, kind: str, timezone: str, now: datetime
) -> EnvironmentRecord:
    """A new environment, `kind` "test" or "live". Conflict `environment_exists`, NotFound `tenant_not_found`."""
    if session.get(Tenant, tenant_id) is None:
        raise NotFound("tenant_not_found", "no such tenant", field="tenant_id")
    record = EnvironmentRecord(new_id("env", now), tenant_id, name, kind, timezone)
    values = {
        "tenant_id": tenant_id,
        "id": record.id,
        "name": name,
        "kind": kind,
        "timezone": timezone,
        "created_at": now,
    }
    if not insert_new(session, Environment, values):
        raise Conflict("environment_exists", "the tenant has an environment of this name", field="name")
    return record


def get_environment(session: Session, scope: Scope) -> EnvironmentRecord:
    """The environment of a scope. NotFound `environment_not_found`."""
    row = session.get(Environment, (scope.tenant_id, scope.environment_id))
    if row is None:
        raise NotFound("environment_not_found", "no such environment")
    return _record(row)


def list_environments(session: Session, tenant_id: str) -> list[EnvironmentRecord]:
    """A tenant's environments, oldest first."""
    rows = select(Environment).where(Environment.tenant_id == tenant_id)
    return [_record(row) for row in session.scalars(rows.order_by(Environment.created_at, Environment.id))]


def set_billing_grace(session: Session, scope: Scope, grace: timedelta) -> EnvironmentRecord:
    """Changes an environment's grace, in whole seconds. NotFound `environment_not_found`."""
    return _set(session, scope, billing_grace_seconds=int(grace.total_seconds()))


def set_usage_freshness(session: Session, scope: Scope, freshness: timedelta) -> EnvironmentRecord:
    """Changes after how long an environment's usage is late, in whole seconds. NotFound `environment_not_found`."""
    return _set(session, scope, usage_freshness_seconds=int(freshness.total_seconds()))


def set_late_events(session: Session, scope: Scope, treatment: Treatment) -> EnvironmentRecord:
    """Changes how an environment's late events are billed. NotFound `environment_not_found`."""
    return _set(session, scope, late_events=treatment.value)


def billing_graces(session: Session) -> dict[Scope, timedelta]:
    """The grace of every environment."""
    return {
        Scope(row.tenant_id, row.id): timedelta(seconds=row.billing_grace_seconds)
        for row in session.scalars(select(Environment))
    }


def usage_freshnesses(session: Session) -> dict[Scope, timedelta]:
    """After how long the usage of every environment is late."""
    return {
        Scope(row.tenant_id, row.id): timedelta(seconds=row.usage_freshness_seconds)
        for row in session.scalars(select(Environment))
    }


def list_scopes(session: Session) -> list[Scope]:
    """Every environment of every tenant."""
    rows = session.scalars(select(Environment).order_by(Environment.tenant_id, Environment.id))
    return [Scope(row.tenant_id, row.id) for row in rows]


def _set(session: Session, scope: Scope, **values: int | str) -> EnvironmentRecord:
    get_environment(session, scope)
    this = (Environment.tenant_id == scope.tenant_id, Environment.id == scope.environment_id)
    session.execute(update(Environment).where(*this).values(**values))
    return get_environment(session, scope)


def _record(row: Environment) -> EnvironmentRecord:
    return EnvironmentRecord(
        row.id,
        row.tenant_id,
        row.name,
        row.kind,
        row.timezone,
        billing_grace=timedelta(seconds=row.billing_grace_seconds),
        usage_freshness=timedelta(seconds=row.usage_freshness_seconds),
        late_events=Treatment(row.late_events),
    )
