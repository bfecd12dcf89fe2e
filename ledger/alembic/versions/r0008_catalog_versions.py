"""Versions of features and plans; what a price version reaches, when it was made, and whether it ends the price.

Why: every change of the catalogue is a version, and which one bills a period follows from what is recorded alone.
Locks: ACCESS EXCLUSIVE on the tables of the catalogue, for the change of the catalogue and an update of each price
version. They are small: nobody has more prices than a person has entered.
"""

import sqlalchemy as sa
from alembic import op

from ledger.types import UtcDateTime

revision: str = "0008"
down_revision: str | None = "0007"
branch_labels: str | None = None
depends_on: str | None = None

PRICE_VERSIONS = "a version of a price never changes"
OTHERS = {
    "plan_versions": "a version of a plan never changes",
    "feature_versions": "a version of a feature never changes",
}


def upgrade() -> None:
    if _postgresql():
        op.execute("SET LOCAL lock_timeout = '5s'")
    for table, entity in (("plan_versions", "plan"), ("feature_versions", "feature")):
        op.create_table(
            table,
            sa.Column("tenant_id", sa.Text(), nullable=False),
            sa.Column("environment_id", sa.Text(), nullable=False),
            sa.Column(f"{entity}_id", sa.Text(), nullable=False),
            sa.Column("version", sa.Integer(), nullable=False),
            sa.Column("name", sa.Text(), nullable=False),
            sa.Column("description", sa.Text(), nullable=True),
            sa.Column("status", sa.Text(), nullable=False),
            sa.Column("effective_from", UtcDateTime(), nullable=False),
            sa.CheckConstraint("status IN ('active', 'archived')", name=op.f(f"ck_{table}_status")),
            sa.ForeignKeyConstraint(
                ["tenant_id", "environment_id", f"{entity}_id"],
                [f"{entity}s.tenant_id", f"{entity}s.environment_id", f"{entity}s.id"],
                name=op.f(f"fk_{table}_{entity}_id"),
            ),
            sa.PrimaryKeyConstraint("tenant_id", "environment_id", f"{entity}_id", "version", name=op.f(f"pk_{table}")),
        )
        op.add_column(f"{entity}s", sa.Column("latest_version", sa.Integer(), server_default="1", nullable=False))
    op.execute(
        "INSERT INTO plan_versions (tenant_id, environment_id, plan_id, version, name, description, status,"
        " effective_from) SELECT tenant_id, environment_id, id, 1, name, description, status, created_at FROM plans"
    )
    op.execute(
        "INSERT INTO feature_versions (tenant_id, environment_id, feature_id, version, name, description, status,"
        " effective_from) SELECT tenant_id, environment_id, id, 1, name, description, status, created_at FROM features"
    )
    op.add_column("prices", sa.Column("created_at", UtcDateTime(), nullable=True))
    op.create_index("ix_prices_newest", "prices", ["tenant_id", "environment_id", "created_at", "id"], unique=False)
    op.execute(
        "UPDATE prices SET created_at = (SELECT v.effective_from FROM price_versions v WHERE v.version = 1"
        " AND v.tenant_id = prices.tenant_id AND v.environment_id = prices.environment_id AND v.price_id = prices.id)"
    )
    # Written out, so that the CHECK comes with the column: SQLite adds none to a table that is there.
    op.execute(
        "ALTER TABLE price_versions ADD COLUMN apply_to TEXT DEFAULT 'next_period' NOT NULL CONSTRAINT"
        " ck_price_versions_apply_to CHECK (apply_to IN ('every_period', 'next_period', 'running_period'))"
    )
    op.execute(
        "ALTER TABLE price_versions ADD COLUMN status TEXT DEFAULT 'active' NOT NULL CONSTRAINT"
        " ck_price_versions_status CHECK (status IN ('active', 'archived'))"
    )
    op.add_column("price_versions", sa.Column("display_name", sa.Text(), nullable=True))
    op.add_column("price_versions", sa.Column("created_at", UtcDateTime(), nullable=True))
    _thaw("price_versions")
    op.execute(
        "UPDATE price_versions SET created_at = effective_from,"
        " apply_to = CASE version WHEN 1 THEN 'every_period' ELSE 'next_period' END,"
        " display_name = (SELECT p.display_name FROM prices p WHERE p.id = price_versions.price_id"
        " AND p.tenant_id = price_versions.tenant_id AND p.environment_id = price_versions.environment_id)"
    )
    _freeze("price_versions", PRICE_VERSIONS)
    op.drop_column("prices", "display_name")
    for table, message in OTHERS.items():
        _freeze(table, message)


def downgrade() -> None:
    for table in OTHERS:
        op.drop_table(table)
    for entity in ("plans", "features"):
        op.drop_column(entity, "latest_version")
    op.add_column("prices", sa.Column("display_name", sa.Text(), server_default="", nullable=False))
    for name in ("created_at", "display_name", "status", "apply_to"):
        op.drop_column("price_versions", name)
    op.drop_index("ix_prices_newest", table_name="prices")
    op.drop_column("prices", "created_at")


def _postgresql() -> bool:
    return op.get_bind().dialect.name == "postgresql"


def _thaw(table: str) -> None:
    op.get_bind().exec_driver_sql(f"DROP TRIGGER {table}_frozen" + (f" ON {table}" if _postgresql() else ""))


def _freeze(table: str, message: str) -> None:
    refusal = f"FOR EACH ROW EXECUTE FUNCTION tallyhouse_refuse('{message}')"
    if not _postgresql():
        refusal = "BEGIN SELECT RAISE(ABORT, '" + message + "'); END"
    op.get_bind().exec_driver_sql(f"CREATE TRIGGER {table}_frozen BEFORE UPDATE ON {table} {refusal}")
