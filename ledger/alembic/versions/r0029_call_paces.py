"""How fast the payment provider may be called, for all processes that share an account.

Locks: none, the table is new.
"""

import sqlalchemy as sa
from alembic import op

from ledger.types import UtcDateTime

revision: str = "0029"
down_revision: str | None = "0028"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "call_paces",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("next_at", UtcDateTime(), nullable=False),
        sa.Column("eased_percent", sa.Integer(), nullable=False),
        sa.Column("eased_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint("eased_percent BETWEEN 1 AND 100", name=op.f("ck_call_paces_eased_percent")),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_call_paces")),
    )


def downgrade() -> None:
    op.drop_table("call_paces")
