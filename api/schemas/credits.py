"""Prepaid credit: grants, balances, and the statement of what became of them."""

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field

from api.schemas.common import CurrencyIn, DecimalIn, DecimalOut, Instant, LongText, Metadata, Model, any_case
from billing.exact import parse_decimal
from ledger.store.credit_grants import Balance, GrantRecord, MovementRecord, NewGrant

__all__ = ["BalanceOut", "CreditsOut", "GrantIn", "GrantOut", "MovementOut"]


class GrantIn(Model):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"amount": "100.00", "currency": "USD", "source": "purchased", "expires_at": "2199-01-01T00:00:00Z"}
            ]
        }
    )

    amount: DecimalIn
    currency: CurrencyIn
    source: Annotated[Literal["purchased", "promotional"], any_case()] = "purchased"
    priority: int = Field(default=100, strict=True, ge=0, le=1_000_000, description="The smaller one is drawn first.")
    effective_at: Instant | None = Field(default=None, description="Now when left out.")
    expires_at: Instant | None = Field(default=None, description="Never when left out.")
    reason: LongText | None = None
    metadata: Metadata = Field(default_factory=dict)

    def new_grant(self) -> NewGrant:
        return NewGrant(
            parse_decimal(self.amount, "amount"),
            self.currency,
            self.source,
            priority=self.priority,
            effective_at=self.effective_at,
            expires_at=self.expires_at,
            reason=self.reason,
            metadata=self.metadata,
        )


class GrantOut(Model):
    id: str
    customer_id: str
    amount: DecimalOut
    remaining: DecimalOut
    currency: str
    source: Literal["purchased", "promotional", "overpayment", "credit_note", "negative_invoice"]
    source_id: str | None = Field(description="The payment, credit note or invoice that it comes from.")
    priority: int
    effective_at: Instant
    expires_at: Instant | None
    voided_at: Instant | None
    reason: str | None
    metadata: dict[str, str]
    created_at: Instant

    @classmethod
    def of(cls, record: GrantRecord) -> Self:
        return cls(**{**vars(record), "currency": record.currency.lower()})


class BalanceOut(Model):
    currency: str
    balance: DecimalOut = Field(description="All that is left.")
    available: DecimalOut = Field(description="What may pay an invoice now: without grants that begin later.")

    @classmethod
    def of(cls, balance: Balance) -> Self:
        return cls(currency=balance.currency.lower(), balance=balance.balance, available=balance.available)


class CreditsOut(Model):
    """A customer's credit by currency, and a page of the grants behind it, newest first."""

    balances: list[BalanceOut]
    items: list[GrantOut]
    next_cursor: str | None = Field(default=None, description="Pass it as `cursor` to read on; null at the end.")


class MovementOut(Model):
    """One line of the statement."""

    id: str
    kind: Literal["granted", "applied", "returned", "expired", "voided"]
    grant_id: str
    amount: DecimalOut = Field(description="Below zero for what leaves the balance.")
    currency: str
    balance_after: DecimalOut = Field(description="The customer's balance in this currency.")
    invoice_id: str | None
    credit_note_id: str | None
    created_at: Instant

    @classmethod
    def of(cls, record: MovementRecord) -> Self:
        return cls(
            id=record.id,
            kind=record.kind,
            grant_id=record.grant_id,
            amount=record.amount,
            currency=record.currency.lower(),
            balance_after=record.balance_after,
            invoice_id=record.invoice_id,
            credit_note_id=record.credit_note_id,
            created_at=record.created_at,
        )
