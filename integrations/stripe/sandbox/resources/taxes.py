"""Taxes that the caller counted: amounts of lines, and the rates that Stripe finds or makes for them."""

from integrations.stripe.sandbox import pagination
from integrations.stripe.sandbox.context import Context, new_id
from integrations.stripe.sandbox.errors import Doc, invalid
from integrations.stripe.sandbox.routing import operation, retrieves

KIND = "tax_rate"
MOST = 10
SERVED = (
    "tax_amounts.amount tax_amounts.taxable_amount tax_amounts.tax_rate_data.display_name"
    " tax_amounts.tax_rate_data.inclusive tax_amounts.tax_rate_data.percentage"
)

retrieves("/v1/tax_rates/{tax_rate}", KIND)


def given(ctx: Context, params: Doc, at: str) -> list[Doc]:
    """The taxes of a line as it shows them. Raises 400 for more than ten."""
    amounts = params.get("tax_amounts") or []
    where = f"{at}[tax_amounts]" if at else "tax_amounts"
    if len(amounts) > MOST:
        raise invalid(f"A line can have at most {MOST} tax amounts.", where)
    return [
        shown(_rate(ctx, each["tax_rate_data"], f"{where}[{number}]"), each["amount"], each["taxable_amount"])
        for number, each in enumerate(amounts)
    ]


def of_note(ctx: Context, params: Doc, at: str) -> list[Doc]:
    """The taxes that a line of a credit note takes back; their rates stand on the invoice already."""
    found = []
    for number, each in enumerate(params.get("tax_amounts") or []):
        rate = ctx.load(KIND, each["tax_rate"], f"{at}[tax_amounts][{number}][tax_rate]")
        found.append(shown(rate, each["amount"], each["taxable_amount"]))
    return found


def shown(rate: Doc, amount: int, taxable: int) -> Doc:
    return {
        "amount": amount,
        "tax_behavior": "inclusive" if rate["inclusive"] else "exclusive",
        "tax_rate_details": {"tax_rate": rate["id"]},
        "taxability_reason": "not_available",
        "taxable_amount": taxable,
        "type": "tax_rate_details",
    }


def on_top(taxes: list[Doc]) -> int:
    """What taxes add to the amounts that they are counted on."""
    return sum(tax["amount"] for tax in taxes if tax["tax_behavior"] == "exclusive")


def summed(taxes: list[Doc]) -> list[Doc]:
    """One entry for each rate, in the order in which they come."""
    by_rate: dict[str, Doc] = {}
    for tax in taxes:
        rate = tax["tax_rate_details"]["tax_rate"]
        if rate not in by_rate:
            by_rate[rate] = {**tax, "amount": 0, "taxable_amount": 0}
        by_rate[rate]["amount"] += tax["amount"]
        by_rate[rate]["taxable_amount"] += tax["taxable_amount"]
    return list(by_rate.values())


@operation("GET /v1/tax_rates", KIND, "created")
def index(ctx: Context, params: Doc) -> Doc:
    return pagination.page(ctx, params, KIND, "/v1/tax_rates", [])


def _rate(ctx: Context, data: Doc, at: str) -> Doc:
    """The rate that was made for exactly this before, else a new one: archived, for nobody to choose."""
    name, percentage, inclusive = data["display_name"], data["percentage"], data["inclusive"]
    if not name or len(name) > 50:
        raise invalid("Invalid display_name: 1 to 50 characters.", f"{at}[tax_rate_data][display_name]")
    if not 0 <= percentage <= 100:
        raise invalid("Invalid percentage: 0 to 100.", f"{at}[tax_rate_data][percentage]")
    for rate in ctx.find(KIND):
        if (rate["display_name"], rate["percentage"], rate["inclusive"]) == (name, percentage, inclusive):
            return rate
    return ctx.add(
        {
            "id": new_id("txr"),
            "object": KIND,
            "active": False,
            "country": None,
            "created": ctx.now,
            "description": None,
            "display_name": name,
            "effective_percentage": None,
            "flat_amount": None,
            "inclusive": inclusive,
            "jurisdiction": None,
            "jurisdiction_level": None,
            "livemode": ctx.account.livemode,
            "metadata": {},
            "percentage": percentage,
            "rate_type": "percentage",
            "state": None,
            "tax_type": None,
        }
    )
