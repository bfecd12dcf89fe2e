"""Final periods that an environment has had rated again, and the lines that came to something else."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Index, column
from sqlalchemy.orm import Mapped, mapped_column

from ledger.models.base import Base, Entity, Scoped, in_environment, one_of, scoped_key

IS_RUNNING = column("status") == "running"


class Rerate(Entity, Base):
    """The days (inclusive, YYYY-MM-DD) are those in which the periods end; our ids.

    `after_end` and `after_invoice_id` name the last invoice that was rated; whoever rates the next ones has it until
    `leased_until`.
    """

    __tablename__ = "rerates"
    __table_args__ = (
        in_environment(),
        scoped_key("customers", "customer_id"),
        scoped_key("subscriptions", "subscription_id"),
        one_of("status", "running", "done"),
        Index("ix_rerates_newest", "tenant_id", "environment_id", "requested_at", "id"),
        Index("ix_rerates_running", "requested_at", sqlite_where=IS_RUNNING, postgresql_where=IS_RUNNING),
    )

    status: Mapped[str]
    first_day: Mapped[str]
    last_day: Mapped[str]
    customer_id: Mapped[str | None]
    subscription_id: Mapped[str | None]
    meter_id: Mapped[str | None]
    price_versions: Mapped[dict[str, int]]
    prices_at: Mapped[datetime | None]
    invoices: Mapped[int]
    lines: Mapped[int]
    differences: Mapped[int]
    failures: Mapped[list[Any]]
    watermark: Mapped[datetime | None]
    after_end: Mapped[datetime | None]
    after_invoice_id: Mapped[str | None]
    leased_until: Mapped[datetime | None]
    requested_by: Mapped[str]
    requested_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]


class RerateDifference(Scoped, Base):
    """The `position`-th line that differs, by the end of its invoice's period; `customer_id` is the caller's own.

    `adjustment_id` names the adjustment that was made of it.
    """

    __tablename__ = "rerate_differences"
    __table_args__ = (
        in_environment(),
        scoped_key("rerates", "rerate_id"),
        scoped_key("invoices", "invoice_id"),
        scoped_key("invoice_lines", "line_id"),
        Index("ix_rerate_differences_invoice", "tenant_id", "environment_id", "rerate_id", "invoice_id"),
    )

    rerate_id: Mapped[str] = mapped_column(primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    invoice_id: Mapped[str]
    invoice_number: Mapped[str | None]
    line_id: Mapped[str]
    customer_id: Mapped[str]
    subscription_id: Mapped[str]
    display_name: Mapped[str]
    period_start: Mapped[datetime]
    period_end: Mapped[datetime]
    price_id: Mapped[str]
    billed_version: Mapped[int]
    price_version: Mapped[int]
    billed_quantity: Mapped[Decimal]
    quantity: Mapped[Decimal]
    currency: Mapped[str]
    billed: Mapped[Decimal]
    due: Mapped[Decimal]
    adjustment_id: Mapped[str | None]
