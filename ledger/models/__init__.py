"""All tables, one file per aggregate. Importing this package fills `Base.metadata`."""

from ledger.models.base import Base
from ledger.models.call_pace import CallPace
from ledger.models.checkout import Checkout
from ledger.models.connection import Connection, Mapping
from ledger.models.coupon import Coupon, Discount
from ledger.models.credit import CreditGrant, CreditMovement
from ledger.models.credit_note import CreditNote, CreditNoteCounter
from ledger.models.customer import Customer
from ledger.models.event_correction import EventCorrection
from ledger.models.feature import Feature, FeatureVersion
from ledger.models.invoice import Invoice, InvoiceCounter, InvoiceLine
from ledger.models.key import ApiKey
from ledger.models.line_adjustment import LateLook, LineAdjustment
from ledger.models.meter import Meter, MeterVersion
from ledger.models.payment import Payment
from ledger.models.payment_history import PaymentHistory
from ledger.models.pipeline import Alert, AlertMessage, PipelineFigures, PipelineRun, PipelineRunTotal
from ledger.models.plan import Plan, PlanVersion, Price, PriceVersion
from ledger.models.quantity import Quantity
from ledger.models.record import AuditEntry, GateResult, IdempotentRequest
from ledger.models.refund import Refund
from ledger.models.rerate import Rerate, RerateDifference
from ledger.models.run import Run
from ledger.models.subscription import Subscription, SubscriptionChange
from ledger.models.tax_rate import TaxRate
from ledger.models.tenant import Environment, Tenant
from ledger.models.work import InboxEvent, OutboxItem, WebhookDelivery

__all__ = [
    "Alert",
    "AlertMessage",
    "ApiKey",
    "AuditEntry",
    "Base",
    "CallPace",
    "Checkout",
    "Connection",
    "Coupon",
    "CreditGrant",
    "CreditMovement",
    "CreditNote",
    "CreditNoteCounter",
    "Customer",
    "Discount",
    "Environment",
    "EventCorrection",
    "Feature",
    "FeatureVersion",
    "GateResult",
    "IdempotentRequest",
    "InboxEvent",
    "Invoice",
    "InvoiceCounter",
    "InvoiceLine",
    "LateLook",
    "LineAdjustment",
    "Mapping",
    "Meter",
    "MeterVersion",
    "OutboxItem",
    "Payment",
    "PaymentHistory",
    "PipelineFigures",
    "PipelineRun",
    "PipelineRunTotal",
    "Plan",
    "PlanVersion",
    "Price",
    "PriceVersion",
    "Quantity",
    "Refund",
    "Rerate",
    "RerateDifference",
    "Run",
    "Subscription",
    "SubscriptionChange",
    "TaxRate",
    "Tenant",
    "WebhookDelivery",
]
