"""The second opinion: what each customer owes, from the trace file alone.

Written from the rules of the prices and with Polars only. Nothing of Tallyhouse's rating, metering or storage is
imported, so that a mistake there cannot repeat itself here.
"""

from decimal import Decimal
from typing import Any

import polars as pl

__all__ = ["expected_amounts"]

_EXACT = pl.Decimal(38, 12)
_CENTS = pl.Decimal(38, 2)


def expected_amounts(trace: pl.DataFrame, customers: int, plan: dict[str, Any], meters: dict[str, str]) -> pl.DataFrame:
    """Bill the trace by the plan's body as it was sent.

    `meters` maps a price's feature_id to the usage column. Returns one row a customer: index, prompt_tokens,
    completion_tokens, requests, total (two decimals, each line rounded half away from zero).
    Customers without a row in the trace are there with zeros.
    """
    usage = (
        pl.DataFrame({"index": pl.int_range(customers, eager=True)})
        .join(
            trace.group_by((pl.col("row") % customers).alias("index")).agg(
                pl.col("prompt_tokens").sum(), pl.col("completion_tokens").sum(), pl.len().alias("requests")
            ),
            on="index",
            how="left",
        )
        .with_columns(pl.col("prompt_tokens", "completion_tokens", "requests").fill_null(0).cast(pl.Int64))
        .sort("index")
    )
    lines = [
        _line(price, pl.col(meters[price["feature_id"]]) if "feature_id" in price else pl.lit(1)).alias(f"line{n}")
        for n, price in enumerate(plan["prices"])
    ]
    names = [f"line{n}" for n in range(len(lines))]
    return usage.with_columns(lines).with_columns(pl.sum_horizontal(names).cast(_CENTS).alias("total"))


def _line(price: dict[str, Any], quantity: pl.Expr) -> pl.Expr:
    exact_quantity = quantity.cast(_EXACT)
    model = price["pricing_model"]
    if model == "flat":
        amount = pl.lit(Decimal(price["amount"])).cast(_EXACT)
    elif model == "per_unit":
        amount = exact_quantity * _exact(price["unit_price"])
    elif model == "package":
        size = int(price["package_size"])
        packages = (quantity + (size - 1)) // size
        amount = packages.cast(_EXACT) * _exact(price["package_price"])
    elif model == "tiered":
        amount = _graduated(price["tiers"], exact_quantity)
    else:
        raise ValueError(f"no rule for {model}")
    return amount.round(2, mode="half_away_from_zero").cast(_CENTS)


def _graduated(tiers: list[dict[str, Any]], quantity: pl.Expr) -> pl.Expr:
    amount = pl.lit(Decimal(0)).cast(_EXACT)
    below = Decimal(0)
    for number, tier in enumerate(tiers):
        over = quantity - _exact(below)
        inside = pl.max_horizontal(over, _exact(0))
        if tier["up_to"] is not None:
            inside = pl.min_horizontal(inside, _exact(Decimal(tier["up_to"]) - below))
        amount = amount + inside * _exact(tier["unit_price"])
        fee = _exact(tier.get("flat_fee", 0))
        # The first tier's fee is due even at zero usage, a later one's when its tier is reached.
        amount = amount + (fee if number == 0 else pl.when(over > _exact(0)).then(fee).otherwise(_exact(0)))
        below = Decimal(tier["up_to"] or 0)
    return amount


def _exact(value: str | int | Decimal) -> pl.Expr:
    return pl.lit(Decimal(value)).cast(_EXACT)
