"""API keys: only a hash is kept, so a copy of the database opens nothing."""

from datetime import datetime
from typing import Any

from sqlalchemy import UniqueConstraint
from sqlalchemy.orm import Mapped

from ledger.models.base import Base, Entity, in_environment


class ApiKey(Entity, Base):
    __tablename__ = "api_keys"
    __table_args__ = (in_environment(), UniqueConstraint("secret_sha256", name="uq_api_keys_secret_sha256"))

    name: Mapped[str]
    secret_sha256: Mapped[str]
    last4: Mapped[str]
    scopes: Mapped[list[Any]]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
