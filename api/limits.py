"""The bounds of events as the settings have them."""

from datetime import timedelta

from ingestion.event import Limits
from settings import Settings

__all__ = ["limits_of"]


def limits_of(settings: Settings) -> Limits:
    """What events are decoded within."""
    return Limits(
        body_bytes=settings.max_body_bytes,
        decompressed_bytes=settings.max_decompressed_bytes,
        events=settings.max_events_per_request,
        future=timedelta(seconds=settings.max_future_seconds),
        properties=settings.max_properties,
        depth=settings.max_property_depth,
        property_bytes=settings.max_property_bytes,
        property_key_length=settings.max_property_key_length,
    )
