"""Whose data this is. Every query of every layer is filtered by it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Scope:
    """One tenant's environment (test or live). Nothing is ever shared between two scopes."""

    tenant_id: str
    environment_id: str
