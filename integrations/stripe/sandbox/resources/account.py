"""GET /v1/account: the account that the key belongs to."""

from integrations.stripe.sandbox.context import Context
from integrations.stripe.sandbox.errors import Doc
from integrations.stripe.sandbox.routing import operation


@operation("GET /v1/account", "account")
def retrieve(ctx: Context, _params: Doc) -> Doc:
    return {
        "id": ctx.account.id,
        "object": "account",
        "business_type": "company",
        "capabilities": {"card_payments": "active", "transfers": "active"},
        "charges_enabled": True,
        "country": "US",
        "created": ctx.account.created,
        "default_currency": "usd",
        "details_submitted": True,
        "email": None,
        "metadata": {},
        "payouts_enabled": True,
        "type": "standard",
    }
