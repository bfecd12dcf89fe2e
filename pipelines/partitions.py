"""The one partition grain: UTC days. A usage asset reads a partition as a day of events.

A billing asset reads it as a billing day: the UTC day in which a period ends, so that a period of any anchor and length
has exactly one. Tenants and periods are no dimensions of the partitions: Dagster pays some 23 ms for every key of every
asset.

A day depends on the same day of the assets before it. A billing day does read the usage of all days of its periods, but
a mapping that says so would make a backfill of October's usage and billing bill November as well.
"""

import dagster as dg

__all__ = ["DAYS"]

# With `end_offset=1` today is a partition too: running usage can be rolled up, and what ended an hour ago billed.
DAYS = dg.DailyPartitionsDefinition(start_date="2015-01-01", timezone="UTC", end_offset=1)
