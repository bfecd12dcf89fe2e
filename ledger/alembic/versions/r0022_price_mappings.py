"""Prices are mapped as well: each version of one to a price at the provider.

Locks: ACCESS EXCLUSIVE on `mappings` for as long as it takes to read it once. SQLite copies the mappings.
"""

from alembic import op

revision: str = "0022"
down_revision: str | None = "0021"
branch_labels: str | None = None
depends_on: str | None = None

BEFORE = "entity IN ('customer', 'invoice', 'payment', 'plan', 'subscription')"
AFTER = "entity IN ('customer', 'invoice', 'payment', 'plan', 'price', 'subscription')"


def upgrade() -> None:
    _put(AFTER)


def downgrade() -> None:
    op.execute("DELETE FROM mappings WHERE entity = 'price'")
    _put(BEFORE)


def _put(condition: str) -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SET LOCAL lock_timeout = '5s'")
        op.drop_constraint(op.f("ck_mappings_entity"), "mappings")
        op.create_check_constraint(op.f("ck_mappings_entity"), "mappings", condition)
        return
    with op.batch_alter_table("mappings", recreate="always") as batch:
        batch.drop_constraint(op.f("ck_mappings_entity"), type_="check")
        batch.create_check_constraint(op.f("ck_mappings_entity"), condition)
