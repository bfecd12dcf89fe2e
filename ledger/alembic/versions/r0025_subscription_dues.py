"""From when on a subscription may have something to bill, so that nobody has to read all of them to find those that do.

Locks: ACCESS EXCLUSIVE on `subscriptions` for one update of every row and an index, some 10 s for a million.
"""

import sqlalchemy as sa
from alembic import op

from ledger.types import UtcDateTime

revision: str = "0025"
down_revision: str | None = "0024"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column("subscriptions", sa.Column("due_from", UtcDateTime(), nullable=True))
    op.add_column("subscriptions", sa.Column("due_revision", sa.Integer(), nullable=False, server_default=sa.text("0")))
    op.execute("UPDATE subscriptions SET due_from = start_date")
    op.create_index("ix_subscriptions_due_from", "subscriptions", ["due_from"])


def downgrade() -> None:
    op.drop_index("ix_subscriptions_due_from", "subscriptions")
    op.drop_column("subscriptions", "due_revision")
    op.drop_column("subscriptions", "due_from")
