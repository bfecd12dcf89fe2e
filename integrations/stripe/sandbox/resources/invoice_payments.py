"""/v1/invoice_payments: which PaymentIntents paid, or will pay, which invoice."""

from integrations.stripe.sandbox import pagination
from integrations.stripe.sandbox.context import Context
from integrations.stripe.sandbox.errors import Doc
from integrations.stripe.sandbox.routing import operation, retrieves

KIND = "invoice_payment"

retrieves("/v1/invoice_payments/{invoice_payment}", KIND)


@operation("GET /v1/invoice_payments", KIND, "created invoice status payment")
def index(ctx: Context, params: Doc) -> Doc:
    filters = pagination.equals(params, "invoice", "status")
    payment = params.get("payment", {})
    for name in ("type", "payment_intent"):
        if name in payment:
            filters.append((f"payment.{name}", "eq", payment[name]))
    return pagination.page(ctx, params, KIND, "/v1/invoice_payments", filters)
