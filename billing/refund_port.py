"""What billing needs from a provider to give money back: refunds of payments, credit notes on invoices.

Conventions and errors are those of `billing.ports`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple, Protocol

# The metadata keys under which our ids travel.
OUR_CREDIT_NOTE = "tallyhouse_credit_note_id"
OUR_REFUND = "tallyhouse_refund_id"


@dataclass(frozen=True, slots=True)
class NewRefund:
    """Money of a payment to give back; `reason` is why, in our words."""

    payment_id: str
    currency: str
    amount: Decimal
    reason: str | None
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ProviderRefund:
    """`status` is pending, requires_action, succeeded, failed or canceled; `failure_reason` the provider's word.

    `payment_id` is the provider's, None where it was charged in a form that is none of ours.
    """

    id: str
    payment_id: str | None
    status: str
    currency: str
    amount: Decimal
    failure_reason: str | None
    metadata: Mapping[str, str]


class NoteTax(NamedTuple):
    """A tax that a line of a credit note takes back; `tax_rate_id` is the provider's."""

    tax_rate_id: str
    amount: Decimal
    taxable: Decimal


@dataclass(frozen=True, slots=True)
class NewCreditNoteLine:
    """`amount` is net of the taxes that come on top."""

    description: str
    amount: Decimal
    taxes: Sequence[NoteTax] = ()


class LinkedRefund(NamedTuple):
    """A refund of the provider's that settles a part of a credit note."""

    refund_id: str
    amount: Decimal


@dataclass(frozen=True, slots=True)
class NewCreditNote:
    """A correction of an invoice that is open or paid at the provider.

    What the invoice still asks for is lowered first. `refunds` and `outside`, what is given back in other ways, add up
    to the rest exactly. Without `lines` the note is one amount.
    """

    invoice_id: str
    currency: str
    amount: Decimal
    lines: Sequence[NewCreditNoteLine]
    refunds: Sequence[LinkedRefund]
    outside: Decimal
    memo: str
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ProviderCreditNote:
    """`pre_payment` lowered what was due, `post_payment` was given back; `status` is issued or void.

    What `refunds` do not give back of `post_payment` went to the customer's balance there, or was given back elsewhere.
    """

    id: str
    invoice_id: str
    status: str
    currency: str
    total: Decimal
    pre_payment: Decimal
    post_payment: Decimal
    refunds: Sequence[LinkedRefund]
    memo: str | None
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ProviderNoteLine:
    """A line of a credit note: `amount` is gross, `invoice_line_id` the provider's line that it takes back, if one."""

    invoice_line_id: str | None
    amount: Decimal


class RefundGateway(Protocol):
    """The provider's refunds and credit notes; errors and `find_…` as in `billing.ports.PaymentGateway`."""

    def create_refund(self, refund: NewRefund, key: str) -> ProviderRefund: ...
    def get_refund(self, refund_id: str) -> ProviderRefund: ...
    def list_refunds(self, since: datetime) -> list[ProviderRefund]: ...
    def find_refund(self, payment_id: str, our_id: str) -> ProviderRefund | None: ...

    def create_credit_note(self, note: NewCreditNote, key: str) -> ProviderCreditNote: ...
    def get_credit_note(self, credit_note_id: str) -> ProviderCreditNote: ...
    def get_credit_note_lines(self, credit_note_id: str, currency: str) -> list[ProviderNoteLine]: ...
    def list_credit_notes(self, since: datetime) -> list[ProviderCreditNote]: ...
    def find_credit_note(self, invoice_id: str, our_id: str) -> ProviderCreditNote | None: ...
    def void_credit_note(self, credit_note_id: str, key: str) -> ProviderCreditNote: ...
