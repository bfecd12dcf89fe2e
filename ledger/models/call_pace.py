"""How fast the provider may be called. Its limits are an account's, which several environments may share, so these rows
carry no scope; they hold no more than a name and times."""

from datetime import datetime

from sqlalchemy import CheckConstraint, Integer, column
from sqlalchemy.orm import Mapped, mapped_column

from ledger.models.base import Base


class CallPace(Base):
    """All calls to an account, or those of one kind. The next call that nobody has taken may be made at `next_at`;
    after a refusal at `eased_at` the pace starts again at `eased_percent` of the whole."""

    __tablename__ = "call_paces"
    __table_args__ = (CheckConstraint(column("eased_percent").between(1, 100), name="eased_percent"),)

    name: Mapped[str] = mapped_column(primary_key=True)
    next_at: Mapped[datetime]
    eased_percent: Mapped[int] = mapped_column(Integer)
    eased_at: Mapped[datetime]
