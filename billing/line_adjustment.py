"""What a finalized line has come to since, and the line of a later invoice that bills the difference (promise M5).

A finalized line never changes (M3). When its usage turns out to be another, it is priced again as if that usage had
been in time: by the same version of the price, in the same tiers, under the coupons that its invoice had. What it comes
to then, less what was billed of it so far, is an adjustment.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final

from billing.adjustments.adjust import InvoiceTerms, adjust
from billing.exact import EXACT, ZERO
from billing.invoice import ADJUSTMENT, LineDraft
from billing.period import Period
from billing.rating import TierUse

__all__ = [
    "AdjustmentCause",
    "AdjustmentState",
    "LineAdjustment",
    "Treatment",
    "adjustment_again",
    "adjustment_line",
    "as_priced",
    "nets_with",
]

_ONE: Final = Decimal(1)
_ADJUSTED: Final = {"discount", "tax", "discounts", "taxes"}


class AdjustmentCause(StrEnum):
    """Events that came late, or a person who had the period rated again."""

    LATE_EVENTS = "late_events"
    RERATE = "rerate"


class AdjustmentState(StrEnum):
    """`even`: it came to nothing, and nothing will bill it. `withdrawn`: the invoice that it adjusts is void."""

    PENDING = "pending"
    ON_DRAFT = "on_draft"
    BILLED = "billed"
    CREDITED = "credited"
    EVEN = "even"
    WITHDRAWN = "withdrawn"

    @property
    def is_open(self) -> bool:
        """Whether nothing final carries it."""
        return self not in {AdjustmentState.BILLED, AdjustmentState.CREDITED}


class Treatment(StrEnum):
    """How an environment has differences billed.

    `next_invoice`: as lines of the subscription's next invoice. `credit_note`: what is too much goes back by a credit
    note at once, the rest is on the next invoice. `separate_invoice`: what is missing is an invoice of its own at once,
    what is too much a credit note.
    """

    NEXT_INVOICE = "next_invoice"
    CREDIT_NOTE = "credit_note"
    SEPARATE_INVOICE = "separate_invoice"

    def waits_for_next_invoice(self, amount: Decimal) -> bool:
        """Whether a difference of this amount becomes a line of the next invoice."""
        return self is Treatment.NEXT_INVOICE or (self is Treatment.CREDIT_NOTE and amount > 0)


@dataclass(frozen=True, kw_only=True)
class LineAdjustment:
    """One difference of a line. `due` is what the line comes to, `billed` what was billed of it before, both less
    discounts and without taxes on top. `quantity` is what it counts now, `quantity_before` what had been billed.

    The rest names the line: its period, and the versions of price and meter that `due` was worked out by.
    """

    id: str
    display_name: str
    period: Period
    price_id: str
    price_version: int
    meter_id: str | None
    meter_version: int | None
    quantity_before: Decimal
    quantity: Decimal
    billed: Decimal
    due: Decimal
    watermark: datetime | None
    quantity_hash: str | None

    @property
    def amount(self) -> Decimal:
        """What is still to be billed, below zero where it was too much."""
        return EXACT.subtract(self.due, self.billed)


def adjustment_line(of: LineAdjustment) -> LineDraft:
    """The line of the invoice that carries the difference: due, less billed.

    >>> from datetime import UTC
    >>> march = Period(datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC))
    >>> line = adjustment_line(LineAdjustment(
    ...     id="adj_1", display_name="Requests, adjustment of INV-202604-00001", period=march, price_id="price_1",
    ...     price_version=1, meter_id="meter_1", meter_version=1, quantity_before=Decimal(100), quantity=Decimal(130),
    ...     billed=Decimal("10.00"), due=Decimal("13.00"), watermark=march.end, quantity_hash="v1"))
    >>> str(line.quantity), str(line.amount), [str(row.amount) for row in line.breakdown]
    ('30', '3.00', ['13.00', '-10.00'])
    """
    return LineDraft(
        key=f"{ADJUSTMENT}:{of.id}",
        display_name=of.display_name,
        price_type=ADJUSTMENT,
        quantity=EXACT.subtract(of.quantity, of.quantity_before),
        amount=of.amount,
        unrounded=of.amount,
        period=of.period,
        price_id=of.price_id,
        price_version=of.price_version,
        meter_id=of.meter_id,
        meter_version=of.meter_version,
        breakdown=(_row(_ONE, of.due), _row(-_ONE, of.billed)),
        watermark=of.watermark,
        quantity_hash=of.quantity_hash,
    )


def adjustment_again(line: LineDraft) -> LineDraft:
    """A stored adjustment made again from what it says that it was made from: due less billed."""
    due, billed = (row.amount for row in line.breakdown)
    amount = EXACT.add(due, billed)
    return replace(as_priced(line), amount=amount, unrounded=amount)


def nets_with(
    lines: Sequence[LineDraft], amounts: Sequence[Decimal], terms: InvoiceTerms, currency: str
) -> list[Decimal]:
    """What each line of an invoice comes to less its discounts, had its amount been the one in `amounts`.

    The coupons are those of the invoice: a percentage of more is more, and an amount that was capped is not.
    """
    again = [replace(line, amount=amount) for line, amount in zip(lines, amounts, strict=True)]
    return [EXACT.subtract(line.amount, line.discount) for line in adjust(again, terms, currency).lines]


def as_priced(line: LineDraft) -> LineDraft:
    """A line as it is priced, without an id and without what coupons and taxes came to."""
    priced = {item.name: getattr(line, item.name) for item in fields(LineDraft) if item.name not in _ADJUSTED}
    return LineDraft(**priced)


def _row(sign: Decimal, amount: Decimal) -> TierUse:
    return TierUse(None, sign, amount, ZERO, EXACT.multiply(sign, amount))
