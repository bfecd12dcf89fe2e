"""Everything that Dagster loads: `dagster … -m pipelines.definitions`."""

import dagster as dg

from pipelines.assets.health import HEALTH_ASSETS
from pipelines.assets.late_events import rerated_invoices
from pipelines.assets.reconciliation import stripe_reconciliation
from pipelines.checks import CHECKS
from pipelines.resources import tally
from pipelines.schedules import ASSETS, jobs, schedules
from pipelines.sensors import sensors

__all__ = ["defs"]

# A run is a process of its own already; one more process per step would cost two seconds each.
defs = dg.Definitions(
    assets=[*ASSETS, rerated_invoices, stripe_reconciliation, *HEALTH_ASSETS],
    asset_checks=CHECKS,
    jobs=jobs,
    schedules=schedules,
    sensors=sensors,
    resources={"tally": tally},
    executor=dg.in_process_executor,
)
