"""What all assets share: days as partitions, any range of them in one run, an owner, a version, and retries."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import dagster as dg

from billing.errors import Unavailable
from pipelines.partitions import DAYS
from pipelines.steps.code_version import CODE_VERSION

__all__ = [
    "CODE_VERSION",
    "OWNERS",
    "STRIPE_POOL",
    "WAREHOUSE_POOL",
    "column_schema",
    "daily_asset",
    "retried_when_unavailable",
]

OWNERS = ["team:billing"]
WAREHOUSE_POOL = "warehouse"
STRIPE_POOL = "stripe"

_RETRIES = 3
_WAIT_SECONDS = 5


def daily_asset(
    *,
    group: str,
    description: str,
    kinds: set[str],
    columns: Mapping[str, tuple[str, str]],
    deps: Sequence[dg.AssetsDefinition | dg.AssetKey] = (),
    pool: str | None = None,
    freshness: dg.FreshnessPolicy | None = None,
) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    """`dg.asset` with the parameters that every asset of the pipeline shares.

    `columns` describes the rows that the asset makes: name -> (type, what it says).
    """
    with warnings.catch_warnings():
        # `backfill_policy` is in beta; without it a backfill of a year is 365 runs.
        warnings.simplefilter("ignore", dg.BetaWarning)
        return dg.asset(
            group_name=group,
            description=description,
            kinds=kinds,
            deps=deps,
            pool=pool,
            freshness_policy=freshness,
            owners=OWNERS,
            metadata=column_schema(columns),
            code_version=CODE_VERSION,
            partitions_def=DAYS,
            backfill_policy=dg.BackfillPolicy.single_run(),
        )


def column_schema(columns: Mapping[str, tuple[str, str]]) -> dict[str, dg.TableSchema]:
    """Metadata that describes an asset's rows: name -> (type, what it says)."""
    schema = dg.TableSchema([dg.TableColumn(name, kind, said) for name, (kind, said) in columns.items()])
    return {"dagster/column_schema": schema}


@contextmanager
def retried_when_unavailable() -> Iterator[None]:
    """Run the step again later when a dependency was down; any other error would only come back."""
    try:
        yield
    except Unavailable as error:
        raise dg.RetryRequested(_RETRIES, error.retry_after_seconds or _WAIT_SECONDS) from error
