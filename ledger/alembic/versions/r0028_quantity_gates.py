"""The results of the four gates that look at a period's quantities are one row of it.

Locks: ROW EXCLUSIVE on `gate_results`, whose rows of these gates are read and written once.
"""

from alembic import op

revision: str = "0028"
down_revision: str | None = "0027"
branch_labels: str | None = None
depends_on: str | None = None

# Of a period that all four have looked at, as it then was; another one is looked at again.
POSTGRESQL = """
    INSERT INTO gate_results (tenant_id, environment_id, gate, subject, subject_hash, passed, detail, checked_at)
    SELECT tenant_id, environment_id, 'quantities', subject, min(subject_hash), bool_and(passed),
        jsonb_object_agg(gate, jsonb_build_object('passed', passed, 'detail', detail)), max(checked_at)
    FROM gate_results
    WHERE gate IN ('quantities_match_raw', 'identities_count_once', 'usage_events_are_usable', 'quantities_as_expected')
    GROUP BY tenant_id, environment_id, subject
    HAVING count(*) = 4 AND min(subject_hash) = max(subject_hash)"""
SQLITE = """
    INSERT INTO gate_results (tenant_id, environment_id, gate, subject, subject_hash, passed, detail, checked_at)
    SELECT tenant_id, environment_id, 'quantities', subject, min(subject_hash), min(passed),
        json_group_object(gate, json_object('passed', json(iif(passed, 'true', 'false')), 'detail', json(detail))),
        max(checked_at)
    FROM gate_results
    WHERE gate IN ('quantities_match_raw', 'identities_count_once', 'usage_events_are_usable', 'quantities_as_expected')
    GROUP BY tenant_id, environment_id, subject
    HAVING count(*) = 4 AND min(subject_hash) = max(subject_hash)"""
APART = """
    DELETE FROM gate_results
    WHERE gate IN ('quantities_match_raw', 'identities_count_once', 'usage_events_are_usable', 'quantities_as_expected')
"""


def upgrade() -> None:
    run = op.get_bind().exec_driver_sql
    run(POSTGRESQL if op.get_bind().dialect.name == "postgresql" else SQLITE)
    run(APART)


def downgrade() -> None:
    op.get_bind().exec_driver_sql("DELETE FROM gate_results WHERE gate = 'quantities'")
