"""Decimals that stay exact: reading, writing, and arithmetic that no caller's decimal context can change."""

import re
from decimal import (
    ROUND_HALF_UP,
    Context,
    Decimal,
    DecimalException,
    DivisionByZero,
    Inexact,
    InvalidOperation,
    Overflow,
)
from fractions import Fraction
from typing import Final

from billing.errors import InvalidInput

MAX_DIGITS: Final = 38
MAX_DECIMALS: Final = 12
# Where a quotient never ends (a third of an hour, 16/31 of a fee) the exact value is a Fraction; this much is shown.
SHOWN_DECIMALS: Final = 16

ZERO: Final = Decimal(0)

# Four factors of the widest numbers there are (76 digits) fit. A result that would need more is trapped, never rounded.
_PRECISION: Final = 400
_ALWAYS_TRAPPED: Final = [InvalidOperation, DivisionByZero, Overflow]
_LIMITS: Final = {"prec": _PRECISION, "Emin": -999_999, "Emax": 999_999, "capitals": 1, "clamp": 0}
EXACT: Final = Context(rounding=ROUND_HALF_UP, flags=[], traps=[Inexact, *_ALWAYS_TRAPPED], **_LIMITS)
# Only for the steps that drop digits on purpose: to a currency's exponent, or to a stated precision.
ROUNDING: Final = Context(rounding=ROUND_HALF_UP, flags=[], traps=_ALWAYS_TRAPPED, **_LIMITS)

_NUMBER: Final = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,4})?")
_LONGEST_TEXT: Final = 200


def too_long(field: str | None) -> InvalidInput:
    return InvalidInput(
        "number_too_long",
        "has too many digits to be computed exactly",
        field=field,
        hint=f"Use numbers of at most {MAX_DIGITS} digits.",
    )


def parse_decimal(
    value: object,
    field: str,
    *,
    max_digits: int = MAX_DIGITS,
    max_decimals: int = MAX_DECIMALS,
    minimum: Decimal | None = None,
    maximum: Decimal | None = None,
) -> Decimal:
    """A finite Decimal in plain notation out of a str, int or Decimal; trailing zeros stay as they were written.

    Errors, all naming `field`: `not_a_decimal` (a float, a bool, NaN, other text), `too_many_digits`,
    `too_many_decimals`, `out_of_range`.

    >>> parse_decimal("10.00", "amount"), parse_decimal(1000, "up_to"), parse_decimal("1.5e3", "amount")
    (Decimal('10.00'), Decimal('1000'), Decimal('1500'))
    >>> parse_decimal(0.5, "amount")
    Traceback (most recent call last):
        ...
    billing.errors.InvalidInput: amount: must be a decimal, not a float
    """
    number = _read(value, field, max_digits)
    exponent = _exponent(number)
    if number and number.adjusted() >= max_digits:
        raise _too_many_digits(field, max_digits)
    if not number or exponent > 0:
        # A zero keeps its decimals within the bound; 1E+3 becomes 1000; neither grows past what was checked above.
        number = ROUNDING.quantize(number, _unit(min(0, max(exponent, -max_decimals))))
        number = number or number.copy_abs()
    elif -exponent > max_decimals:
        number = _without_spare_zeros(number, max_decimals, field)
    if max(number.adjusted() + 1, 1) + max(-_exponent(number), 0) > max_digits:
        raise _too_many_digits(field, max_digits)
    if (minimum is not None and number < minimum) or (maximum is not None and number > maximum):
        raise InvalidInput("out_of_range", _range_text(minimum, maximum), field=field)
    return number


def format_decimal(number: Decimal) -> str:
    """Plain notation, never an exponent, trailing zeros kept.

    >>> format_decimal(Decimal("1E+3")), format_decimal(Decimal("10.00")), format_decimal(Decimal("1E-7"))
    ('1000', '10.00', '0.0000001')
    """
    return format(number, "f")


def canonical(number: Decimal) -> str:
    """The one text of a value: no trailing zeros, no exponent, no minus before zero.

    >>> canonical(Decimal("10.00")), canonical(Decimal("1E+3")), canonical(Decimal("-0.0"))
    ('10', '1000', '0')
    """
    text = str(number)
    if "E" in text:
        text = format(number, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def round_fraction(value: Fraction, decimals: int) -> Decimal:
    """Half away from zero, from the exact value, to `decimals` decimals.

    >>> round_fraction(Fraction(5, 2), 0), round_fraction(Fraction(-1, 3), 2), round_fraction(Fraction(-5, 2), 0)
    (Decimal('3'), Decimal('-0.33'), Decimal('-3'))
    """
    numerator, denominator = value.numerator, value.denominator
    units = (2 * abs(numerator) * 10**decimals + denominator) // (2 * denominator)
    return from_units(-units if numerator < 0 else units, decimals)


def from_units(units: int, decimals: int) -> Decimal:
    """`units` of 10^-decimals as a Decimal with exactly that many decimals.

    >>> from_units(1234, 2), from_units(5, 0), from_units(-7, 3)
    (Decimal('12.34'), Decimal('5'), Decimal('-0.007'))
    """
    return EXACT.scaleb(Decimal(units), -decimals)


def ending(value: Fraction) -> Decimal | Fraction:
    """The same value as a Decimal where its decimals end, else as it is.

    >>> ending(Fraction(7, 5)), ending(Fraction(1, 3))
    (Decimal('1.4'), Fraction(1, 3))
    """
    rest, twos, fives = value.denominator, 0, 0
    while rest % 2 == 0:
        rest, twos = rest // 2, twos + 1
    while rest % 5 == 0:
        rest, fives = rest // 5, fives + 1
    if rest > 1:
        return value
    decimals = max(twos, fives)
    return from_units(value.numerator * 10**decimals // value.denominator, decimals)


def shown(value: Decimal | Fraction) -> Decimal:
    """What a reader sees of an exact value: all of it where its decimals end, else SHOWN_DECIMALS of them.

    >>> shown(Fraction(7, 5)), shown(Fraction(1, 3))
    (Decimal('1.4'), Decimal('0.3333333333333333'))
    """
    if not isinstance(value, Decimal):
        value = ending(value)
    return value if isinstance(value, Decimal) else round_fraction(value, SHOWN_DECIMALS)


def _read(value: object, field: str, max_digits: int) -> Decimal:
    if isinstance(value, Decimal):
        if value.is_finite():
            return value
    elif isinstance(value, str):
        if len(value) <= _LONGEST_TEXT and _NUMBER.fullmatch(value):
            return Decimal(value)
    elif isinstance(value, int) and not isinstance(value, bool):
        if value.bit_length() > 4 * max_digits:
            raise _too_many_digits(field, max_digits)
        return Decimal(value)
    elif isinstance(value, float):
        raise InvalidInput(
            "not_a_decimal",
            "must be a decimal, not a float",
            field=field,
            hint="A float has already lost digits. Send the number as a string or as a JSON number.",
        )
    raise InvalidInput("not_a_decimal", "must be a decimal", field=field, hint='Send it as a string such as "12.50".')


def _exponent(number: Decimal) -> int:
    exponent = number.as_tuple().exponent
    return exponent if isinstance(exponent, int) else 0


def _unit(exponent: int) -> Decimal:
    return Decimal((0, (1,), exponent))


def _without_spare_zeros(number: Decimal, max_decimals: int, field: str) -> Decimal:
    """1.0000000000000 is as good as 1.000000000000; a digit other than zero past the bound is refused."""
    try:
        return EXACT.quantize(number, _unit(-max_decimals))
    except DecimalException as error:
        raise InvalidInput("too_many_decimals", f"has more than {max_decimals} decimals", field=field) from error


def _too_many_digits(field: str, max_digits: int) -> InvalidInput:
    return InvalidInput("too_many_digits", f"has more than {max_digits} digits", field=field)


def _range_text(minimum: Decimal | None, maximum: Decimal | None) -> str:
    if maximum is None:
        return f"must not be below {minimum}"
    return f"must not be above {maximum}" if minimum is None else f"must be between {minimum} and {maximum}"
