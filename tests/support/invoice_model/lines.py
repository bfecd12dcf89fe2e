"""The lines of one billing period, a second time: what each price of each segment costs, in fractions.

A case has `currency`, `plans` ({id: {"prices": [...], "tier_progress"?}}), `features` ({id: "sum" | "count"}),
`subscription`, `history` and `usage` ([{"feature", "at", "value"}]). A price has an `id`, and a `feature` unless flat.
"""

from dataclasses import dataclass, field
from fractions import Fraction

from tests.support.invoice_model.periods import Body, Segment, Span, Terms, instant
from tests.support.price_model import EXPONENTS, billable_quantity, charge, line_amount


@dataclass
class Line:
    key: str
    price_id: str
    span: Span
    quantity: Fraction
    unrounded: Fraction
    amount: Fraction
    discount: Fraction = Fraction(0)
    tax: Fraction = Fraction(0)
    inclusive_tax: Fraction = Fraction(0)
    discounts: dict[str, Fraction] = field(default_factory=dict)
    taxes: dict[str, Fraction] = field(default_factory=dict)


@dataclass
class Part:
    """Segments in which one price is in force on the same terms."""

    price: Body
    plan: str
    segments: list[Segment]

    @property
    def span(self) -> Span:
        return Span(self.segments[0].span.start, self.segments[-1].span.end)


def is_flat(price: Body) -> bool:
    return bool(price["pricing_model"] == "flat")


def in_advance(price: Body) -> bool:
    return bool(price.get("billing_timing", "in_arrears") == "in_advance")


def terms_of(price: Body, terms: Terms) -> Body:
    """An override replaces a price's terms or takes a discount off; its id and feature stay."""
    return {**price, **terms.overrides.get(price["id"], {})}


def seats(price: Body, terms: Terms) -> Fraction:
    return Fraction(terms.quantities.get(price["id"], "1"))


def parts(case: Body, found: list[Segment]) -> list[Part]:
    """What gets a line: each price of each billed segment.

    A change that does not touch a price does not cut it: neighbours with the same terms (and for flat prices the same
    seats) are one part. A pause cuts a flat price, which is due for the time that ran, but not a usage price: nobody
    gets free units twice for a pause, and nobody pays a minimum twice.
    """
    kept: list[Part] = []
    stretch = 0  # how often the plan has changed so far: the same plan after another one is a part of its own
    last_plan = ""
    origin: dict[int, tuple[int, int]] = {}
    for number, segment in enumerate(found):
        stretch += segment.terms.plan != last_plan
        last_plan = segment.terms.plan
        if not segment.billed:
            continue
        for price in case["plans"][segment.terms.plan]["prices"]:
            body = terms_of(price, segment.terms)
            before = next((part for part in reversed(kept) if part.price["id"] == price["id"]), None)
            goes_on = before is not None and before.price == body and origin[id(before)][0] == stretch
            if before is not None and is_flat(price):
                same_seats = seats(price, before.segments[-1].terms) == seats(price, segment.terms)
                goes_on = goes_on and same_seats and origin[id(before)][1] == number - 1
            if before is not None and goes_on:
                before.segments.append(segment)
            else:
                before = Part(body, segment.terms.plan, [segment])
                kept.append(before)
            origin[id(before)] = (stretch, number)
    return kept


def usage_in(case: Body, feature: str, found: list[Segment]) -> Fraction:
    """Events at or after a segment's start and before its end: their sum, or how many they are."""
    counts = case.get("features", {}).get(feature, "sum") == "count"
    return sum(
        (
            Fraction(1) if counts else Fraction(event["value"])
            for event in case.get("usage", [])
            if event["feature"] == feature and any(segment.span.holds(instant(event["at"])) for segment in found)
        ),
        Fraction(0),
    )


def share(part: Part, grid: Span) -> Fraction:
    """Of the whole grid period, by seconds: a short first or last period and a segment are prorated alike."""
    return sum((segment.span.seconds for segment in part.segments), Fraction(0)) / grid.seconds


def rated(price: Body, quantity: Fraction) -> Fraction:
    return charge(billable_quantity(quantity, price), price)


def line(case: Body, part: Part, earlier: list[Part], grid: Span, alone: bool) -> Line:
    """One line: the flat amount times seats times share; or the part's usage, which begins in the first tier, or with
    `tier_progress: continue` goes on where the earlier parts of the feature stopped:
    rate(before + now) - rate(before), both under this part's price. Bounds are never prorated."""
    price = part.price
    if is_flat(price):
        quantity = seats(price, part.segments[0].terms)
        unrounded = Fraction(price["amount"]) * quantity * share(part, grid)
    else:
        quantity = usage_in(case, price["feature"], part.segments)
        unrounded = rated(price, quantity)
        if earlier and case["plans"][part.plan].get("tier_progress", "reset") == "continue":
            before = sum((usage_in(case, price["feature"], one.segments) for one in earlier), Fraction(0))
            unrounded = rated(price, before + quantity) - rated(price, before)
    start = part.span.start.isoformat().replace("+00:00", "Z")
    key = price["id"] if alone else f"{price['id']}@{start}"
    amount = line_amount(unrounded, price, EXPONENTS[case["currency"]])
    return Line(key, price["id"], part.span, quantity, unrounded, amount)


def lines(case: Body, found: list[Segment], grid: Span, *, advance: bool) -> list[Line]:
    """The lines of a period that are due in arrears, or those in advance: by segment, then in the plan's order."""
    every = parts(case, found)
    by_price = [part.price["id"] for part in every]
    made = []
    for number, part in enumerate(every):
        if in_advance(part.price) == advance:
            same = [one for one in every[:number] if one.price.get("feature") == part.price.get("feature")]
            same = [] if is_flat(part.price) else [one for one in same if not is_flat(one.price)]
            made.append(line(case, part, same, grid, by_price.count(part.price["id"]) == 1))
    return made


def true_ups(due: list[Line], billed: list[Line], grid: Span) -> list[Line]:
    """Per advance price one line with due - billed where the two differ: due by the history as it now stands."""
    made = []
    for price_id in dict.fromkeys(line.price_id for line in (*billed, *due)):
        difference = sum((line.amount for line in due if line.price_id == price_id), Fraction(0))
        difference -= sum((line.amount for line in billed if line.price_id == price_id), Fraction(0))
        if difference:
            made.append(Line(f"{price_id}~true_up", price_id, grid, Fraction(1), difference, difference))
    return made
