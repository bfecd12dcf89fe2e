"""For whom a command works and where: the key of the environment, or else of the running local stack."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from pydantic import SecretStr

from billing.scope import Scope
from cli.console import fail
from cli.stack.home import Home
from cli.stack.state import read_state
from ledger.db import Ledger
from ledger.store import keys
from settings import Settings
from warehouse_sql.client import Warehouse

__all__ = ["Access", "find_access", "open_warehouse", "scope_of", "with_running_stack"]


@dataclass(frozen=True)
class Access:
    """The API's address, and the key."""

    api: str
    key: str = field(repr=False)


def find_access(settings: Settings) -> Access:
    """TALLY_API_KEY and TALLY_PUBLIC_URL where they are set, the running stack's key and address where not."""
    state = read_state(Home(settings.home).state_file)
    running = state.public if state else {}
    given = settings.model_fields_set
    api = settings.public_url if "public_url" in given else running.get("api", settings.public_url)
    key = settings.api_key.get_secret_value() or running.get("api_key", "")
    if not key:
        fail("no API key", hint="Set TALLY_API_KEY, or start a local stack with `tally up`.", code=2)
    return Access(api, key)


def with_running_stack(settings: Settings) -> Settings:
    """The settings, filled in with addresses and secrets of the running local stack where they were not given."""
    home = Home(settings.home)
    state = read_state(home.state_file)
    if state is None:
        return settings
    secrets, given = home.secrets(), settings.model_fields_set
    known = {
        "warehouse_url": state.public.get("warehouse"),
        "warehouse_password": SecretStr(secrets.warehouse_password),
        "stripe_api_base": state.public.get("sandbox"),
        "encryption_keys": SecretStr(secrets.encryption_keys),
        "public_url": state.public.get("api"),
    }
    return settings.model_copy(
        update={name: value for name, value in known.items() if name not in given and value is not None}
    )


def scope_of(ledger: Ledger, key: str) -> Scope:
    """The tenant and environment of a key. NotAuthenticated where it is not valid."""
    with ledger.read() as session:
        return keys.authenticate(session, key, datetime.now(UTC)).scope


def open_warehouse(settings: Settings) -> Warehouse:
    """The warehouse that the settings name, or the running stack's."""
    home = Home(settings.home)
    state = read_state(home.state_file)
    password = settings.warehouse_password.get_secret_value()
    url = settings.warehouse_url
    if state and "warehouse_url" not in settings.model_fields_set:
        url = state.public.get("warehouse", url)
        password = password or home.secrets().warehouse_password
    return Warehouse(url, settings.warehouse_user, password, settings.warehouse_database)
