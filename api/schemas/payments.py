"""Payments, and the pages on which a customer saves a card or pays."""

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field

from api.schemas.common import (
    CurrencyIn,
    CustomerRef,
    DecimalIn,
    DecimalOut,
    Instant,
    Metadata,
    Model,
    Name,
    Slug,
    WebAddress,
    any_case,
)
from api.schemas.paging import Paging
from billing.errors import InvalidInput
from billing.exact import parse_decimal
from ledger.store.payment_history import HistoryRecord
from ledger.store.payments import PaymentRecord
from ledger.store.refunds import RefundRecord, given_back, made_elsewhere
from pipelines.steps.create_payment import NewPayment
from pipelines.steps.refund_payment import WantedRefund
from pipelines.steps.save_card import CardSetupStarted

__all__ = [
    "PaymentDetailOut",
    "PaymentEntryOut",
    "PaymentFilters",
    "PaymentIn",
    "PaymentOut",
    "PaymentRefundOut",
    "RefundIn",
    "RefundOut",
    "SetupIn",
    "SetupOut",
]

Gateway = Annotated[Literal["stripe"], any_case()]


class SetupIn(Model):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "success_url": "https://yourapp.com/payment/success",
                    "cancel_url": "https://yourapp.com/payment/cancel",
                    "provider": "stripe",
                    "set_default": True,
                }
            ]
        }
    )

    success_url: WebAddress
    cancel_url: WebAddress
    provider: Gateway = "stripe"
    set_default: bool = Field(default=True, description="Charge this card from now on.")


class SetupOut(Model):
    """Send `checkout_url` to the customer; Stripe's page saves the card."""

    setup_intent_id: str | None
    checkout_session_id: str
    checkout_url: str | None
    status: str
    usage: Literal["off_session"]
    customer_id: str
    created_at: int = Field(description="Seconds since 1970, as Stripe writes them.")
    expires_at: int | None

    @classmethod
    def of(cls, started: CardSetupStarted) -> Self:
        return cls.model_validate(started, from_attributes=True)


class PaymentIn(Model):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "destination_type": "invoice",
                    "destination_id": "inv_01KCBAVXJC34H8JJGEJBD6F5MV",
                    "payment_method_type": "payment_link",
                    "payment_gateway": "stripe",
                    "amount": "100.00",
                    "currency": "USD",
                    "save_card_and_make_default": True,
                    "success_url": "https://yourapp.com/payment/success",
                    "cancel_url": "https://yourapp.com/payment/cancel",
                    "process_payment": True,
                }
            ]
        }
    )

    destination_type: Annotated[Literal["invoice"], any_case()] = "invoice"
    destination_id: Slug = Field(description="The invoice's id.")
    payment_method_type: Annotated[Literal["payment_link", "card", "offline"], any_case()]
    payment_gateway: Gateway | None = None
    amount: DecimalIn
    currency: CurrencyIn
    save_card_and_make_default: bool = False
    success_url: WebAddress | None = Field(default=None, description="Needed by a payment link.")
    cancel_url: WebAddress | None = None
    process_payment: bool = Field(default=True, description="Payments are carried out when they are made.")
    metadata: Metadata = Field(default_factory=dict, description="Kept with offline payments.")

    def new_payment(self) -> NewPayment:
        """What is asked for. InvalidInput for a payment that is to wait: nothing would ever carry it out."""
        if not self.process_payment:
            raise InvalidInput(
                "process_payment_required",
                "A payment is carried out when it is made.",
                field="process_payment",
                hint="Send true, or make the payment when it is due.",
            )
        return NewPayment(
            invoice_id=self.destination_id,
            method=self.payment_method_type,
            amount=self.amount,
            currency=self.currency,
            success_url=self.success_url,
            cancel_url=self.cancel_url,
            save_card_and_make_default=self.save_card_and_make_default,
            metadata=self.metadata,
        )


class PaymentEntryOut(Model):
    """A try or a dispute as it stands at Stripe; `number` counts from 1."""

    number: int
    gateway_id: str
    amount: DecimalOut
    status: str
    reason: str | None
    brand: str | None = None
    last4: str | None = None
    at: Instant

    @classmethod
    def of(cls, record: HistoryRecord) -> Self:
        return cls(
            number=record.number,
            gateway_id=record.gateway_id,
            amount=record.amount,
            status=record.status,
            reason=record.reason,
            brand=record.detail.get("brand"),
            last4=record.detail.get("last4"),
            at=record.at,
        )


class RefundIn(Model):
    """All that is left of the payment, unless `amount` says less."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"amount": "20.00", "reason": "requested_by_customer"}]})

    amount: DecimalIn | None = None
    reason: Annotated[Name, Field(max_length=500)] | None = Field(
        default=None, description="`duplicate`, `fraudulent` and `requested_by_customer` are told to Stripe as well."
    )

    def wanted(self, payment_id: str) -> WantedRefund:
        amount = None if self.amount is None else parse_decimal(self.amount, "amount")
        return WantedRefund(payment_id, amount, self.reason)


class RefundOut(Model):
    """`status`: pending (on its way), succeeded, failed (also when the bank sent it back) or canceled."""

    id: str
    payment_id: str
    credit_note_id: str | None = Field(description="The credit note that it settles.")
    amount: DecimalOut
    currency: str
    status: str
    reason: str | None
    failure_reason: str | None
    gateway_refund_id: str | None = Field(
        description="Stripe's `re_…`; null while it waits, for offline payments, and for what was given back elsewhere."
    )
    settled_at: Instant | None
    created_at: Instant

    @classmethod
    def of(cls, record: RefundRecord) -> Self:
        shown = {name: value for name, value in vars(record).items() if name != "gateway"}
        return cls(**{**shown, "currency": record.currency.lower()})


class PaymentRefundOut(Model):
    """A refund of a payment, oldest first; one that was made at Stripe alone has no `id`."""

    id: str | None
    credit_note_id: str | None
    gateway_id: str | None
    amount: DecimalOut
    status: str
    reason: str | None
    failure_reason: str | None
    at: Instant


class PaymentFilters(Paging):
    invoice_id: Slug | None = None
    customer_id: CustomerRef | None = None
    status: (
        Annotated[
            Literal["pending", "processing", "requires_action", "succeeded", "failed", "canceled", "refunded"],
            any_case(cancelled="canceled"),
        ]
        | None
    ) = None


class PaymentOut(Model):
    id: str
    destination_type: Literal["invoice"] | None
    destination_id: str | None
    customer_id: str
    amount: DecimalOut
    currency: str
    payment_method_type: str
    payment_gateway: str | None
    gateway_payment_id: str | None
    payment_status: str
    payment_url: str | None = Field(description="The page on which the customer pays, for a payment link.")
    failure_code: str | None
    failure_message: str | None
    succeeded_at: Instant | None
    metadata: dict[str, str]
    created_at: Instant

    @classmethod
    def of(cls, record: PaymentRecord) -> Self:
        return cls(
            id=record.id,
            destination_type="invoice" if record.invoice_id else None,
            destination_id=record.invoice_id,
            customer_id=record.customer_id,
            amount=record.amount,
            currency=record.currency,
            payment_method_type=record.method,
            payment_gateway=record.gateway,
            gateway_payment_id=record.gateway_payment_id,
            payment_status=record.status,
            payment_url=record.checkout_url,
            failure_code=record.failure_code,
            failure_message=record.failure_message,
            succeeded_at=record.succeeded_at,
            metadata=record.metadata,
            created_at=record.created_at,
        )


class PaymentDetailOut(PaymentOut):
    """With every try to charge a card, what was given back, and what the cardholder's bank took or takes back."""

    amount_refunded: DecimalOut
    attempts: list[PaymentEntryOut]
    refunds: list[PaymentRefundOut]
    disputes: list[PaymentEntryOut]

    @classmethod
    def with_history(
        cls, record: PaymentRecord, history: Sequence[HistoryRecord], asked_for: Sequence[RefundRecord]
    ) -> Self:
        """`history` and the refunds `asked_for` here as the ledger lists them."""
        elsewhere = made_elsewhere(history, asked_for)
        return cls(
            **dict(PaymentOut.of(record)),
            amount_refunded=given_back(history, asked_for),
            attempts=[PaymentEntryOut.of(entry) for entry in history if entry.kind == "attempt"],
            refunds=sorted([*map(_asked_for, asked_for), *map(_made, elsewhere)], key=lambda refund: refund.at),
            disputes=[PaymentEntryOut.of(entry) for entry in history if entry.kind == "dispute"],
        )


def _asked_for(refund: RefundRecord) -> PaymentRefundOut:
    return PaymentRefundOut(
        id=refund.id,
        credit_note_id=refund.credit_note_id,
        gateway_id=refund.gateway_refund_id,
        amount=refund.amount,
        status=refund.status,
        reason=refund.reason,
        failure_reason=refund.failure_reason,
        at=refund.created_at,
    )


def _made(entry: HistoryRecord) -> PaymentRefundOut:
    failed = entry.status == "failed"
    return PaymentRefundOut(
        id=None,
        credit_note_id=None,
        gateway_id=entry.gateway_id,
        amount=entry.amount,
        status=entry.status,
        reason=None if failed else entry.reason,
        failure_reason=entry.reason if failed else None,
        at=entry.at,
    )
