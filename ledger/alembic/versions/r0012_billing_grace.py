"""How long after a period's end an environment waits before the period is billed by itself.

Locks: ACCESS EXCLUSIVE on `environments` for the change of the catalogue only.
"""

import sqlalchemy as sa
from alembic import op

revision: str = "0012"
down_revision: str | None = "0011"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column(
        "environments", sa.Column("billing_grace_seconds", sa.Integer(), nullable=False, server_default=sa.text("3600"))
    )


def downgrade() -> None:
    op.drop_column("environments", "billing_grace_seconds")
