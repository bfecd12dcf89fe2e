"""What the assets work with: the parts that the settings name, and what a run works on."""

from collections.abc import Iterator
from contextlib import suppress

import dagster as dg

from billing.errors import Unavailable
from pipelines.parts import Tally, tally_of
from pipelines.steps.chosen import Chosen, require_chosen
from settings import load_settings

__all__ = ["Tally", "tally"]


@dg.resource(
    config_schema={
        "tenant_id": dg.Field(str, default_value="", description="Work on this tenant only."),
        "environment_id": dg.Field(str, default_value="", description="Work on this environment only."),
        "subscription_id": dg.Field(str, default_value="", description="Bill this subscription only."),
        "meter_id": dg.Field(str, default_value="", description="Build the usage of this meter only."),
        "after_grace": dg.Field(
            bool, default_value=False, description="Bill a period only when its environment's grace is over."
        ),
    },
    description="Ledger, warehouse and payment provider at the addresses in the TALLY_ settings, and what to work on.",
)
def tally(context: dg.InitResourceContext) -> Iterator[Tally]:
    """The real parts; all connections are closed after the run. A run that names what is not there fails at once."""
    parts = tally_of(load_settings(), Chosen(**context.resource_config))
    try:
        # While the ledger is away nobody knows what is there; each asset is tried again later.
        with suppress(Unavailable):
            require_chosen(parts.ledger, parts.chosen)
        yield parts
    finally:
        parts.warehouse.close()
        parts.ledger.dispose()
