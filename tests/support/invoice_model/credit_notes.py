"""Credit notes a second time, from docs/adjustments.md: gross amounts that never take more than a line has.

What is left of an invoice is what each line says, its discounts taken off, less what notes before took back.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from tests.support.invoice_model.adjustments import shares, spread
from tests.support.invoice_model.invoices import Invoice


@dataclass
class Left:
    """What a line still has: without taxes on top, and each of its taxes; those `on_top` are not in the net."""

    key: str
    net: Fraction
    taxes: dict[str, Fraction]
    on_top: set[str]

    @property
    def gross(self) -> Fraction:
        return self.net + sum((self.taxes[tax] for tax in self.on_top), Fraction(0))


@dataclass
class NoteLine:
    key: str
    amount: Fraction
    net: Fraction
    taxes: dict[str, Fraction] = field(default_factory=dict)


def left_of(invoice: Invoice, inclusive: Iterable[str]) -> list[Left]:
    """All of an invoice that nobody has credited."""
    within = set(inclusive)
    return [
        Left(line.key, line.amount - line.discount, dict(line.taxes), set(line.taxes) - within)
        for line in invoice.lines
    ]


def credit(left: list[Left], amount: Fraction | None, places: int) -> list[NoteLine]:
    """A note over all that is left, or over an amount that is split by what is left of each line; takes it off `left`.

    Of a line the amount is split over its net and its taxes on top by what is left of these; an inclusive tax goes with
    the net that it is in.
    """
    grosses = [line.gross for line in left]
    wanted = grosses if amount is None else spread(amount, grosses, places)
    note = []
    for line, gross in zip(left, wanted, strict=True):
        if not gross:
            continue
        top = [tax for tax in line.taxes if tax in line.on_top]
        net, *on_top = shares(gross, [abs(line.net), *(abs(line.taxes[tax]) for tax in top)], places)
        taxes = dict(zip(top, on_top, strict=True))
        for tax in line.taxes.keys() - line.on_top:
            taxes[tax] = _along(line.taxes[tax], net, line.net, places)
        note.append(NoteLine(line.key, gross, net, taxes))
        _take(line, net, taxes)
    return note


def credit_nets(left: list[Left], nets: Mapping[int, Fraction], places: int) -> list[NoteLine] | None:
    """A note over amounts without taxes on top, by the line's place; the taxes go along. None where one of them is more
    than is left of its line, or all of them more than is left of the invoice."""
    if any(net > left[place].net for place, net in nets.items()):
        return None
    note = []
    for place, line in enumerate(left):
        net = nets.get(place)
        if net is None:
            continue
        taxes = {tax: _along(amount, net, line.net, places) for tax, amount in line.taxes.items()}
        gross = net + sum((taxes[tax] for tax in line.on_top), Fraction(0))
        note.append(NoteLine(line.key, gross, net, taxes))
    if sum((part.amount for part in note), Fraction(0)) > sum((line.gross for line in left), Fraction(0)):
        return None
    for place, part in zip(sorted(nets), note, strict=True):
        _take(left[place], part.net, part.taxes)
    return note


def settle_elsewhere(left: list[Left], net: Fraction, places: int) -> None:
    """What a settlement has given back of lines, without taxes on top, is not left: spread by what is left of each."""
    for line, part in zip(left, spread(net, [line.net for line in left], places), strict=True):
        _take(line, part, {tax: _along(amount, part, line.net, places) for tax, amount in line.taxes.items()})


def _along(tax: Fraction, net: Fraction, whole: Fraction, places: int) -> Fraction:
    """The part of a tax that goes along with so much of a net."""
    return shares(tax, [abs(net), abs(whole - net)], places)[0] if tax else tax


def _take(line: Left, net: Fraction, taxes: Mapping[str, Fraction]) -> None:
    line.net -= net
    for tax, part in taxes.items():
        line.taxes[tax] -= part
