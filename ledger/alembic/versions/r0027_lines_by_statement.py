"""Lines are looked at once for a statement, not once for each of them; and a draft that is priced stays on its page.

A row's trigger asked for the invoice of every line. The same question for all lines of a statement takes a twentieth.
SQLite keeps its own: it has no triggers for statements, and no server to spare.

Locks: ACCESS EXCLUSIVE on `invoice_lines` and `invoices`, for the moment it takes to change the catalogue.
"""

from alembic import op

revision: str = "0027"
down_revision: str | None = "0026"
branch_labels: str | None = None
depends_on: str | None = None

# By the index of the invoices: a plan is kept, and how many lines a statement has differs by thousands.
# FOR SHARE waits for a transaction that is finalizing an invoice, and the look after it sees that it did. The order is
# that of everybody who locks several.
FUNCTION = """
    CREATE FUNCTION tallyhouse_lines_of_drafts() RETURNS trigger LANGUAGE plpgsql
    SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off AS $$
    BEGIN
        IF TG_OP <> 'INSERT' THEN
            PERFORM 1 FROM invoices
                WHERE (tenant_id, environment_id, id) IN (SELECT tenant_id, environment_id, invoice_id FROM removed)
                ORDER BY tenant_id, environment_id, id FOR SHARE;
            IF EXISTS (SELECT 1 FROM removed LEFT JOIN invoices AS of ON of.tenant_id = removed.tenant_id
                    AND of.environment_id = removed.environment_id AND of.id = removed.invoice_id
                WHERE of.status IS DISTINCT FROM 'draft') THEN
                RAISE restrict_violation USING MESSAGE = 'the lines of a finalized invoice never change';
            END IF;
        END IF;
        IF TG_OP <> 'DELETE' THEN
            PERFORM 1 FROM invoices
                WHERE (tenant_id, environment_id, id) IN (SELECT tenant_id, environment_id, invoice_id FROM added)
                ORDER BY tenant_id, environment_id, id FOR SHARE;
            IF EXISTS (SELECT 1 FROM added LEFT JOIN invoices AS of ON of.tenant_id = added.tenant_id
                    AND of.environment_id = added.environment_id AND of.id = added.invoice_id
                WHERE of.status IS DISTINCT FROM 'draft') THEN
                RAISE restrict_violation USING MESSAGE = 'the lines of a finalized invoice never change';
            END IF;
        END IF;
        RETURN NULL;
    END $$"""
TRIGGERS = {
    "added": "AFTER INSERT ON invoice_lines REFERENCING NEW TABLE AS added",
    "changed": "AFTER UPDATE ON invoice_lines REFERENCING OLD TABLE AS removed NEW TABLE AS added",
    "removed": "AFTER DELETE ON invoice_lines REFERENCING OLD TABLE AS removed",
}
ROW_TRIGGER = """
    CREATE TRIGGER invoice_lines_of_draft BEFORE INSERT OR UPDATE OR DELETE ON invoice_lines FOR EACH ROW
    EXECUTE FUNCTION tallyhouse_lines_of_draft()"""


def upgrade() -> None:
    if op.get_bind().dialect.name != "postgresql":
        return
    run = op.get_bind().exec_driver_sql
    run("SET LOCAL lock_timeout = '5s'")
    run(FUNCTION)
    for name, when in TRIGGERS.items():
        run(
            f"CREATE TRIGGER invoice_lines_{name} {when} FOR EACH STATEMENT"
            " EXECUTE FUNCTION tallyhouse_lines_of_drafts()"
        )
    run("DROP TRIGGER invoice_lines_of_draft ON invoice_lines")
    # A draft is written once, priced once and finalized once. With room for the second version beside the first, the
    # indexes have nothing to learn from the pricing.
    run("ALTER TABLE invoices SET (fillfactor = 50)")


def downgrade() -> None:
    if op.get_bind().dialect.name != "postgresql":
        return
    run = op.get_bind().exec_driver_sql
    run("ALTER TABLE invoices RESET (fillfactor)")
    run(ROW_TRIGGER)
    for name in TRIGGERS:
        run(f"DROP TRIGGER invoice_lines_{name} ON invoice_lines")
    run("DROP FUNCTION tallyhouse_lines_of_drafts()")
