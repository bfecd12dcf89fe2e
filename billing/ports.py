"""What billing needs from a payment provider: one Protocol, its values and its errors.

Amounts are `Decimal` in the currency's main unit everywhere here; the adapter turns them into the
provider's integers and back. Ids called `…_id` on these values are the provider's, except
`line_id`, which is ours and travels in the provider's metadata. `key` is the idempotency key of a
call: the caller derives it from our ids, stores it before the call, and repeats the same call with
the same key after an unknown outcome.

    TallyError
      Unavailable
        ProviderUnavailable      retry later; the call may or may not have happened
      Conflict
        ProviderRejected         the provider understood and said no; repeating changes nothing
          ProviderNotFound       the object is not there (or was deleted)
          ProviderKeyRefused     the API key is wrong, revoked or lacks a permission
          IdempotencyMismatch    the key was used before for a different request
          CardDeclined           the card was refused, or the customer must authenticate
      NotAuthenticated
        WebhookRefused           signature missing, wrong or too old
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

from billing.catalog_port import CatalogGateway
from billing.errors import Conflict, NotAuthenticated, Unavailable
from billing.period import Period
from billing.refund_port import RefundGateway

# The metadata keys under which our ids travel with the provider's objects.
OUR_CUSTOMER = "tallyhouse_customer_id"
OUR_INVOICE = "tallyhouse_invoice_id"
OUR_LINE = "tallyhouse_line_id"
OUR_SESSION = "tallyhouse_session_id"
OUR_PAYMENT = "tallyhouse_payment_id"


class ProviderUnavailable(Unavailable):
    """No usable answer: timeout, dropped connection, 5xx, rate limit, or a running twin of the call.

    `replayed` is true when the provider answered with the stored failure of an earlier call under the
    same key: that call is over and repeating the key can only bring the same failure, so the caller
    has to look at the provider's objects instead.
    """

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        request_id: str | None = None,
        replayed: bool = False,
        retry_after_seconds: int | None = None,
    ) -> None:
        super().__init__(code, detail, hint="Try again later; repeating is safe.")
        self.request_id = request_id
        self.replayed = replayed
        self.retry_after_seconds = retry_after_seconds


class ProviderRejected(Conflict):
    """The provider refused the call. `code` is `provider_…`, `provider_code` is the provider's own word, and
    `provider_param` the parameter that it names."""

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        provider_code: str | None = None,
        request_id: str | None = None,
        hint: str | None = None,
        provider_param: str | None = None,
    ) -> None:
        super().__init__(code, detail, hint=hint)
        self.provider_code = provider_code
        self.request_id = request_id
        self.provider_param = provider_param


class ProviderNotFound(ProviderRejected):
    """The object does not exist at the provider."""


class ProviderKeyRefused(ProviderRejected):
    """The connection's key was refused: wrong, revoked, or without the permission."""


class IdempotencyMismatch(ProviderRejected):
    """The idempotency key was already used for another request."""


class CardDeclined(ProviderRejected):
    """The card was refused. `decline_code` is the bank's reason, `payment_id` the attempt's id."""

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        provider_code: str | None = None,
        decline_code: str | None = None,
        payment_id: str | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(
            code,
            detail,
            provider_code=provider_code,
            request_id=request_id,
            hint="Ask the customer to save another card.",
        )
        self.decline_code = decline_code
        self.payment_id = payment_id


class WebhookRefused(NotAuthenticated):
    """A webhook whose signature is missing, wrong, or outside the time tolerance."""


class ProviderInvoiceStatus(StrEnum):
    DRAFT = "draft"
    OPEN = "open"
    PAID = "paid"
    VOID = "void"
    UNCOLLECTIBLE = "uncollectible"


class ProviderPaymentStatus(StrEnum):
    REQUIRES_METHOD = "requires_payment_method"
    REQUIRES_CONFIRMATION = "requires_confirmation"
    REQUIRES_ACTION = "requires_action"
    PROCESSING = "processing"
    REQUIRES_CAPTURE = "requires_capture"
    SUCCEEDED = "succeeded"
    CANCELED = "canceled"


@dataclass(frozen=True, slots=True)
class ProviderAccount:
    """Whose key it is. `livemode` is read from the key, as the provider does."""

    id: str
    livemode: bool


@dataclass(frozen=True, slots=True)
class NewCustomer:
    name: str
    email: str | None
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ProviderCustomer:
    id: str
    deleted: bool
    name: str | None = None
    email: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    default_payment_method_id: str | None = None


@dataclass(frozen=True, slots=True)
class NewInvoice:
    """A draft to create. `days_until_due` is set exactly when `collection_method` is `send_invoice`.

    `number` is ours and is shown on the document; the provider gives its own number as well. Of the coupons one is
    taken off after the other; one that the customer has at the provider does not count.
    """

    customer_id: str
    currency: str
    collection_method: str
    days_until_due: int | None
    number: str | None
    metadata: Mapping[str, str]
    coupon_ids: Sequence[str] = ()


class TaxRate(NamedTuple):
    """A rate as a document names it."""

    name: str
    percentage: Decimal
    inclusive: bool


class LineTax(NamedTuple):
    """A line's part of a tax, as counted here; `taxable` is what it was counted on."""

    rate: TaxRate
    amount: Decimal
    taxable: Decimal


@dataclass(frozen=True, slots=True)
class NewInvoiceLine:
    """One line as it must appear: our rounded amount, never multiplied or rounded again elsewhere.

    The amount is before the invoice's discounts, which count on it if it is `discountable`, and before taxes on top.
    """

    line_id: str
    description: str
    amount: Decimal
    period: Period
    taxes: Sequence[LineTax] = ()
    discountable: bool = False


@dataclass(frozen=True, slots=True)
class ProviderLineTax:
    """A tax on a provider's line; `rate_id` is the provider's rate, `rate` what it says where that was asked for."""

    rate_id: str
    rate: TaxRate | None
    amount: Decimal


@dataclass(frozen=True, slots=True)
class ProviderInvoiceLine:
    id: str
    line_id: str | None
    amount: Decimal
    taxes: Sequence[ProviderLineTax] = ()


@dataclass(frozen=True, slots=True)
class NewCoupon:
    """An amount off an invoice. `id` is ours and says all of it, so that equal ones are one coupon."""

    id: str
    name: str
    currency: str
    amount: Decimal


@dataclass(frozen=True, slots=True)
class ProviderInvoice:
    """An invoice as the provider sees it now.

    `amount_paid` is money that arrived; `amount_paid_elsewhere` was paid outside the provider.
    `total` may differ from both: a total below the minimum charge is moved to the customer's balance
    and the invoice is `paid` with nothing received. `credited` is what credit notes took off `amount_due`. `payment_id`
    is the id of its default payment, if there is one and it was asked for. `lines` and `payments` are all of them, or
    None where the answer did not hold them; such payments do not say what charges of them came to.
    """

    id: str
    status: ProviderInvoiceStatus
    customer_id: str
    currency: str
    subtotal: Decimal
    total: Decimal
    amount_due: Decimal
    amount_paid: Decimal
    amount_paid_elsewhere: Decimal
    amount_remaining: Decimal
    starting_balance: Decimal
    auto_advance: bool
    hosted_url: str | None
    pdf_url: str | None
    paid_at: datetime | None
    attempts: int
    next_attempt_at: datetime | None
    payment_id: str | None
    due_at: datetime | None = None
    credited: Decimal = Decimal(0)
    metadata: Mapping[str, str] = field(default_factory=dict)
    lines: tuple[ProviderInvoiceLine, ...] | None = None
    payments: tuple["InvoicePayment", ...] | None = None


@dataclass(frozen=True, slots=True)
class CardDetails:
    """The card (or other method) that was used: `payment_method` is its type, e.g. `card`."""

    payment_method: str
    brand: str | None
    last4: str | None


@dataclass(frozen=True, slots=True)
class ProviderPayment:
    """One attempt to move money (at Stripe: a PaymentIntent with its latest charge)."""

    id: str
    status: ProviderPaymentStatus
    currency: str
    amount: Decimal
    amount_received: Decimal
    amount_refunded: Decimal
    payment_method_id: str | None
    card: CardDetails | None
    failure_code: str | None
    failure_message: str | None
    metadata: Mapping[str, str]
    charged_at: datetime | None


@dataclass(frozen=True, slots=True)
class PaymentEntry:
    """A try, a refund or a dispute of a payment. `status` and `reason` are the provider's words.

    `reason` is why a try was declined, why a refund failed or was made, or what a dispute is about; `detail` names the
    card of a try, and under `OUR_REFUND` the refund of ours that is behind one.
    """

    id: str
    amount: Decimal
    status: str
    reason: str | None
    detail: Mapping[str, str | None]
    at: datetime


@dataclass(frozen=True, slots=True)
class ProviderDispute:
    """A payment that its cardholder's bank takes back; `status` is the provider's word, `payment_id` its id."""

    id: str
    payment_id: str | None
    status: str
    currency: str
    amount: Decimal


@dataclass(frozen=True, slots=True)
class InvoicePayment:
    """The link between an invoice and a payment: how much of the payment went to the invoice."""

    id: str
    invoice_id: str
    status: str
    amount_paid: Decimal | None
    is_default: bool
    payment: ProviderPayment | None


@dataclass(frozen=True, slots=True)
class NewCardSession:
    """A hosted page on which the customer saves a card."""

    customer_id: str
    success_url: str
    cancel_url: str
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class NewPaymentSession:
    """A hosted page on which the customer pays one amount; `save_card` keeps the card for later charges."""

    customer_id: str
    currency: str
    amount: Decimal
    description: str
    save_card: bool
    success_url: str
    cancel_url: str
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ProviderSession:
    """A hosted page. `status` is open, complete or expired; `paid` is true once the money is certain."""

    id: str
    mode: str
    status: str
    paid: bool
    url: str | None
    setup_intent_id: str | None
    payment_id: str | None
    metadata: Mapping[str, str]
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class ProviderSetup:
    """The saving of a card: `status` succeeded means that `payment_method_id` is attached to the customer."""

    id: str
    status: str
    payment_method_id: str | None
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ProviderPaymentMethod:
    """A saved card. `customer_id` is None once it was detached; `created_at` is when it was entered.

    It is good through the last day of `exp_month`; other methods do not expire.
    """

    id: str
    customer_id: str | None
    card: CardDetails
    created_at: datetime
    exp_month: int | None = None
    exp_year: int | None = None


@dataclass(frozen=True, slots=True)
class WebhookEvent:
    """A verified notice that something changed. `object` is a snapshot, possibly old: look again before acting."""

    id: str
    type: str
    created: datetime
    livemode: bool
    api_version: str | None
    object: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ProviderEvent:
    """An event of the provider's own list; `payload` is its JSON as a delivery would bring it."""

    id: str
    type: str
    created: datetime
    payload: str


@dataclass(frozen=True, slots=True)
class WebhookEndpoint:
    """Where the provider delivers. `events` are types, or `*`; `other_version` is a version that is not ours."""

    url: str
    enabled: bool
    events: frozenset[str]
    other_version: str | None


class PaymentGateway(CatalogGateway, RefundGateway, Protocol):
    """The provider, seen through one connection's key.

    Every method raises `ProviderUnavailable` or a `ProviderRejected`; none raises anything of the
    provider's own client. `find_…` looks through the provider's lists (which are up to date at once)
    for the object that carries our id in its metadata, never through its search (which lags).
    """

    def account(self) -> ProviderAccount: ...
    def unreadable(self) -> list[str]:
        """What of the account the key may not read, in the provider's words. Whether it may write shows in writing."""
        ...

    def webhook_endpoints(self) -> list[WebhookEndpoint]: ...

    def create_customer(self, customer: NewCustomer, key: str) -> ProviderCustomer: ...
    def update_customer(self, customer_id: str, customer: NewCustomer, key: str) -> ProviderCustomer: ...
    def get_customer(self, customer_id: str) -> ProviderCustomer: ...
    def find_customer(self, our_id: str, email: str | None, since: datetime) -> ProviderCustomer | None: ...
    def customers_with_email(self, email: str) -> list[ProviderCustomer]: ...
    def list_customers(self, since: datetime) -> list[ProviderCustomer]: ...
    def set_default_payment_method(self, customer_id: str, payment_method_id: str, key: str) -> ProviderCustomer: ...
    def get_payment_method(self, payment_method_id: str) -> ProviderPaymentMethod: ...
    def list_payment_methods(self, customer_id: str) -> list[ProviderPaymentMethod]: ...
    def detach_payment_method(self, payment_method_id: str, key: str) -> None: ...

    def check_amount(self, total: Decimal, currency: str) -> str | None:
        """Why an amount cannot be collected (`below_minimum`, `above_maximum`, `amount_not_chargeable`), or None."""
        ...

    def ensure_coupon(self, coupon: NewCoupon, key: str) -> None:
        """Makes it unless it is there."""
        ...

    def create_invoice(self, invoice: NewInvoice, key: str) -> ProviderInvoice: ...
    def add_lines(self, invoice_id: str, currency: str, lines: Sequence[NewInvoiceLine], key: str) -> ProviderInvoice:
        """The draft as it is then, with its lines unless they are too many for one answer; as the next one."""
        ...

    def get_invoice(self, invoice_id: str) -> ProviderInvoice: ...
    def get_invoice_lines(self, invoice_id: str, currency: str) -> list[ProviderInvoiceLine]: ...
    def list_invoices(self, since: datetime) -> list[ProviderInvoice]: ...
    def find_invoice(self, customer_id: str, our_id: str) -> ProviderInvoice | None: ...
    def delete_draft(self, invoice_id: str) -> None: ...
    def finalize_invoice(self, invoice_id: str, auto_advance: bool, key: str) -> ProviderInvoice:
        """The open invoice with its payments; as the next two."""
        ...

    def set_auto_advance(self, invoice_id: str, auto_advance: bool, key: str) -> ProviderInvoice: ...
    def send_invoice(self, invoice_id: str, key: str) -> ProviderInvoice: ...
    def void_invoice(self, invoice_id: str, key: str) -> ProviderInvoice: ...
    def mark_uncollectible(self, invoice_id: str, key: str) -> ProviderInvoice: ...
    def pay_invoice(self, invoice_id: str, key: str) -> ProviderInvoice:
        """Charge the customer's default card now, off session. Raises `CardDeclined`."""
        ...

    def pay_out_of_band(self, invoice_id: str, key: str) -> ProviderInvoice: ...
    def attach_payment(self, invoice_id: str, payment_id: str, key: str) -> ProviderInvoice: ...
    def invoice_payments(self, invoice_id: str) -> list[InvoicePayment]: ...
    def invoice_of_payment(self, payment_id: str) -> str | None: ...

    def create_card_session(self, session: NewCardSession, key: str) -> ProviderSession: ...
    def create_payment_session(self, session: NewPaymentSession, key: str) -> ProviderSession: ...
    def get_session(self, session_id: str) -> ProviderSession: ...
    def find_session(self, customer_id: str, our_id: str) -> ProviderSession | None: ...
    def expire_session(self, session_id: str, key: str) -> ProviderSession: ...
    def get_setup(self, setup_intent_id: str) -> ProviderSetup: ...
    def get_payment(self, payment_id: str) -> ProviderPayment: ...
    def payment_attempts(self, payment_id: str) -> list[PaymentEntry]:
        """Every try to charge a card for this payment, oldest first; as the next two."""
        ...

    def payment_refunds(self, payment_id: str) -> list[PaymentEntry]: ...
    def payment_disputes(self, payment_id: str) -> list[PaymentEntry]: ...
    def list_disputes(self, since: datetime) -> list[ProviderDispute]: ...

    def list_events(self, since: datetime) -> list[ProviderEvent]:
        """What happened in the account, newest first; the provider keeps 30 days."""
        ...


class CallPace(Protocol):
    """How fast one account may be called, by all who call it. A `call` is named by what is called, without ids."""

    def wait(self, call: str) -> None:
        """Returns when it is the call's turn. ProviderUnavailable `provider_rate_limited` where that is far off."""
        ...

    def ease(self, call: str | None, seconds: float | None) -> None:
        """The provider has refused a call for its pace: that of this call, or of all where `call` is None. `seconds` is
        how long it wants to be left alone, where it said so."""
        ...


class GatewayFactory(Protocol):
    """Builds the gateway for one key; made once, where the process is put together."""

    def __call__(self, secret_key: str, pace: CallPace | None = None) -> PaymentGateway: ...


class WebhookVerifier(Protocol):
    """Checks a raw webhook body against the endpoint's secrets (old and new while one is rolled).

    Raises `WebhookRefused` for a bad signature and `InvalidInput` for a signed body that is no event.
    """

    def __call__(self, raw: bytes, header: str | None, secrets: Sequence[str], now: datetime) -> WebhookEvent: ...
