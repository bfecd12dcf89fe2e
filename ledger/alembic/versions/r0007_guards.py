"""What the database itself refuses, whatever a program does.

A finalized invoice keeps its amounts, inputs and lines; a version of a meter or price keeps its definition; the audit
log only grows. Statements are written out per database: SQLite has no functions in triggers and PostgreSQL no RAISE
without one.

Locks: ACCESS EXCLUSIVE on each table on PostgreSQL, for the moment it takes to enter a trigger in the catalogue.
"""

from alembic import op

revision: str = "0007"
down_revision: str | None = "0006"
branch_labels: str | None = None
depends_on: str | None = None

SQLITE = {
    "invoices_frozen": """
        CREATE TRIGGER invoices_frozen BEFORE UPDATE ON invoices
        WHEN OLD.status <> 'draft' AND (
            NEW.status = 'draft' OR (OLD.status = 'void' AND NEW.status <> 'void')
            OR NEW.tenant_id <> OLD.tenant_id OR NEW.environment_id <> OLD.environment_id OR NEW.id <> OLD.id
            OR NEW.customer_id <> OLD.customer_id OR NEW.subscription_id IS NOT OLD.subscription_id
            OR NEW.number IS NOT OLD.number OR NEW.currency <> OLD.currency OR NEW.subtotal <> OLD.subtotal
            OR NEW.total <> OLD.total OR NEW.amount_due <> OLD.amount_due OR NEW.period_start <> OLD.period_start
            OR NEW.period_end <> OLD.period_end OR NEW.watermark IS NOT OLD.watermark
            OR NEW.inputs_hash IS NOT OLD.inputs_hash OR NEW.code_version IS NOT OLD.code_version
            OR NEW.priced_at IS NOT OLD.priced_at OR NEW.finalized_at IS NOT OLD.finalized_at
        )
        BEGIN SELECT RAISE(ABORT, 'a finalized invoice never changes'); END""",
    "invoices_kept": """
        CREATE TRIGGER invoices_kept BEFORE DELETE ON invoices WHEN OLD.status <> 'draft'
        BEGIN SELECT RAISE(ABORT, 'a finalized invoice is never deleted'); END""",
    "invoice_lines_added": """
        CREATE TRIGGER invoice_lines_added BEFORE INSERT ON invoice_lines
        WHEN (SELECT status FROM invoices WHERE tenant_id = NEW.tenant_id AND environment_id = NEW.environment_id
              AND id = NEW.invoice_id) <> 'draft'
        BEGIN SELECT RAISE(ABORT, 'the lines of a finalized invoice never change'); END""",
    "invoice_lines_changed": """
        CREATE TRIGGER invoice_lines_changed BEFORE UPDATE ON invoice_lines
        WHEN (SELECT status FROM invoices WHERE tenant_id = OLD.tenant_id AND environment_id = OLD.environment_id
              AND id = OLD.invoice_id) <> 'draft'
          OR (SELECT status FROM invoices WHERE tenant_id = NEW.tenant_id AND environment_id = NEW.environment_id
              AND id = NEW.invoice_id) <> 'draft'
        BEGIN SELECT RAISE(ABORT, 'the lines of a finalized invoice never change'); END""",
    "invoice_lines_removed": """
        CREATE TRIGGER invoice_lines_removed BEFORE DELETE ON invoice_lines
        WHEN (SELECT status FROM invoices WHERE tenant_id = OLD.tenant_id AND environment_id = OLD.environment_id
              AND id = OLD.invoice_id) <> 'draft'
        BEGIN SELECT RAISE(ABORT, 'the lines of a finalized invoice never change'); END""",
    "meter_versions_frozen": """
        CREATE TRIGGER meter_versions_frozen BEFORE UPDATE ON meter_versions
        BEGIN SELECT RAISE(ABORT, 'a version of a meter never changes'); END""",
    "price_versions_frozen": """
        CREATE TRIGGER price_versions_frozen BEFORE UPDATE ON price_versions
        BEGIN SELECT RAISE(ABORT, 'a version of a price never changes'); END""",
    "audit_log_frozen": """
        CREATE TRIGGER audit_log_frozen BEFORE UPDATE ON audit_log
        BEGIN SELECT RAISE(ABORT, 'the audit log only grows'); END""",
    "audit_log_kept": """
        CREATE TRIGGER audit_log_kept BEFORE DELETE ON audit_log
        BEGIN SELECT RAISE(ABORT, 'the audit log only grows'); END""",
}

POSTGRESQL_FUNCTIONS = (
    """
        CREATE FUNCTION tallyhouse_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION USING MESSAGE = TG_ARGV[0], ERRCODE = 'restrict_violation';
        END $$""",
    # FOR SHARE waits for a transaction that is finalizing the invoice, and then sees that it did.
    """
        CREATE FUNCTION tallyhouse_lines_of_draft() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP <> 'INSERT' THEN
                PERFORM 1 FROM invoices WHERE tenant_id = OLD.tenant_id AND environment_id = OLD.environment_id
                    AND id = OLD.invoice_id AND status = 'draft' FOR SHARE;
                IF NOT FOUND THEN
                    RAISE restrict_violation USING MESSAGE = 'the lines of a finalized invoice never change';
                END IF;
            END IF;
            IF TG_OP = 'DELETE' THEN
                RETURN OLD;
            END IF;
            PERFORM 1 FROM invoices WHERE tenant_id = NEW.tenant_id AND environment_id = NEW.environment_id
                AND id = NEW.invoice_id AND status = 'draft' FOR SHARE;
            IF NOT FOUND THEN
                RAISE restrict_violation USING MESSAGE = 'the lines of a finalized invoice never change';
            END IF;
            RETURN NEW;
        END $$""",
)

POSTGRESQL_TRIGGERS = (
    """
        CREATE TRIGGER invoices_frozen BEFORE UPDATE ON invoices FOR EACH ROW
        WHEN (OLD.status <> 'draft' AND (
            NEW.status = 'draft' OR (OLD.status = 'void' AND NEW.status <> 'void')
            OR (NEW.tenant_id, NEW.environment_id, NEW.id, NEW.customer_id, NEW.subscription_id, NEW.number,
                NEW.currency, NEW.subtotal, NEW.total, NEW.amount_due, NEW.period_start, NEW.period_end, NEW.watermark,
                NEW.inputs_hash, NEW.code_version, NEW.priced_at, NEW.finalized_at)
            IS DISTINCT FROM
               (OLD.tenant_id, OLD.environment_id, OLD.id, OLD.customer_id, OLD.subscription_id, OLD.number,
                OLD.currency, OLD.subtotal, OLD.total, OLD.amount_due, OLD.period_start, OLD.period_end, OLD.watermark,
                OLD.inputs_hash, OLD.code_version, OLD.priced_at, OLD.finalized_at)
        ))
        EXECUTE FUNCTION tallyhouse_refuse('a finalized invoice never changes')""",
    """
        CREATE TRIGGER invoices_kept BEFORE DELETE ON invoices FOR EACH ROW WHEN (OLD.status <> 'draft')
        EXECUTE FUNCTION tallyhouse_refuse('a finalized invoice is never deleted')""",
    """
        CREATE TRIGGER invoice_lines_of_draft BEFORE INSERT OR UPDATE OR DELETE ON invoice_lines FOR EACH ROW
        EXECUTE FUNCTION tallyhouse_lines_of_draft()""",
    """
        CREATE TRIGGER meter_versions_frozen BEFORE UPDATE ON meter_versions FOR EACH ROW
        EXECUTE FUNCTION tallyhouse_refuse('a version of a meter never changes')""",
    """
        CREATE TRIGGER price_versions_frozen BEFORE UPDATE ON price_versions FOR EACH ROW
        EXECUTE FUNCTION tallyhouse_refuse('a version of a price never changes')""",
    """
        CREATE TRIGGER audit_log_frozen BEFORE UPDATE OR DELETE ON audit_log FOR EACH ROW
        EXECUTE FUNCTION tallyhouse_refuse('the audit log only grows')""",
)


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        statements = [*POSTGRESQL_FUNCTIONS, *POSTGRESQL_TRIGGERS]
    else:
        statements = list(SQLITE.values())
    for statement in statements:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        # Their triggers go with them.
        op.get_bind().exec_driver_sql("DROP FUNCTION tallyhouse_refuse, tallyhouse_lines_of_draft CASCADE")
        return
    for name in SQLITE:
        op.get_bind().exec_driver_sql("DROP TRIGGER " + name)
