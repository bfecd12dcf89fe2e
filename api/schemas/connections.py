"""Connections to Stripe. Secrets go in and never come out; only their last four characters are shown."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, SecretStr, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from api.schemas.common import Instant, Model, Name, any_case
from billing.errors import InvalidInput
from ledger.store.connections import ConnectionRecord
from pipelines.steps.connections import ConnectionUpdate, NewConnection

__all__ = ["ConnectionChangesIn", "ConnectionIn", "ConnectionOut", "SyncConfig", "SyncDirections"]

Provider = Annotated[Literal["stripe"], any_case()]
Account = Annotated[str, StringConstraints(pattern=r"^acct_[A-Za-z0-9_]{1,64}$")]
SecretKey = Annotated[SecretStr, Field(min_length=16, max_length=255)]


def _signing_secret(value: SecretStr) -> SecretStr:
    if not value.get_secret_value().startswith("whsec_"):
        raise PydanticCustomError("webhook_secret_malformed", "A webhook signing secret starts with whsec_.")
    return value


WebhookSecret = Annotated[SecretStr, Field(min_length=14, max_length=255), AfterValidator(_signing_secret)]
_CREDENTIALS = ("secret_key", "webhook_secret", "publishable_key", "account_id")


class SyncDirections(Model):
    inbound: bool | None = None
    outbound: bool | None = None


class SyncConfig(Model):
    """What travels between here and Stripe: customers both ways, plans and invoices out, payments in.

    All this is done when left out. Subscriptions travel both ways where it is said. A direction that is not supported
    is refused, not ignored.
    """

    customer: SyncDirections | None = None
    plan: SyncDirections | None = None
    subscription: SyncDirections | None = None
    invoice: SyncDirections | None = None
    payment: SyncDirections | None = None
    collection: Annotated[Literal["stripe", "tallyhouse", "manual"], any_case()] | None = Field(
        default=None,
        description=(
            "Who charges and retries, one and never both: Stripe by itself (when left out), Tallyhouse on the schedule "
            "of `retry_days`, or nobody but who asks with `POST /api/v1/payments`. For what is sent from now on."
        ),
    )
    retry_days: Annotated[list[Annotated[int, Field(strict=True, ge=1, le=60)]], Field(max_length=8)] | None = Field(
        default=None, description="With `tallyhouse`: days from each declined try to the next; [3, 5, 7] when left out."
    )
    after_last_try: Annotated[Literal["past_due", "uncollectible"], any_case()] | None = Field(
        default=None,
        description=(
            "With `tallyhouse`: whether the invoice stays open or is written off at Stripe; past_due when left out."
        ),
    )
    days_until_due: Annotated[int, Field(strict=True, ge=0, le=365)] | None = Field(
        default=None, description="For `send_invoice`; 30 when left out."
    )
    calls_per_second: Annotated[int, Field(strict=True, ge=1, le=10_000)] | None = Field(
        default=None,
        description=(
            "How fast the Stripe account is called at most, by all processes that share it. When left out, four fifths "
            "of what Stripe allows: 80 with a live key, 20 with a test key."
        ),
    )
    endpoint_calls_per_second: Annotated[int, Field(strict=True, ge=1, le=10_000)] | None = Field(
        default=None, description="The same at one of Stripe's endpoints; 20 when left out."
    )

    def settings(self) -> dict[str, Any]:
        """What is asked for, without what is left out."""
        return self.model_dump(exclude_none=True)


class Credentials(Model):
    secret_key: SecretKey | None = Field(default=None, description="sk_test_…, sk_live_… or a restricted key rk_….")
    webhook_secret: WebhookSecret | None = Field(default=None, description="whsec_…, of the endpoint at `webhook_url`.")
    publishable_key: Annotated[str, StringConstraints(max_length=255)] | None = Field(
        default=None, description="Accepted, but neither needed nor kept."
    )
    account_id: Account | None = None


class NestedCredentials(Credentials):
    stripe: Credentials | None = None


def _lift(body: Any) -> Any:
    """Credentials may stand at the top, in `encrypted_secret_data`, or in its `stripe`; the outermost one counts."""
    if not isinstance(body, dict):
        return body
    lifted = dict(body)
    nested = body.get("encrypted_secret_data")
    inner = nested.get("stripe") if isinstance(nested, dict) else None
    for level in (nested, inner):
        if isinstance(level, dict):
            lifted |= {name: level[name] for name in _CREDENTIALS if name in level and lifted.get(name) is None}
    if "provider_type" in lifted and "provider" not in lifted:
        lifted["provider"] = lifted["provider_type"]
    return lifted


class ConnectionIn(Credentials):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "Stripe",
                    "provider": "stripe",
                    "secret_key": "sk_test_your_key_from_stripe",
                    "webhook_secret": "whsec_your_endpoints_secret",
                    "sync_config": {"invoice": {"inbound": False, "outbound": True}},
                }
            ]
        }
    )

    name: Name = "Stripe"
    provider: Provider = "stripe"
    provider_type: Provider | None = Field(default=None, description="Another name for `provider`.")
    encrypted_secret_data: NestedCredentials | None = Field(
        default=None, description="Another place for the credentials."
    )
    sync_config: SyncConfig = SyncConfig()

    @model_validator(mode="before")
    @classmethod
    def _lifted(cls, body: Any) -> Any:
        return _lift(body)

    def new_connection(self) -> NewConnection:
        """What is asked for. InvalidInput without a secret key."""
        if self.secret_key is None:
            raise InvalidInput(
                "missing_field",
                "The field `secret_key` is missing.",
                field="secret_key",
                hint="Send your Stripe key, at the top level or in encrypted_secret_data.",
            )
        secret = self.webhook_secret
        return NewConnection(
            name=self.name,
            secret_key=self.secret_key.get_secret_value(),
            webhook_secrets=() if secret is None else (secret.get_secret_value(),),
            sync_config=self.sync_config.settings(),
        )


class ConnectionChangesIn(Credentials):
    """What is left out stays, within `sync_config` too.

    After a new `webhook_secret` the last one still counts; send it twice to end that.
    """

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"webhook_secret": "whsec_your_endpoints_secret", "status": "active"}]}
    )

    name: Name | None = None
    status: Annotated[Literal["active", "disabled"], any_case()] | None = None
    encrypted_secret_data: NestedCredentials | None = None
    sync_config: SyncConfig | None = None

    @model_validator(mode="before")
    @classmethod
    def _lifted(cls, body: Any) -> Any:
        return _lift(body)

    def update(self, known: Sequence[str]) -> ConnectionUpdate:
        """What is asked for; `known` are the present webhook secrets, newest first."""
        webhook_secrets: tuple[str, ...] | None = None
        if self.webhook_secret is not None:
            newest = self.webhook_secret.get_secret_value()
            previous = [secret for secret in known[:1] if secret != newest]
            webhook_secrets = (newest, *previous)
        return ConnectionUpdate(
            name=self.name,
            status=self.status,
            secret_key=None if self.secret_key is None else self.secret_key.get_secret_value(),
            webhook_secrets=webhook_secrets,
            sync_config=None if self.sync_config is None else self.sync_config.settings(),
        )


class ConnectionOut(Model):
    id: str
    name: str
    provider: str
    provider_type: str
    status: str
    livemode: bool
    account_id: str | None
    secret_key_last4: str
    webhook_secret_last4: str | None
    webhook_url: str = Field(description="Give this address to Stripe as the endpoint for its events.")
    sync_config: SyncConfig
    created_at: Instant

    @classmethod
    def of(cls, record: ConnectionRecord, webhook_url: str) -> Self:
        return cls(
            id=record.id,
            name=record.name,
            provider=record.provider,
            provider_type=record.provider,
            status=record.status,
            livemode=record.livemode,
            account_id=record.account_id,
            secret_key_last4=record.secret_key_last4,
            webhook_secret_last4=record.webhook_secret_last4,
            webhook_url=webhook_url,
            sync_config=SyncConfig.model_validate(record.sync_config),
            created_at=record.created_at,
        )
