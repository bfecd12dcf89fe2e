"""A catalogue that was entered before its features and plans had versions reads and bills as it did."""

from datetime import datetime
from typing import Any

from alembic import command
from sqlalchemy import Connection, NullPool, column, create_engine, table

from billing.price_version import ApplyTo
from billing.scope import Scope
from ledger.db import Ledger
from ledger.migrate import alembic_config
from ledger.store import features, plans, prices
from ledger.types import ExactJson, UtcDateTime
from tests.support.ledger_rows import FEBRUARY, JANUARY, NOW, later

SCOPE = Scope("t", "e")
PLAN = {
    "id": "plan_1",
    "name": "Pro",
    "key": "pro",
    "billing_period": "monthly",
    "interval": "P1M",
    "currency": "USD",
    "plan_type": "recurring",
    "status": "active",
    "created_at": NOW,
}
SSO = {"id": "feat_1", "name": "SSO", "key": "sso", "feature_type": "boolean", "status": "active", "created_at": NOW}
BASE = {"id": "price_1", "plan_id": "plan_1", "display_name": "Base", "position": 0, "latest_version": 2}


def _insert(connection: Connection, into: str, /, scoped: bool = True, **values: Any) -> None:
    """A row as the columns were then; the models know only those of today."""
    row = {"tenant_id": "t", "environment_id": "e", **values} if scoped else values
    kinds: dict[type, Any] = {datetime: UtcDateTime(), dict: ExactJson()}
    columns = [column(key, kinds.get(type(value))) for key, value in row.items()]
    connection.execute(table(into, *columns).insert().values(row))


def test_the_catalogue_of_before_keeps_its_names_versions_and_amounts(empty_url: str) -> None:
    config = alembic_config()
    with create_engine(empty_url, poolclass=NullPool).begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0007")
        _insert(connection, "tenants", scoped=False, id="t", name="Acme", created_at=NOW)
        environment = {"tenant_id": "t", "id": "e", "name": "main", "kind": "test", "timezone": "UTC"}
        _insert(connection, "environments", scoped=False, **environment, created_at=NOW)
        _insert(connection, "features", **SSO)
        _insert(connection, "plans", **PLAN)
        _insert(connection, "prices", **BASE)
        for version, amount, start in ((1, "10.00", NOW), (2, "12.00", later(days=1))):
            spec = {"pricing_model": "flat", "amount": amount}
            _insert(connection, "price_versions", price_id="price_1", version=version, spec=spec, effective_from=start)
    ledger = Ledger(empty_url)
    ledger.migrate()
    with ledger.read() as session:
        second, first = prices.list_versions(session, SCOPE, "price_1").items
        assert [(p.display_name, str(p.price.amount), p.apply_to, p.created_at) for p in (first, second)] == [
            ("Base", "10.00", ApplyTo.EVERY_PERIOD, NOW),
            ("Base", "12.00", ApplyTo.NEXT_PERIOD, later(days=1)),
        ]
        billed = [prices.prices_billed_in(session, SCOPE, "plan_1", period) for period in (JANUARY, FEBRUARY)]
        assert billed == [(first,), (second,)]
        assert prices.list_prices(session, SCOPE, later(days=1)).items == [second]
        assert [(v.version, v.name, v.effective_from) for v in plans.list_versions(session, SCOPE, "pro").items] == [
            (1, "Pro", NOW)
        ]
        assert features.list_versions(session, SCOPE, "sso").items[0].name == "SSO"
    ledger.dispose()
