"""A customer's balance, one per currency: negative is credit for the next invoice, positive is owed with it.

Every change is a customer balance transaction, so the balance is always the sum of its history.
"""

from integrations.stripe.sandbox import events, render
from integrations.stripe.sandbox.context import Context, new_id
from integrations.stripe.sandbox.errors import Doc


def balance_of(customer: Doc, currency: str) -> int:
    return int(customer["_balances"].get(currency, 0))


def change(
    ctx: Context,
    customer: Doc,
    amount: int,
    currency: str,
    kind: str,
    *,
    invoice: str | None = None,
    credit_note: str | None = None,
    description: str | None = None,
    metadata: Doc | None = None,
) -> Doc:
    """Add `amount` to the balance in `currency`; `kind` is Stripe's transaction type."""
    before = dict(customer)
    customer["currency"] = customer["currency"] or currency
    customer["_balances"] = {**customer["_balances"], currency: balance_of(customer, currency) + amount}
    customer["balance"] = balance_of(customer, customer["currency"])
    ctx.save(customer)
    transaction = ctx.add(
        {
            "id": new_id("cbtxn"),
            "object": "customer_balance_transaction",
            "amount": amount,
            "checkout_session": None,
            "created": ctx.now,
            "credit_note": credit_note,
            "currency": currency,
            "customer": customer["id"],
            "customer_account": None,
            "description": description,
            "ending_balance": balance_of(customer, currency),
            "invoice": invoice,
            "livemode": ctx.account.livemode,
            "metadata": metadata or {},
            "type": kind,
        }
    )
    events.emit(ctx, "customer.updated", customer, before)
    return transaction


@render.includes("customer", "invoice_credit_balance")
def _credits(_ctx: Context, customer: Doc) -> Doc:
    """The other way round: here a credit is positive."""
    return {currency: -amount for currency, amount in customer["_balances"].items() if amount}
