"""Typed settings, read from the environment (prefix ``TALLY_``) and an optional ``.env`` file.

Only composition roots read them (the API's wiring, the pipelines' resources, the command line, the two local servers);
everything below receives values. Every field stands in ``.env.example``; a test keeps the two in step.
"""

from decimal import Decimal
from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

__all__ = ["Settings", "load_settings"]


class Settings(BaseSettings):
    """What can be set, with defaults that are safe on localhost."""

    model_config = SettingsConfigDict(env_prefix="TALLY_", env_file=".env", extra="ignore", frozen=True)

    home: Path = Field(default=Path(".tally"), description="Folder of all local state.")
    ledger_url: str = Field(default="", description="SQLAlchemy URL of the ledger; empty means SQLite under the home.")

    warehouse_url: str = Field(default="http://127.0.0.1:8123", description="ClickHouse's HTTP interface.")
    warehouse_user: str = "tally"
    warehouse_password: SecretStr = SecretStr("")
    warehouse_database: str = "tallyhouse"
    warehouse_cluster: str = Field(default="", description="Name of the ClickHouse cluster; empty for a single server.")

    stripe_api_base: str = Field(default="", description="Address of the Stripe API; empty means Stripe itself.")
    encryption_keys: SecretStr = Field(
        default=SecretStr(""),
        description="`id:key[,id:key]` Fernet keys that seal provider secrets; the first one seals, all of them open.",
    )

    api_key: SecretStr = Field(default=SecretStr(""), description="Key of `tally import` and `tally export`.")
    public_url: str = Field(default="http://127.0.0.1:8080", description="Where customers and Stripe reach the API.")
    dagster_url: str = Field(default="http://127.0.0.1:3000", description="Where people reach the Dagster UI.")

    usage_refresh_seconds: int = Field(
        default=300, ge=60, description="How old today's rollup may be before it is built again, if events came."
    )
    usage_freshness_hours: int = Field(
        default=26, ge=1, description="So long without any usage rolled up, Dagster shows the asset as not fresh."
    )
    runs_kept_days: int = Field(default=90, ge=1, description="How long Dagster keeps finished runs.")

    alert_url: str = Field(default="", description="Where alerts are sent; empty means that they are only logged.")
    alert_secrets: SecretStr = Field(
        default=SecretStr(""), description="Secrets that sign alerts, separated by commas: each of them signs."
    )

    support_url: str = Field(
        default="", description="Where it is written down who answers customers and how; shown by `tally doctor`."
    )

    automatic_billing: bool = Field(
        default=False, description="Whether periods are billed by themselves from the first start on."
    )

    quantity_periods: int = Field(
        default=3, ge=0, le=24, description="Earlier periods that a quantity is compared with."
    )
    quantity_jump: Decimal = Field(default=Decimal(10), ge=0, description="So many times the usual holds an invoice.")
    quantity_drop: Decimal = Field(default=Decimal(10), ge=0, description="So small a part of it does; 0 for neither.")

    max_body_bytes: int = Field(default=16 * 1024 * 1024, gt=0, description="Largest request body as sent.")
    max_decompressed_bytes: int = Field(default=64 * 1024 * 1024, gt=0, description="Largest body after decompression.")
    max_events_per_request: int = Field(default=10_000, gt=0)
    max_future_seconds: int = Field(default=3600, ge=0, description="How far ahead of the clock an event may lie.")
    max_properties: int = Field(default=256, gt=0, description="Values of an event, leaves of nested objects included.")
    max_property_depth: int = Field(default=8, gt=0, le=64, description="Objects inside objects.")
    max_property_bytes: int = Field(default=16 * 1024, gt=0, description="Largest value, as its JSON text.")
    max_property_key_length: int = Field(default=256, gt=0, description="Longest key or dotted path, in characters.")

    ingest_group_bytes: int = Field(default=16 * 1024 * 1024, gt=0, description="Rows that share an insert at most.")
    ingest_waiting_bytes: int = Field(
        default=64 * 1024 * 1024, gt=0, description="Events that wait in memory; beyond them requests get 429."
    )
    ingest_slow_after_seconds: float = Field(
        default=10.0, gt=0, description="An insert that takes longer sends its events to the journal."
    )
    ingest_recent_events: int = Field(
        default=50_000, ge=0, description="Events of the latest requests; one that is repeated is told so."
    )
    journal_max_bytes: int = Field(
        default=1024 * 1024 * 1024, ge=0, description="Events kept on this disk while the warehouse is down."
    )

    webhook_requests_per_minute: int = Field(
        default=6000, gt=0, description="Webhooks that one address may send to an API process; beyond them 429."
    )

    metrics_token: SecretStr = Field(
        default=SecretStr(""), description="Bearer token for /metrics; empty gives them to this machine only."
    )
    log_level: str = "INFO"

    @field_validator("log_level")
    @classmethod
    def _level_is_known(cls, value: str) -> str:
        level = value.upper()
        if level not in {"DEBUG", "INFO", "WARNING", "ERROR"}:
            raise ValueError("use one of DEBUG, INFO, WARNING, ERROR")
        return level

    @model_validator(mode="after")
    def _alerts_are_signed(self) -> Self:
        if self.alert_url and not self.alert_url.startswith(("https://", "http://")):
            raise ValueError("TALLY_ALERT_URL: write an address that begins with https:// or http://")
        if self.alert_url and not self.alert_secret_list:
            raise ValueError("TALLY_ALERT_SECRETS: set a secret, alerts are not sent without a signature")
        return self

    @property
    def alert_secret_list(self) -> list[str]:
        """The secrets that sign alerts."""
        return [secret for part in self.alert_secrets.get_secret_value().split(",") if (secret := part.strip())]

    @property
    def resolved_ledger_url(self) -> str:
        """The ledger's URL with the SQLite default filled in."""
        return self.ledger_url or f"sqlite:///{(self.home / 'ledger.sqlite3').resolve()}"

    @property
    def encryption_key_ring(self) -> dict[str, str]:
        """Key id -> Fernet key, the current one first. Empty when no key is set."""
        ring: dict[str, str] = {}
        for part in filter(None, (p.strip() for p in self.encryption_keys.get_secret_value().split(","))):
            key_id, _, key = part.partition(":")
            if not key_id or not key:
                # The value itself stays out of the message: it is a secret.
                raise ValueError("TALLY_ENCRYPTION_KEYS: write id:key, several separated by commas")
            ring[key_id] = key
        return ring


def load_settings() -> Settings:
    """Read the environment and ``.env``; raises pydantic's ValidationError naming the setting that is wrong."""
    return Settings()
