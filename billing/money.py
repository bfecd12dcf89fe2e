"""Amounts of money: the currency's decimals, the one rounding rule, minor units, and splitting without a lost cent."""

from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal, DecimalException
from fractions import Fraction
from typing import Final

from billing.currency import EXPONENTS, WITHDRAWN
from billing.errors import InvalidInput
from billing.exact import (
    EXACT,
    ROUNDING,
    canonical,
    format_decimal,
    from_units,
    parse_decimal,
    round_fraction,
    too_long,
)

__all__ = [
    "allocate",
    "canonical",
    "currency_code",
    "currency_in_use",
    "exponent",
    "format_decimal",
    "from_minor",
    "is_whole",
    "nothing_in",
    "parse_decimal",
    "round_amount",
    "to_minor",
]

_CENTS: Final = {code: Decimal((0, (1,), -decimals)) for code, decimals in EXPONENTS.items()}
_NOTHING: Final = {code: Decimal((0, (0,), -decimals)) for code, decimals in EXPONENTS.items()}


def currency_code(currency: str, field: str = "currency") -> str:
    """The upper-case ISO 4217 code; InvalidInput `unknown_currency` for anything else.

    >>> currency_code("usd")
    'USD'
    """
    code = currency.upper() if isinstance(currency, str) else ""
    if code not in EXPONENTS:
        raise InvalidInput(
            "unknown_currency", "is not an ISO 4217 currency", field=field, hint='Send a code such as "USD".'
        )
    return code


def currency_in_use(currency: str, field: str = "currency") -> str:
    """As `currency_code`, and InvalidInput `currency_withdrawn` for one in which nothing new is priced.

    >>> currency_in_use("hrk")
    Traceback (most recent call last):
        ...
    billing.errors.InvalidInput: currency: has been withdrawn
    """
    code = currency_code(currency, field)
    if code in WITHDRAWN:
        raise InvalidInput(
            "currency_withdrawn", "has been withdrawn", field=field, hint=f"{WITHDRAWN[code]} has taken its place."
        )
    return code


def exponent(currency: str) -> int:
    """How many decimals the currency has.

    >>> exponent("USD"), exponent("JPY"), exponent("KWD")
    (2, 0, 3)
    """
    decimals = EXPONENTS.get(currency)
    return EXPONENTS[currency_code(currency)] if decimals is None else decimals


def round_amount(amount: Decimal | Fraction, currency: str) -> Decimal:
    """Half away from zero, to exactly the currency's decimals (promise M2).

    >>> round_amount(Decimal("10.125"), "USD"), round_amount(Decimal("-2.5"), "JPY")
    (Decimal('10.13'), Decimal('-3'))
    >>> round_amount(Fraction(1, 3), "KWD")
    Decimal('0.333')
    """
    # Fraction is an abstract number's kind, of which to ask takes ten times as long.
    if not isinstance(amount, Decimal):
        return round_fraction(amount, exponent(currency))
    cent = _CENTS.get(currency) or _CENTS[currency_code(currency)]
    try:
        rounded = amount.quantize(cent, ROUND_HALF_UP, ROUNDING)
    except DecimalException as error:
        raise too_long(None) from error
    return rounded or rounded.copy_abs()


def is_whole(amount: Decimal, currency: str) -> bool:
    """Whether the amount is written with exactly the currency's decimals, as everything that was rounded is.

    >>> is_whole(Decimal("12.30"), "USD"), is_whole(Decimal("12.3"), "USD")
    (True, False)
    """
    return amount.same_quantum(_CENTS.get(currency) or _CENTS[currency_code(currency)])


def nothing_in(currency: str) -> Decimal:
    """No money, with the currency's decimals; the same object each time.

    >>> nothing_in("USD"), nothing_in("JPY")
    (Decimal('0.00'), Decimal('0'))
    """
    nothing = _NOTHING.get(currency)
    return _NOTHING[currency_code(currency)] if nothing is None else nothing


def to_minor(amount: Decimal, currency: str, field: str = "amount") -> int:
    """The amount in the currency's smallest unit; InvalidInput `not_in_minor_units` where that is not whole.

    >>> to_minor(Decimal("12.30"), "USD"), to_minor(Decimal("12"), "JPY")
    (1230, 12)
    """
    decimals = exponent(currency)
    try:
        scaled = EXACT.scaleb(amount, decimals)
        if scaled == scaled.to_integral_value():
            return int(scaled)
    except (DecimalException, ValueError) as error:
        raise too_long(field) from error
    raise InvalidInput(
        "not_in_minor_units",
        f"{format_decimal(amount)} {currency_code(currency)} has more than {decimals} decimals",
        field=field,
    )


def from_minor(minor: int, currency: str) -> Decimal:
    """The amount that `minor` smallest units make.

    >>> from_minor(1230, "USD"), from_minor(12, "JPY")
    (Decimal('12.30'), Decimal('12'))
    """
    return from_units(minor, exponent(currency))


def allocate(amount: Decimal, weights: Sequence[Decimal], currency: str) -> list[Decimal]:
    """`amount` split in proportion to `weights` by largest remainder; the parts always sum to it (promise M2).

    Each part first gets its share rounded towards zero; the units that are left go one each to the largest
    remainders, the earlier part first where they are equal. Errors: `not_in_minor_units` when the amount itself is
    not payable, `bad_weights` for a negative weight or for nothing to divide by, `not_a_decimal` for a float.

    >>> allocate(Decimal("100.00"), [Decimal(1), Decimal(2), Decimal(3)], "USD")
    [Decimal('16.67'), Decimal('33.33'), Decimal('50.00')]
    >>> allocate(Decimal("-5"), [Decimal(1), Decimal(1), Decimal(1)], "JPY")
    [Decimal('-2'), Decimal('-2'), Decimal('-1')]
    """
    minor = to_minor(amount, currency)
    shares = [_share(weight) for weight in weights]
    whole = sum(shares)
    if any(share < 0 for share in shares) or (whole == 0 and minor != 0):
        raise InvalidInput("bad_weights", "weights must not be negative and must not all be zero", field="weights")
    if minor == 0:
        return [from_minor(0, currency) for _ in shares]
    exact = [abs(minor) * share / whole for share in shares]
    parts = [int(share) for share in exact]
    by_remainder = sorted(range(len(parts)), key=lambda i: (parts[i] - exact[i], i))
    for i in by_remainder[: abs(minor) - sum(parts)]:
        parts[i] += 1
    return [from_minor(part if minor > 0 else -part, currency) for part in parts]


def _share(weight: Decimal) -> Fraction:
    # Fraction would take a float at its face value, which is not the number that somebody wrote.
    return Fraction(weight if isinstance(weight, Decimal) else parse_decimal(weight, "weights"))
