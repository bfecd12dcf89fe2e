"""Brings the stores of a stack up to date and gives a local stack its development tenant."""

from dataclasses import dataclass
from datetime import datetime

from billing.errors import NotAuthenticated
from billing.scope import Scope
from ledger.db import Ledger
from ledger.store import keys, tenants
from warehouse_sql.client import Warehouse
from warehouse_sql.migrate import migrate

__all__ = ["DevelopmentTenant", "development_tenant", "migrate_ledger", "migrate_warehouse"]

TENANT_NAME = "Local development"


@dataclass(frozen=True)
class DevelopmentTenant:
    """Who a local stack's key belongs to."""

    tenant_id: str
    environment_id: str
    api_key: str


def migrate_ledger(url: str) -> list[str]:
    """Apply what the ledger lacks; returns the applied revisions."""
    ledger = Ledger(url)
    try:
        return ledger.migrate()
    finally:
        ledger.dispose()


def migrate_warehouse(url: str, user: str, password: str, database: str, cluster: str) -> list[str]:
    """Apply what the warehouse lacks; returns the names of the applied files."""
    warehouse = Warehouse(url, user, password, database)
    try:
        return [applied.name for applied in migrate(warehouse, cluster or None)]
    finally:
        warehouse.close()


def development_tenant(ledger_url: str, api_key: str | None, now: datetime) -> DevelopmentTenant:
    """Return the tenant behind `api_key`; where that is missing or no longer valid, make a key (and the tenant)."""
    ledger = Ledger(ledger_url)
    try:
        with ledger.begin() as session:
            if api_key is not None:
                try:
                    scope = keys.authenticate(session, api_key, now).scope
                except NotAuthenticated:
                    pass
                else:
                    return DevelopmentTenant(scope.tenant_id, scope.environment_id, api_key)
            tenant = tenants.find_tenant(session, TENANT_NAME)
            if tenant is None:
                tenant = tenants.create_tenant(session, TENANT_NAME, now)
                tenants.create_environment(session, tenant.id, "development", "test", "UTC", now)
            environment_id = tenants.list_environments(session, tenant.id)[0].id
            _, secret = keys.create_key(
                session, Scope(tenant.id, environment_id), "tally up", sorted(keys.ALL_SCOPES), now
            )
            return DevelopmentTenant(tenant.id, environment_id, secret)
    finally:
        ledger.dispose()
