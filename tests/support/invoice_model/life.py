"""All that one customer is billed in the course of time, a second time: invoices, the credit that pays them, what late
events make of them, and credit notes.

Written from docs/late-events.md, docs/adjustments.md and docs/invoices.md. Grants are drawn down from one invoice to
the next, and a total below zero becomes a grant of its own.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from fractions import Fraction

from tests.support.invoice_model.adjustments import apply_discounts
from tests.support.invoice_model.credit_notes import Left, NoteLine, credit, credit_nets, left_of, settle_elsewhere
from tests.support.invoice_model.invoices import Invoice, adjusted, discounts_of, unadjusted
from tests.support.invoice_model.lines import Line
from tests.support.invoice_model.periods import Body, Span, end_of, known
from tests.support.price_model import EXPONENTS


@dataclass(frozen=True)
class AskedNote:
    """A credit note that somebody asks for, over an amount, or over all that is left."""

    at: datetime
    invoice: str
    amount: Fraction | None


@dataclass
class Note:
    invoice: str
    lines: list[NoteLine]


@dataclass
class Difference:
    """What a line of a final invoice has come to beyond what was billed of it."""

    invoice: Invoice
    place: int
    quantity: Fraction
    amount: Fraction

    @property
    def line(self) -> Line:
        return self.invoice.lines[self.place]

    @property
    def key(self) -> str:
        return f"adjustment of {self.line.key} of {name_of(self.invoice)}"

    def as_line(self) -> Line:
        line = self.line
        return Line(self.key, line.price_id, line.span, self.quantity, self.amount, self.amount)


@dataclass
class Standing:
    """A final invoice with what was billed of its lines so far: quantities, and amounts less discounts."""

    invoice: Invoice
    quantities: list[Fraction]
    nets: list[Fraction]
    own: int


@dataclass
class Lived:
    """`invoices` of periods and `separate` ones for late events, in the order in which they were made; `waiting` is
    what nothing carries in the end."""

    invoices: list[Invoice]
    separate: list[Invoice] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    asked: list[list[NoteLine]] = field(default_factory=list)
    waiting: list[Difference] = field(default_factory=list)


def name_of(invoice: Invoice) -> str:
    """What an invoice, and the credit that came of it, is called in a case."""
    return f"{invoice.billing_reason} {invoice.period.start.isoformat()}"


def life(
    case: Body,
    until: datetime,
    priced_at: Callable[[datetime], datetime],
    looks: Sequence[datetime],
    usage_at: Callable[[datetime], list[Body]] | None = None,
    asked: Sequence[AskedNote] = (),
) -> Lived:
    """Every invoice that falls due by `until`, priced and final at `priced_at` of the moment when it falls due; `looks`
    are all the moments at which one looks what is due, and what has come late.

    `usage_at` says which events are known at a look, without it all of the case always are. Notes are asked for after
    what is billed at their moment. `late_events` of the case says how differences are billed.
    """
    told = _Life(case, looks, usage_at, asked)
    told.found.invoices = unadjusted(case, until, priced_at, told.made, looks, told.known_at)
    told.look_up_to(max(looks))
    told.notes_before(None)
    told.found.waiting = told.differences(max(looks))
    return told.found


class _Life:
    def __init__(
        self,
        case: Body,
        looks: Sequence[datetime],
        usage_at: Callable[[datetime], list[Body]] | None,
        asked: Iterable[AskedNote],
    ) -> None:
        self.case = case
        self.currency = case["currency"]
        self.places = EXPONENTS[self.currency]
        self.looks = sorted(looks)
        self.usage_at = usage_at
        self.asked = sorted(asked, key=lambda note: note.at)
        self.grants = [dict(grant) for grant in case.get("credits", [])]
        self.inclusive = [rate["id"] for rate in case.get("tax_rates", []) if rate.get("inclusive")]
        self.before: list[Invoice] = []
        self.standing: list[Standing] = []
        self.left: dict[str, list[Left]] = {}
        self.due: dict[str, Fraction] = {}
        self.found = Lived([])

    def known_at(self, now: datetime) -> Body:
        """The case with the events known now; all that happens before an invoice is made now has happened."""
        self.look_up_to(now)
        return self.case if self.usage_at is None else self.case | {"usage": self.usage_at(now)}

    def made(self, invoice: Invoice) -> None:
        """An invoice of a period: it carries what waits for it, then coupons, taxes and credits."""
        now = invoice.priced_at or invoice.due_at
        self.look_up_to(now)
        own = len(invoice.lines)
        for one in self.differences(now) if invoice.billing_reason == "subscription_cycle" else []:
            invoice.lines.append(one.as_line())
            self._billed(one)
        self._final(invoice, discounts_of(self.case, invoice, self.before), now)
        self.before.append(invoice)
        if invoice.billing_reason == "subscription_cycle":
            lines = invoice.lines[:own]
            quantities, nets = [line.quantity for line in lines], [line.amount - line.discount for line in lines]
            self.standing.append(Standing(invoice, quantities, nets, own))
            self._settled(invoice)

    def look_up_to(self, now: datetime) -> None:
        """What happens at every look that has not been yet: notes were asked for before it, and then differences are
        billed that no next invoice carries."""
        while self.looks and self.looks[0] <= now:
            look = self.looks.pop(0)
            self.notes_before(look)
            self._settle_at(look)
        self.notes_before(now)

    def differences(self, now: datetime) -> list[Difference]:
        """What all final invoices have come to since, in the order of their periods."""
        if self.usage_at is None:
            return []
        case = self.case | {"usage": self.usage_at(now)}
        found = [one for standing in self.standing for one in self._differences(standing, case)]
        order = {id(one): number for number, one in enumerate(found)}
        return sorted(found, key=lambda one: (one.line.span, order[id(one)]))

    def _differences(self, standing: Standing, case: Body) -> list[Difference]:
        """Its whole invoice is rated again, under the coupons that it had; one that counts once and took nothing off it
        is for a later one."""
        invoice, taken = standing.invoice, dict(standing.invoice.discounts)
        again = [replace(line, discount=Fraction(0), discounts={}) for line in invoice.lines[: standing.own]]
        for line, new in zip(again, invoice.rate(case), strict=False):
            line.amount, line.quantity = new.amount, new.quantity
        kept = [one for one in invoice.coupons if taken[one["id"]] > 0 or one.get("duration", "once") != "once"]
        apply_discounts(again, kept, self.currency, self.places)
        return [
            Difference(invoice, place, line.quantity - quantity, line.amount - line.discount - net)
            for place, (line, quantity, net) in enumerate(zip(again, standing.quantities, standing.nets, strict=True))
            if line.amount - line.discount != net
        ]

    def _settle_at(self, now: datetime) -> None:
        """What waits for no next invoice: a charge is an invoice of its own, the rest a credit note."""
        waiting = self.differences(now)
        if not waiting:
            return
        way, ended = self.case.get("late_events", "next_invoice"), self._has_ended(now)
        back = [one for one in waiting if one.amount < 0 and (ended or way != "next_invoice")]
        charged = [one for one in waiting if one.amount > 0 and (ended or way == "separate_invoice")]
        for standing in self.standing:
            some = [one for one in back if one.invoice is standing.invoice]
            if some:
                self._give_back(standing.invoice, some)
        if charged:
            span = Span(min(one.line.span.start for one in charged), max(one.line.span.end for one in charged))
            made = Invoice("adjustment", span, now, [one.as_line() for one in charged], priced_at=now)
            for one in charged:
                self._billed(one)
            self._final(made, [], now)
            self.found.separate.append(made)

    def _has_ended(self, now: datetime) -> bool:
        end = end_of(self.case["subscription"], known(self.case.get("history", []), now))
        return end is not None and end <= now and any(one.invoice.period.end >= end for one in self.standing)

    def _give_back(self, invoice: Invoice, some: list[Difference]) -> None:
        """One note over the nets; refused as a whole where one of them is more than is left of its line."""
        note = credit_nets(self.left[name_of(invoice)], {one.place: -one.amount for one in some}, self.places)
        if note is None:
            return
        for one in some:
            self._billed(one)
        self.found.notes.append(Note(name_of(invoice), note))
        self._paid_back(invoice, sum((line.amount for line in note), Fraction(0)))

    def _billed(self, one: Difference) -> None:
        standing = next(each for each in self.standing if each.invoice is one.invoice)
        standing.quantities[one.place] += one.quantity
        standing.nets[one.place] += one.amount

    def _final(self, invoice: Invoice, discounts: list[Body], now: datetime) -> None:
        adjusted(self.case | {"credits": self.grants}, invoice, discounts, now)
        for grant_id, used in invoice.credits:
            self._move(grant_id, -used)
        if invoice.total < 0:
            kept = {"id": name_of(invoice), "remaining": str(-invoice.total), "currency": self.currency}
            self.grants.append(kept | {"effective_at": now.isoformat()})
        self.left[name_of(invoice)] = left_of(invoice, self.inclusive)
        self.due[name_of(invoice)] = invoice.amount_due

    def _move(self, grant_id: str, amount: Fraction) -> None:
        grant = next(one for one in self.grants if one["id"] == grant_id)
        grant["remaining"] = str(Fraction(grant["remaining"]) + amount)

    def _settled(self, invoice: Invoice) -> None:
        """What it gives back of an advance is not left for a credit note on that any more."""
        for line in invoice.lines:
            if not line.key.endswith("~true_up") or line.amount >= 0:
                continue
            billed = next(
                one for one in self.before if self._bills_in_advance(one, line.price_id, invoice.period.start)
            )
            settle_elsewhere(
                [
                    left
                    for left, of in zip(self.left[name_of(billed)], billed.lines, strict=True)
                    if of.price_id == line.price_id and of.key.endswith("~advance")
                ],
                -line.amount,
                self.places,
            )

    def _bills_in_advance(self, invoice: Invoice, price_id: str, start: datetime) -> bool:
        """Whether it bills the period that begins then; a part of that may begin after the period was cut short."""
        in_advance = any(line.key.endswith("~advance") and line.price_id == price_id for line in invoice.lines)
        return in_advance and self._advanced(invoice) == start

    def notes_before(self, now: datetime | None) -> None:
        """Notes that are asked for before a moment, or all."""
        while self.asked and (now is None or self.asked[0].at < now):
            wanted = self.asked.pop(0)
            invoice = next(one for one in self.before if name_of(one) == wanted.invoice)
            note = credit(self.left[wanted.invoice], wanted.amount, self.places)
            nets = {line.key: line.net for line in note}
            settled = any(one.invoice.period.start == self._advanced(invoice) for one in self.standing)
            for line in invoice.lines:
                if line.key.endswith("~advance") and not settled:
                    line.credited += nets.get(line.key, Fraction(0))
            self.found.asked.append(note)
            self._paid_back(invoice, sum((line.amount for line in note), Fraction(0)))

    def _advanced(self, invoice: Invoice) -> datetime:
        """When the period begins that an invoice bills in advance."""
        period = invoice.period
        return period.start if invoice.billing_reason == "subscription_start" else period.end

    def _paid_back(self, invoice: Invoice, amount: Fraction) -> None:
        """A note lowers what is due, then gives back the credit that paid the invoice, what was drawn last first."""
        name = name_of(invoice)
        lowered = min(amount, self.due[name])
        self.due[name] -= lowered
        amount -= lowered
        for number, (grant_id, used) in reversed(list(enumerate(invoice.credits))):
            back = min(amount, used - invoice.returned.get(number, Fraction(0)))
            invoice.returned[number] = invoice.returned.get(number, Fraction(0)) + back
            amount -= back
            self._move(grant_id, back)
        assert amount == 0
