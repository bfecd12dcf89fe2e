"""${message}

Why: …
Locks: what it locks on PostgreSQL and for how long, and what it rewrites on SQLite.

A table of a running system is written to all the time, so:
- Take no lock for longer than it takes to change the catalogue. `SET LOCAL lock_timeout = '5s'` first: a migration that
  waits behind a long query makes every query after it wait too. It then fails and is run again, which is harmless.
- A new column is nullable or has a constant default. Fill it in batches, outside the migration; NOT NULL comes later.
- A CHECK or foreign key on a filled table is added NOT VALID, and validated in a later migration.
- An index on a large table is made CONCURRENTLY by hand before the release, and here with `if_not_exists=True`.
- What code in use still reads is not dropped or renamed: first a release that does without it.
- SQLite copies the table (batch mode) and loses its triggers: make those of 0007 again, if the table has any.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
${imports if imports else ""}
revision: str = ${repr(up_revision)}
down_revision: str | None = ${repr(down_revision)}
branch_labels: str | Sequence[str] | None = ${repr(branch_labels)}
depends_on: str | Sequence[str] | None = ${repr(depends_on)}


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
