"""The lines of one billing period, a second time: what each price of each segment costs, in fractions.

A case has `currency`, `plans` ({id: {"prices": [...], "tier_progress"?}}), `features` ({id: "sum" | "count"}),
`subscription`, `history` and `usage` ([{"feature", "at", "value"}]). A price has an `id`, and a `feature` unless flat,
and may have `versions` ([{"effective_from", "terms"}], oldest first), which reach the periods that begin then or later.
"""

from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction

from tests.support.invoice_model.periods import Body, Segment, Span, Terms, instant
from tests.support.price_model import EXPONENTS, Row, billable_quantity, charge, line_amount, rounded, rows


@dataclass
class Line:
    key: str
    price_id: str
    span: Span
    quantity: Fraction
    unrounded: Fraction
    amount: Fraction
    rows: list[Row] = field(default_factory=list)
    discount: Fraction = Fraction(0)
    # What credit notes gave back of the rest before the line's period was settled; of lines in advance.
    credited: Fraction = Fraction(0)
    tax: Fraction = Fraction(0)
    inclusive_tax: Fraction = Fraction(0)
    discounts: dict[str, Fraction] = field(default_factory=dict)
    taxes: dict[str, Fraction] = field(default_factory=dict)


@dataclass
class Part:
    """A price over the time in which nothing changes for it: one line."""

    price: Body
    plan: str
    seats: Fraction
    span: Span


def is_flat(price: Body) -> bool:
    return bool(price["pricing_model"] == "flat")


def in_advance(price: Body) -> bool:
    return bool(price.get("billing_timing", "in_arrears") == "in_advance")


def terms_of(price: Body, terms: Terms) -> Body:
    """An override replaces a price's terms and has an id of its own; the feature stays."""
    return {**price, **terms.overrides.get(price["id"], {})}


def in_force(price: Body, period_start: datetime) -> Body:
    """The price in the version that bills a period: the last one that holds when it begins."""
    found = {name: value for name, value in price.items() if name != "versions"}
    for version in price.get("versions", []):
        if instant(version["effective_from"]) <= period_start:
            found |= version["terms"]
    return found


def parts(case: Body, found: list[Segment], period_start: datetime) -> list[Part]:
    """What gets a line: each price of each billed segment, by segment, then in the plan's order. A change that does not
    touch a price does not cut it: neighbours with the same terms and seats are one part."""
    kept: list[Part] = []
    for segment in found:
        for price in case["plans"][segment.terms.plan]["prices"] if segment.billed else []:
            body = terms_of(in_force(price, period_start), segment.terms)
            seats = Fraction(segment.terms.quantities.get(price["id"], "1")) if is_flat(body) else Fraction(1)
            part = Part(body, segment.terms.plan, seats, segment.span)
            last = next((one for one in reversed(kept) if one.price["id"] == body["id"]), None)
            if last and (last.price, last.plan, last.seats, last.span.end) == (body, part.plan, seats, part.span.start):
                last.span = Span(last.span.start, part.span.end)
            else:
                kept.append(part)
    return kept


def usage_in(case: Body, feature: str, span: Span) -> Fraction:
    """Events at or after the start and before the end: their sum, or how many they are."""
    counts = case.get("features", {}).get(feature, "sum") == "count"
    return sum(
        (
            Fraction(1) if counts else Fraction(event["value"])
            for event in case.get("usage", [])
            if event["feature"] == feature and span.holds(instant(event["at"]))
        ),
        Fraction(0),
    )


def flat_amount(part: Part, grid: Span) -> Fraction:
    """The amount times the seats, times the share by seconds of the whole grid period: a short first or last period
    and a part of a period are prorated alike."""
    return Fraction(part.price["amount"]) * part.seats * part.span.seconds / grid.seconds


@dataclass
class Run:
    """Usage parts that are priced as one, since the same price goes on after a pause: nobody gets free units twice for
    a pause, nor pays a minimum twice. `base` is the usage of the period that came before, under other prices, where the
    plan continues tiers; None where the run begins in the first tier."""

    price: Body
    base: Fraction | None
    reached: Fraction

    def unrounded(self) -> Fraction:
        """From the first tier on; or rate(before + now) - rate(before), both under this run's price."""
        if self.base is None:
            return charge(billable_quantity(self.reached, self.price), self.price)
        after, before = (billable_quantity(quantity, self.price) for quantity in (self.base + self.reached, self.base))
        return charge(after, self.price) - charge(before, self.price)

    def rows(self, quantity: Fraction) -> list[Row]:
        """The arithmetic of this much of the usage."""
        return rows(billable_quantity(quantity, self.price), self.price)

    def amount(self, places: int) -> Fraction:
        """Bounds and discounts are never prorated: each run has its own."""
        return line_amount(self.unrounded(), self.price, places)


def usage_amounts(
    case: Body, part: Part, runs: dict[str, list[Run]], places: int
) -> tuple[Fraction, Fraction, Fraction, list[Row]]:
    """(quantity, unrounded, amount, tiers) of a part: what it adds to its run, which goes on as long as no other price
    of the feature has come in between."""
    feature = part.price["feature"]
    before = runs.setdefault(feature, [])
    quantity = usage_in(case, feature, part.span)
    if before and before[-1].price["id"] == part.price["id"]:
        run = before[-1]
        had, had_amount = run.unrounded(), run.amount(places)
        first: Fraction | None = (run.base or Fraction(0)) + run.reached
    else:
        continues = before and case["plans"][part.plan].get("tier_progress", "reset") == "continue"
        run = Run(part.price, sum((one.reached for one in before), Fraction(0)) if continues else None, Fraction(0))
        before.append(run)
        had, had_amount, first = Fraction(0), Fraction(0), run.base
    run.reached += quantity
    used = run.rows((run.base or Fraction(0)) + run.reached)
    if first is not None:
        used = _beyond(used, run.rows(first))
    return quantity, run.unrounded() - had, run.amount(places) - had_amount, used


def _beyond(after: list[Row], before: list[Row]) -> list[Row]:
    """What later rows have more than earlier ones of the same price, tier by tier; one that is left again is given
    back. A row of nothing says nothing, but there is always one."""
    nothing, had = Fraction(0), {row[0]: row for row in before}
    rest = [
        (up_to, nothing, unit, nothing, nothing)
        for up_to, _, unit, _, _ in before
        if up_to not in {r[0] for r in after}
    ]
    found = []
    for up_to, quantity, unit, fee, amount in [*after, *rest]:
        _, quantity_before, _, fee_before, amount_before = had.get(up_to, (up_to, nothing, unit, nothing, nothing))
        found.append((up_to, quantity - quantity_before, unit, fee - fee_before, amount - amount_before))
    return [row for row in found if row[1] or row[3] or row[4]] or found[len(after) - 1 : len(after)]


def lines(case: Body, found: list[Segment], grid: Span, *, advance: bool) -> list[Line]:
    """The lines of a period that are due in arrears, or those in advance, whose keys say so. The key is the price's id
    where it has one part, else with the start of the part."""
    places = EXPONENTS[case["currency"]]
    every = parts(case, found, max(grid.start, instant(case["subscription"]["start"])))
    ids = [part.price["id"] for part in every]
    runs: dict[str, list[Run]] = {}
    made = []
    for part in every:
        if in_advance(part.price) != advance:
            continue
        start = part.span.start.isoformat().replace("+00:00", "Z")
        price_id = part.price["id"]
        key = price_id if ids.count(price_id) == 1 else f"{price_id}@{start}"
        key += "~advance" if advance else ""
        if is_flat(part.price):
            unrounded = flat_amount(part, grid)
            amount = line_amount(unrounded, part.price, places)
            made.append(Line(key, price_id, part.span, part.seats, unrounded, amount))
        else:
            made.append(Line(key, price_id, part.span, *usage_amounts(case, part, runs, places)))
    return made


def true_ups(due: list[Line], billed: list[Line], grid: Span, places: int) -> list[Line]:
    """Per advance price one line with due - billed where the two differ: due by the history as it now stands. What is
    given back is less by the share of it that coupons had taken off, rounded once, and then by what credit notes have
    given back already, but never less than nothing."""
    made = []
    for price_id in dict.fromkeys(line.price_id for line in (*due, *billed)):
        paid_for = [line for line in billed if line.price_id == price_id]
        gross = sum((line.amount for line in paid_for), Fraction(0))
        difference = sum((line.amount for line in due if line.price_id == price_id), Fraction(0)) - gross
        if difference:
            taken_off = sum((line.discount for line in paid_for), Fraction(0))
            kept = rounded(taken_off * -difference / gross, places) if difference < 0 else Fraction(0)
            amount = difference + kept
            if amount < 0:
                amount = min(Fraction(0), amount + sum((line.credited for line in paid_for), Fraction(0)))
            made.append(Line(f"{price_id}~true_up", price_id, grid, Fraction(1), amount, amount))
    return made
