"""Meters can be archived: no new feature may name one then, and it is not revised any more.

Locks: ACCESS EXCLUSIVE on `meters`, for a change of the catalogue only; a constant default rewrites nothing.
"""

from alembic import op

revision: str = "0009"
down_revision: str | None = "0008"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        op.execute("SET LOCAL lock_timeout = '5s'")
    # Written out, so that the CHECK comes with the column: SQLite adds none to a table that is there.
    op.execute(
        "ALTER TABLE meters ADD COLUMN status TEXT DEFAULT 'active' NOT NULL CONSTRAINT ck_meters_status"
        " CHECK (status IN ('active', 'archived'))"
    )


def downgrade() -> None:
    op.drop_column("meters", "status")
