"""Lines of invoices that are made by hand have no price, and a void invoice says why it is.

Locks: ACCESS EXCLUSIVE on `invoice_lines` while the checks read every line once, about a second for a few million, and
on `invoices` for the change of the catalogue only. SQLite copies the lines.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0011"
down_revision: str | None = "0010"
branch_labels: str | None = None
depends_on: str | None = None

TYPES = "price_type IN ('fixed', 'usage', 'one_off')"
OLD_TYPES = "price_type IN ('fixed', 'usage')"
HAS_PRICE = "price_type = 'one_off' OR price_id IS NOT NULL AND price_version IS NOT NULL"


def upgrade() -> None:
    _change(nullable=True, checks={"price_type": TYPES, "has_price": HAS_PRICE}, dropped=["price_type"])
    op.add_column("invoices", sa.Column("void_reason", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("invoices", "void_reason")
    _change(nullable=False, checks={"price_type": OLD_TYPES}, dropped=["price_type", "has_price"])


def _change(nullable: bool, checks: dict[str, str], dropped: Sequence[str]) -> None:
    if op.get_context().dialect.name == "postgresql":
        op.execute("SET LOCAL lock_timeout = '5s'")
        for name in dropped:
            op.drop_constraint(op.f(f"ck_invoice_lines_{name}"), "invoice_lines")
        op.alter_column("invoice_lines", "price_id", existing_type=sa.Text(), nullable=nullable)
        op.alter_column("invoice_lines", "price_version", existing_type=sa.Integer(), nullable=nullable)
        for name, rule in checks.items():
            op.create_check_constraint(op.f(f"ck_invoice_lines_{name}"), "invoice_lines", rule)
        return
    # The copy has neither the table's checks nor its triggers.
    triggers = op.get_bind().exec_driver_sql(
        "SELECT sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'invoice_lines'"
    )
    made_again = [str(row[0]) for row in triggers]
    with op.batch_alter_table("invoice_lines", recreate="always") as batch:
        batch.alter_column("price_id", existing_type=sa.Text(), nullable=nullable)
        batch.alter_column("price_version", existing_type=sa.Integer(), nullable=nullable)
        for name, rule in checks.items():
            batch.create_check_constraint(op.f(f"ck_invoice_lines_{name}"), rule)
    for trigger in made_again:
        op.get_bind().exec_driver_sql(trigger)
