"""Credit notes: how much of an invoice's lines is taken back, with the discounts and taxes that go along.

Amounts are gross: what the customer pays for a line, less its discounts and with the taxes on top. A note is split so
that, over all notes of an invoice, the parts never exceed what the lines say, to the last unit.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final, NamedTuple

from billing.adjustments.split import added, split
from billing.errors import Conflict, InvalidInput
from billing.exact import EXACT
from billing.invoice import Share
from billing.money import allocate, from_minor, round_amount, to_minor

__all__ = [
    "CreditableLine",
    "CreditedLine",
    "LineAmount",
    "Settlement",
    "credited",
    "credited_before_settlement",
    "less",
    "note_number",
    "settle",
    "without",
]

_ZERO: Final = Decimal(0)


@dataclass(frozen=True)
class CreditableLine:
    """What is left of a line: its net (less discount) and each tax; those of `on_top` are not in the net."""

    line_id: str
    net: Decimal
    taxes: tuple[Share, ...]
    on_top: frozenset[str]

    def gross(self, currency: str) -> Decimal:
        """What the customer pays for it."""
        return added((self.net, *(tax.amount for tax in self.taxes if tax.id in self.on_top)), currency)


class LineAmount(NamedTuple):
    """What is asked to be credited of a line: gross, or a share of what is left of it (0 to 1), or an amount without
    the taxes on top, which go along."""

    line_id: str
    amount: Decimal | None = None
    share: Decimal | None = None
    net: Decimal | None = None


@dataclass(frozen=True)
class CreditedLine:
    """A line of a note: `amount` is gross, `taxes` are the parts that go along, on top or inclusive.

    `settled` says that the line billed a period in advance whose settlement was final when the note was issued, and so
    does not know of it.
    """

    line_id: str
    amount: Decimal
    net: Decimal
    taxes: tuple[Share, ...]
    settled: bool = False


@dataclass(frozen=True)
class Settlement:
    """What a note does with its total: it lowers what is still due, then gives back credit, then money."""

    pre_payment: Decimal
    credit_returned: Decimal
    paid_back: Decimal


def credited(
    lines: Sequence[CreditableLine],
    currency: str,
    *,
    amount: Decimal | None = None,
    items: Sequence[LineAmount] | None = None,
) -> tuple[CreditedLine, ...]:
    """The lines of a note: over all that is left, over `items`, or over an `amount` spread by what is left of each.

    Conflict `nothing_left`; InvalidInput `amount_over_left`, `out_of_range`, `line_not_on_invoice`, `line_twice`,
    `amount_or_share`, `not_in_minor_units`.
    """
    left = {line.line_id: line.gross(currency) for line in lines}
    whole = added(left.values(), currency)
    nets = {item.line_id: item.net for item in items or () if item.net is not None}
    if whole <= 0:
        raise Conflict("nothing_left", "Nothing is left of this invoice to credit.", hint="Look at its credit notes.")
    if nets:
        return _of_nets(lines, nets, whole, currency)
    if items is not None:
        wanted = _by_line(items, left, currency)
    elif amount is not None:
        wanted = _spread(amount, left, whole, currency)
    else:
        wanted = left
    total = added(wanted.values(), currency)
    if total > whole:
        raise _over("lines", whole, currency)
    return tuple(_part(line, wanted[line.line_id], currency) for line in lines if wanted.get(line.line_id))


def less(line: CreditableLine, part: CreditedLine) -> CreditableLine:
    """What is left of a line after a note."""
    gone = {tax.id: tax.amount for tax in part.taxes}
    taxes = tuple(Share(tax.id, EXACT.subtract(tax.amount, gone.get(tax.id, _ZERO))) for tax in line.taxes)
    return replace(line, net=EXACT.subtract(line.net, part.net), taxes=taxes)


def credited_before_settlement(parts: Iterable[CreditedLine]) -> dict[str, Decimal]:
    """Line id -> the net that notes took off a line that bills in advance while its period was not settled."""
    found: defaultdict[str, Decimal] = defaultdict(Decimal)
    for part in parts:
        if not part.settled:
            found[part.line_id] = EXACT.add(found[part.line_id], part.net)
    return found


def without(lines: Sequence[CreditableLine], net: Decimal, currency: str) -> tuple[CreditableLine, ...]:
    """What is left of lines of which `net` was given back otherwise, taxes along: spread by what is left of each.

    `net` is at most what is left of all of them.
    """
    parts = split(net, [line.net for line in lines], currency)
    return tuple(
        replace(
            line,
            net=EXACT.subtract(line.net, part),
            taxes=tuple(
                Share(tax.id, EXACT.subtract(tax.amount, _along(tax.amount, part, line.net, currency)))
                for tax in line.taxes
            ),
        )
        for line, part in zip(lines, parts, strict=True)
    )


def settle(total: Decimal, remaining: Decimal, credit_left: Decimal, currency: str) -> Settlement:
    """How a note of `total` is settled where `remaining` is still to be paid and `credit_left` of credit paid it.

    >>> parts = settle(Decimal("50.00"), Decimal("20.00"), Decimal("10.00"), "USD")
    >>> str(parts.pre_payment), str(parts.credit_returned), str(parts.paid_back)
    ('20.00', '10.00', '20.00')
    """
    nothing = from_minor(0, currency)
    pre_payment = max(min(total, remaining), nothing)
    rest = EXACT.subtract(total, pre_payment)
    returned = max(min(rest, credit_left), nothing)
    return Settlement(pre_payment, returned, EXACT.subtract(rest, returned))


def note_number(month: str, sequence: int) -> str:
    """
    >>> note_number("202512", 7)
    'CN-202512-00007'
    """
    return f"CN-{month}-{sequence:05}"


def _of_nets(
    lines: Sequence[CreditableLine], nets: Mapping[str, Decimal], whole: Decimal, currency: str
) -> tuple[CreditedLine, ...]:
    made = tuple(_net_part(line, nets[line.line_id], currency) for line in lines if line.line_id in nets)
    if added((line.amount for line in made), currency) > whole:
        raise _over("lines", whole, currency)
    return made


def _net_part(line: CreditableLine, net: Decimal, currency: str) -> CreditedLine:
    if net > line.net:
        raise _over("lines", line.net, currency)
    taxes = tuple(Share(tax.id, _along(tax.amount, net, line.net, currency)) for tax in line.taxes)
    on_top = (tax.amount for tax in taxes if tax.id in line.on_top)
    return CreditedLine(line.line_id, added((net, *on_top), currency), net, taxes)


def _by_line(items: Sequence[LineAmount], left: Mapping[str, Decimal], currency: str) -> dict[str, Decimal]:
    wanted: dict[str, Decimal] = {}
    for number, item in enumerate(items):
        at = f"lines[{number}]"
        if item.line_id not in left:
            raise InvalidInput("line_not_on_invoice", "is no line of this invoice", field=f"{at}.line_id")
        if item.line_id in wanted:
            raise InvalidInput("line_twice", "is named twice", field=f"{at}.line_id", hint="Name each line once.")
        if (item.amount is None) == (item.share is None):
            raise InvalidInput(
                "amount_or_share", "takes either amount or share", field=at, hint="Send exactly one of the two."
            )
        if item.share is not None:
            if not 0 < item.share <= 1:
                raise InvalidInput("out_of_range", "must be above 0 and at most 1", field=f"{at}.share")
            amount = round_amount(EXACT.multiply(left[item.line_id], item.share), currency)
        else:
            amount = _payable(item.amount or Decimal(0), f"{at}.amount", currency)
        if amount > left[item.line_id]:
            raise _over(f"{at}.amount", left[item.line_id], currency)
        wanted[item.line_id] = amount
    return wanted


def _spread(amount: Decimal, left: Mapping[str, Decimal], whole: Decimal, currency: str) -> dict[str, Decimal]:
    payable = _payable(amount, "amount", currency)
    if payable > whole:
        raise _over("amount", whole, currency)
    return dict(zip(left, split(payable, list(left.values()), currency), strict=True))


def _payable(amount: Decimal, field: str, currency: str) -> Decimal:
    minor = to_minor(amount, currency, field)
    if minor <= 0:
        raise InvalidInput("out_of_range", "must be above 0", field=field)
    return from_minor(minor, currency)


def _part(line: CreditableLine, gross: Decimal, currency: str) -> CreditedLine:
    """`gross` of a line split over its net and the taxes on top; the inclusive ones go along with the net."""
    top = [tax for tax in line.taxes if tax.id in line.on_top]
    net, *on_top = allocate(gross, [abs(line.net), *(abs(tax.amount) for tax in top)], currency)
    parts = iter(on_top)
    taxes = tuple(
        Share(tax.id, next(parts) if tax.id in line.on_top else _along(tax.amount, net, line.net, currency))
        for tax in line.taxes
    )
    return CreditedLine(line.line_id, gross, net, taxes)


def _along(tax: Decimal, net: Decimal, whole: Decimal, currency: str) -> Decimal:
    """The part of a tax that goes with `net` of `whole`; all of it with all of it."""
    if net == whole:
        return tax
    return allocate(tax, [abs(net), abs(EXACT.subtract(whole, net))], currency)[0]


def _over(field: str, left: Decimal, currency: str) -> InvalidInput:
    return InvalidInput(
        "amount_over_left", f"{left:f} {currency} are left to credit", field=field, hint="Send at most that."
    )
