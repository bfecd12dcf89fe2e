"""What billing needs from a provider to give money back: refunds of payments, credit notes on invoices.

Conventions and errors are those of `billing.ports`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
    """`status` is pending, requires_action, succeeded, failed or canceled; `failure_reason` the provider's word."""

    id: str
    status: str
    amount: Decimal
    failure_reason: str | None


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
    """`pre_payment` lowered what was due, `post_payment` was given back; `status` is issued or void."""

    id: str
    invoice_id: str
    status: str
    total: Decimal
    pre_payment: Decimal
    post_payment: Decimal
    metadata: Mapping[str, str]


class RefundGateway(Protocol):
    """The provider's refunds and credit notes; errors and `find_…` as in `billing.ports.PaymentGateway`."""

    def create_refund(self, refund: NewRefund, key: str) -> ProviderRefund: ...
    def find_refund(self, payment_id: str, our_id: str) -> ProviderRefund | None: ...

    def create_credit_note(self, note: NewCreditNote, key: str) -> ProviderCreditNote: ...
    def get_credit_note(self, credit_note_id: str) -> ProviderCreditNote: ...
    def find_credit_note(self, invoice_id: str, our_id: str) -> ProviderCreditNote | None: ...
    def void_credit_note(self, credit_note_id: str, key: str) -> ProviderCreditNote: ...
