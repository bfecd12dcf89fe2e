"""The error tree of the whole system. No HTTP here: `api/errors.py` maps each class to a status.

TallyError
├── InvalidInput        what was sent cannot be accepted; `field` says where
│   ├── TooLarge        … because it is over a bound
│   └── UnsupportedMedia  … because of its content type or encoding
├── NotFound            no such thing in this tenant and environment
├── Conflict            it clashes with what is already there
├── GateFailed          a check that guards this move has not passed
├── NotAuthenticated    no key, or a key that is not valid
├── NotAllowed          a valid key without the needed scope
└── Unavailable         something that we depend on is down; worth a retry
    └── TooManyRequests … because more came than can be held at once
"""

from __future__ import annotations

from typing import Self


class TallyError(Exception):
    """Base of all errors that a caller is meant to read.

    `code` is stable snake_case for machines, `detail` says what is wrong, `field` is a dotted path such as
    `prices[0].tiers[1].up_to`, `hint` is the way out. None of them ever holds a secret.
    """

    def __init__(self, code: str, detail: str, *, field: str | None = None, hint: str | None = None) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail
        self.field = field
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.field}: {self.detail}" if self.field else self.detail

    def within(self, prefix: str) -> Self:
        """The same error, its field read from inside `prefix`.

        >>> InvalidInput("missing", "is missing", field="tiers[0].up_to").within("prices[2]").field
        'prices[2].tiers[0].up_to'
        """
        self.field = join(prefix, self.field or "") or None
        return self


class InvalidInput(TallyError):
    """What was sent cannot be accepted as it is."""


class TooLarge(InvalidInput):
    """Over a bound: body, batch, text or number."""


class UnsupportedMedia(InvalidInput):
    """A content type or encoding that is not read here."""


class NotFound(TallyError):
    """No such thing in this tenant and environment."""


class Conflict(TallyError):
    """Clashes with what is already there."""


class GateFailed(TallyError):
    """A check that guards this move has not passed."""


class NotAuthenticated(TallyError):
    """No key, or one that is not valid."""


class NotAllowed(TallyError):
    """A valid key that lacks the needed scope."""


class Unavailable(TallyError):
    """A dependency is down or too slow; the same call may work later."""

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        field: str | None = None,
        hint: str | None = None,
        retry_after_seconds: int | None = None,
    ) -> None:
        super().__init__(code, detail, field=field, hint=hint)
        self.retry_after_seconds = retry_after_seconds


class TooManyRequests(Unavailable):
    """More came at once than can be held; the caller should slow down."""


def join(prefix: str, name: str) -> str:
    """One dotted path out of two; either may be empty.

    >>> join("tiers[0]", "up_to"), join("tiers", "[0]"), join("", "up_to")
    ('tiers[0].up_to', 'tiers[0]', 'up_to')
    """
    if not prefix or not name or name.startswith("["):
        return prefix + name
    return f"{prefix}.{name}"
