"""An invoice's own rules: its lines, its total, which status may follow which, its number and its fingerprint."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache
from hashlib import sha256
from json.encoder import encode_basestring_ascii
from operator import attrgetter
from types import NoneType
from typing import Any, Final, Literal, NamedTuple, Protocol, TypeVar

from billing.errors import Conflict
from billing.exact import EXACT, ZERO, canonical
from billing.instant import format_instant
from billing.money import from_minor, is_whole, nothing_in, to_minor
from billing.period import Period
from billing.rating import TierUse

PriceType = Literal["fixed", "usage", "one_off", "adjustment"]
# The type of a line that bills what a finalized line has come to since (`billing.line_adjustment`).
ADJUSTMENT: Final = "adjustment"


class Share(NamedTuple):
    """A line's part of a discount or tax of its invoice, named by the discount's or the rate's id."""

    id: str
    amount: Decimal


@dataclass(frozen=True, kw_only=True)
class LineDraft:
    """One priced item. `key` is stable over reruns, so a line that is priced again is found again.

    `amount` is rounded to the invoice's currency, `unrounded` is the price before rounding, discount and bounds. A
    one-off line has no price. `discount` and `tax` are the line's parts of what `billing.adjustments.adjust` takes off
    and adds, `discounts` and `taxes` the same one by one; a line that was not adjusted yet has none.
    """

    key: str
    display_name: str
    price_type: PriceType
    quantity: Decimal
    amount: Decimal
    unrounded: Decimal
    period: Period
    price_id: str | None
    price_version: int | None
    meter_id: str | None
    meter_version: int | None
    breakdown: tuple[TierUse, ...]
    watermark: datetime | None
    quantity_hash: str | None
    discount: Decimal = ZERO
    tax: Decimal = ZERO
    discounts: tuple[Share, ...] = ()
    taxes: tuple[Share, ...] = ()

    @property
    def is_adjustment(self) -> bool:
        """Whether it adjusts a line of an earlier invoice, and belongs to no part of its own invoice's period."""
        return self.price_type == ADJUSTMENT


class InvoiceStatus(StrEnum):
    DRAFT = "draft"
    FINALIZED = "finalized"
    VOID = "void"


class BillingReason(StrEnum):
    """Why there is an invoice: a subscription began, one of its periods ended, somebody made it by hand, or what a
    finalized invoice has come to since is billed apart."""

    SUBSCRIPTION_START = "subscription_start"
    SUBSCRIPTION_CYCLE = "subscription_cycle"
    MANUAL = "manual"
    ADJUSTMENT = "adjustment"


class PaymentStatus(StrEnum):
    PENDING = "pending"
    PROCESSING = "processing"
    PAID = "paid"
    FAILED = "failed"
    PARTIALLY_PAID = "partially_paid"
    REFUNDED = "refunded"


# A finalized invoice never goes back to a draft (M3): it is voided, or corrected by a later one.
INVOICE_MOVES: Final[Mapping[InvoiceStatus, frozenset[InvoiceStatus]]] = {
    InvoiceStatus.DRAFT: frozenset({InvoiceStatus.FINALIZED, InvoiceStatus.VOID}),
    InvoiceStatus.FINALIZED: frozenset({InvoiceStatus.VOID}),
    InvoiceStatus.VOID: frozenset(),
}
# A failure may be followed by another try; money that came in is never forgotten (S3).
PAYMENT_MOVES: Final[Mapping[PaymentStatus, frozenset[PaymentStatus]]] = {
    PaymentStatus.PENDING: frozenset(
        {PaymentStatus.PROCESSING, PaymentStatus.PAID, PaymentStatus.FAILED, PaymentStatus.PARTIALLY_PAID}
    ),
    PaymentStatus.PROCESSING: frozenset({PaymentStatus.PAID, PaymentStatus.FAILED, PaymentStatus.PARTIALLY_PAID}),
    PaymentStatus.FAILED: frozenset({PaymentStatus.PROCESSING, PaymentStatus.PAID, PaymentStatus.PARTIALLY_PAID}),
    PaymentStatus.PARTIALLY_PAID: frozenset({PaymentStatus.PAID, PaymentStatus.REFUNDED}),
    PaymentStatus.PAID: frozenset({PaymentStatus.REFUNDED}),
    PaymentStatus.REFUNDED: frozenset(),
}

S = TypeVar("S", bound=StrEnum)


def check_move(table: Mapping[S, frozenset[S]], old: S, new: S) -> None:
    """Conflict `move_not_allowed` unless `new` may follow `old`; staying where it is always may.

    >>> check_move(INVOICE_MOVES, InvoiceStatus.FINALIZED, InvoiceStatus.DRAFT)
    Traceback (most recent call last):
        ...
    billing.errors.Conflict: status: cannot go from finalized to draft
    """
    if new != old and new not in table[old]:
        raise Conflict("move_not_allowed", f"cannot go from {old} to {new}", field="status")


class _HasAmount(Protocol):
    @property
    def amount(self) -> Decimal: ...


def total(lines: Iterable[_HasAmount], currency: str) -> Decimal:
    """The sum of the lines' amounts, each of which must be whole in the currency's smallest unit.

    InvalidInput `not_in_minor_units` names the line.
    """
    summed = nothing_in(currency)
    for i, line in enumerate(lines):
        amount = line.amount
        if not is_whole(amount, currency):
            amount = from_minor(to_minor(amount, currency, f"lines[{i}].amount"), currency)
        summed = EXACT.add(summed, amount)
    return summed


def content_hash(payload: object) -> str:
    """The sha256, in hex, of the payload's canonical JSON; equal values give equal hashes.

    >>> content_hash({"b": Decimal("1.50"), "a": 1}) == content_hash({"a": 1, "b": Decimal("1.5")})
    True
    """
    return sha256(canonical_json(payload).encode("ascii")).hexdigest()


def canonical_json(payload: object) -> str:
    """Sorted keys, no spaces, decimals as strings without trailing zeros, times as RFC 3339 in UTC; no floats.

    >>> canonical_json({"b": Decimal("1.50"), "a": [None, True]})
    '{"a":[null,true],"b":"1.5"}'
    """
    return _text(payload)


def invoice_number(month: str, sequence: int) -> str:
    """The number that people read; `sequence` counts from 1 within an environment's month, without gaps.

    >>> invoice_number("202512", 39)
    'INV-202512-00039'
    """
    if not re.fullmatch(r"[0-9]{4}(0[1-9]|1[0-2])", month) or sequence < 1:
        raise ValueError(f"not an invoice number: {month!r}, {sequence!r}")
    return f"INV-{month}-{sequence:05}"


class Written(str):
    """A value's canonical JSON, for a part of a document that many have in common."""

    __slots__ = ()


def _text(value: object) -> str:
    return _WRITERS[type(value)](value)


class _Writers(dict[type, Callable[[Any], str]]):
    def __missing__(self, kind: type) -> Callable[[Any], str]:
        return self.setdefault(kind, _writer_of(kind))


_WRITERS: Final = _Writers()


def _writer_of(kind: type) -> Callable[[Any], str]:
    """How values of a type are written; found once for each, since a billing day writes them by the million."""
    if kind is NoneType:
        return lambda value: "null"
    if issubclass(kind, bool):
        return lambda value: "true" if value else "false"
    if issubclass(kind, int):
        return int.__repr__
    if issubclass(kind, Written):
        return str
    if issubclass(kind, str):
        return encode_basestring_ascii
    if issubclass(kind, Decimal):
        return lambda value: f'"{canonical(value)}"'
    if issubclass(kind, datetime):
        return _instant
    if issubclass(kind, Mapping):
        return _mapping
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return _writer_of_fields(kind._fields)
    if issubclass(kind, list | tuple):
        return lambda value: f"[{','.join(map(_text, value))}]"
    if is_dataclass(kind):
        return _writer_of_fields([item.name for item in fields(kind)])
    raise TypeError(f"{kind.__name__} has no canonical form")


def _writer_of_fields(names: Sequence[str]) -> Callable[[Any], str]:
    ordered = sorted(names)
    template = "{{" + ",".join(f'"{name}":{{}}' for name in ordered) + "}}"
    if len(ordered) < 2:
        return lambda value: template.format(*(_text(getattr(value, name)) for name in ordered))
    of, writers = attrgetter(*ordered), _WRITERS
    return lambda value: template.format(*[writers[type(item)](item) for item in of(value)])


@lru_cache(maxsize=4096)
def _instant(moment: datetime) -> str:
    return f'"{format_instant(moment)}"'


def _mapping(value: Mapping[object, object]) -> str:
    written = sorted((_key(key), _text(item)) for key, item in value.items())
    return "{" + ",".join(f"{encode_basestring_ascii(key)}:{text}" for key, text in written) + "}"


def _key(key: object) -> str:
    if not isinstance(key, str):
        raise TypeError("keys must be text")
    return str(key)
