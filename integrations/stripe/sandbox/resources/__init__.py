"""One file per Stripe resource: its routes, its state machine and its refusals."""

from importlib import import_module

from integrations.stripe.sandbox.routing import OPERATIONS, Operation

MODULES = (
    "account", "balance_transactions", "charges", "checkout_sessions", "coupons", "credit_notes", "customers",
    "disputes", "events", "invoice_lines", "invoice_moves", "invoice_payments", "invoiceitems", "invoices",
    "payment_intents", "payment_methods", "prices", "products", "refunds", "setup_intents", "subscriptions", "taxes",
    "test_clocks", "webhook_endpoints",
)  # fmt: skip


def all_operations() -> list[Operation]:
    """Every operation that the sandbox serves; importing a resource registers its own."""
    for module in MODULES:
        import_module(f"{__name__}.{module}")
    return list(OPERATIONS.values())
