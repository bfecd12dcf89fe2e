"""/v1/customers/{customer}/balance_transactions: the history of a customer's balance, and adjustments to it."""

from integrations.stripe.sandbox import pagination
from integrations.stripe.sandbox.context import Context, merge_metadata
from integrations.stripe.sandbox.errors import Doc, invalid, missing
from integrations.stripe.sandbox.money import currency_of
from integrations.stripe.sandbox.resources import balances
from integrations.stripe.sandbox.routing import operation

KIND = "customer_balance_transaction"
PATH = "/v1/customers/{customer}/balance_transactions"


@operation(f"POST {PATH}", KIND, "amount currency description metadata")
def create(ctx: Context, params: Doc, customer_id: str) -> Doc:
    customer = ctx.load("customer", customer_id)
    if params["amount"] == 0:
        raise invalid("Invalid amount: must not be 0.", "amount")
    currency = currency_of(params["currency"])
    given: Doc = {}
    merge_metadata(given, params.get("metadata"))
    return balances.change(
        ctx, customer, params["amount"], currency, "adjustment",
        description=params.get("description"), metadata=given.get("metadata"),
    )  # fmt: skip


@operation(f"GET {PATH}", KIND, "created invoice")
def index(ctx: Context, params: Doc, customer_id: str) -> Doc:
    ctx.load("customer", customer_id)
    filters = [("customer", "eq", customer_id), *pagination.equals(params, "invoice")]
    return pagination.page(ctx, params, KIND, PATH.replace("{customer}", customer_id), filters)


@operation(f"GET {PATH}/{{transaction}}", KIND)
def retrieve(ctx: Context, _params: Doc, customer_id: str, transaction_id: str) -> Doc:
    transaction = ctx.load(KIND, transaction_id)
    if transaction["customer"] != customer_id:
        raise missing(KIND, transaction_id)
    return transaction
