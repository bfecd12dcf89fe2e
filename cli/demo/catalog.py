"""The bodies that the demo sends: meters, features and a plan, as the guide writes them."""

from typing import Any

__all__ = ["EVENT_NAME", "METERS", "feature_body", "meter_body", "plan_body"]

EVENT_NAME = "llm.request"

METERS: dict[str, dict[str, Any]] = {
    "prompt_tokens": {"type": "sum", "property": "prompt_tokens"},
    "completion_tokens": {"type": "sum", "property": "completion_tokens"},
    "requests": {"type": "count"},
}
"""Meter key -> aggregation. All three read the same events."""

_NAMES = {"prompt_tokens": "Prompt tokens", "completion_tokens": "Completion tokens", "requests": "Requests"}


def meter_body(key: str) -> dict[str, Any]:
    """Body of POST /meters."""
    return {
        "id": f"meter_{key}",
        "name": _NAMES[key],
        "event_name": EVENT_NAME,
        "aggregation": METERS[key],
        "unit": "request" if key == "requests" else "token",
    }


def feature_body(key: str) -> dict[str, Any]:
    """Body of POST /features."""
    return {
        "name": _NAMES[key],
        "key": key,
        "feature_type": "metered",
        "meter_id": f"meter_{key}",
        "description": f"{_NAMES[key]} of a language-model service",
    }


def plan_body(features: dict[str, str], interval: str) -> dict[str, Any]:
    """Body of POST /plans: a flat fee, the guide's graduated tiers, and a package price."""
    return {
        "name": "Professional Plan",
        "key": "professional_plan",
        "billing_period": "monthly" if interval == "P1M" else interval,
        "currency": "USD",
        "plan_type": "recurring",
        "prices": [
            {"display_name": "Professional Plan", "pricing_model": "flat", "amount": "29.00"},
            {
                "feature_id": features["completion_tokens"],
                "pricing_model": "tiered",
                "unit_price": "0.01",
                "tiers": [
                    {"up_to": 1000, "unit_price": "0.01", "flat_fee": "10.00"},
                    {"up_to": 10000, "unit_price": "0.008"},
                    {"up_to": None, "unit_price": "0.005"},
                ],
            },
            {
                "feature_id": features["prompt_tokens"],
                "pricing_model": "package",
                "package_size": "1000",
                "package_price": "0.25",
            },
            {"feature_id": features["requests"], "pricing_model": "per_unit", "unit_price": "0.0015"},
        ],
    }
