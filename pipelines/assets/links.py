"""Where the rows of a run are read: addresses of the API, which asks for a key of the environment that one looks at."""

from datetime import datetime, timedelta
from urllib.parse import urlencode

import dagster as dg

from billing.instant import format_instant

__all__ = ["conflicts_of", "events_of", "invoices_of", "late_events_of"]

Window = tuple[datetime, datetime]


def events_of(api_url: str, window: Window) -> dg.UrlMetadataValue:
    """The events of the days."""
    return _link(api_url, "events", _times(window))


def conflicts_of(api_url: str, window: Window) -> dg.UrlMetadataValue:
    """Events of the days that met an identity with other content."""
    return _link(api_url, "events/conflicts", _times(window))


def late_events_of(api_url: str) -> dg.UrlMetadataValue:
    """Events that came after their invoice was final, the newest find first."""
    return dg.MetadataValue.url(f"{api_url}/api/v1/late-events")


def invoices_of(api_url: str, window: Window, **filters: str) -> dg.UrlMetadataValue:
    """The invoices of the billing days."""
    start, end = window
    days = {"billed_from": start.date().isoformat(), "billed_to": (end - timedelta(days=1)).date().isoformat()}
    return _link(api_url, "invoices", {**days, **filters})


def _times(window: Window) -> dict[str, str]:
    start, end = window
    return {"start_time": format_instant(start), "end_time": format_instant(end)}


def _link(api_url: str, path: str, query: dict[str, str]) -> dg.UrlMetadataValue:
    return dg.MetadataValue.url(f"{api_url}/api/v1/{path}?{urlencode(query)}")
