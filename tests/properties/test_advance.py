"""Whatever becomes of a period after it was billed in advance, advance and settlement come to what arrears would."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from billing.advance import Billed, settle, true_up
from billing.credit_note import CreditableLine, LineAmount, credited, less, without
from billing.invoice import Share
from billing.money import from_minor, to_minor
from billing.period import Period
from billing.price import parse_price
from billing.proration import share
from billing.rating import rate
from billing.subscription import Life
from tests.properties.test_subscription_segments import FEBRUARY, LIVES

# Of plan "a" the first, of "b" both: a price goes on over a change of plan, or comes and goes with it.
AMOUNTS = st.decimals(min_value=0, max_value=1000, places=3)
PRICES_OF = {"a": ("p",), "b": ("p", "q")}


def _lines(life: Life, full: Period, amounts: dict[str, Decimal], currency: str) -> Iterator[tuple[str, Decimal]]:
    """The flat lines of a period: one for each segment that is billed and each price of its plan, rounded once."""
    for segment in life.segments(full):
        for price_id in PRICES_OF[segment.plan_id] if segment.billed else ():
            price = parse_price({"pricing_model": "flat", "amount": amounts[price_id], "billing_timing": "in_advance"})
            seats = segment.quantities.get(price_id, Decimal(1))
            yield price_id, rate(price, Decimal(1), currency, share(segment.period, full), seats).total


@given(
    life=LIVES,
    known=st.integers(min_value=0, max_value=10),
    end_known=st.booleans(),
    p=AMOUNTS,
    q=AMOUNTS,
    currency=st.sampled_from(["USD", "JPY", "KWD"]),
)
def test_advance_and_settlement_sum_to_arrears_for_each_price_and_any_history(
    life: Life, known: int, end_known: bool, p: Decimal, q: Decimal, currency: str
) -> None:
    amounts = {"p": p, "q": q}
    then = replace(life, history=life.history[:known], end=life.end if end_known else None)
    advance = list(_lines(then, FEBRUARY, amounts, currency))
    arrears = list(_lines(life, FEBRUARY, amounts, currency))
    billed_lines = [Billed(price_id, amount) for price_id, amount in advance]
    settled = {each: true_up(settlement, currency) for each, settlement in settle(arrears, billed_lines).items()}
    billed: defaultdict[str, int] = defaultdict(int)
    for price_id, amount in [*advance, *((each, line.total) for each, line in settled.items())]:
        billed[price_id] += to_minor(amount, currency)
    wanted: defaultdict[str, int] = defaultdict(int)
    for price_id, amount in arrears:
        wanted[price_id] += to_minor(amount, currency)
    assert {each: billed[each] for each in amounts} == {each: wanted[each] for each in amounts}
    # A settlement explains itself, and says nothing where nothing has changed.
    for line in settled.values():
        assert sum((row.amount for row in line.breakdown), Decimal(0)) == line.total
    if advance == arrears:
        assert all(line.total == 0 for line in settled.values())


@given(life=LIVES, p=AMOUNTS)
def test_a_period_that_is_settled_is_even(life: Life, p: Decimal) -> None:
    lines = list(_lines(life, FEBRUARY, {"p": p, "q": p}, "USD"))
    assert all(settlement.is_even for settlement in settle(lines, (Billed(*line) for line in lines)).values())


@st.composite
def advances(draw: st.DrawFn) -> tuple[list[CreditableLine], list[Decimal], str]:
    """The lines of one price as they were paid, with one tax on top, their amounts before coupons, and the currency."""
    currency = draw(st.sampled_from(["USD", "JPY", "KWD"]))
    lines, amounts = [], []
    for number in range(draw(st.integers(1, 3))):
        amount = draw(st.integers(0, 10**6))
        net = draw(st.integers(0, amount))
        tax = Share("vat", from_minor(draw(st.integers(0, net)), currency))
        lines.append(CreditableLine(f"line_{number}", from_minor(net, currency), (tax,), frozenset({"vat"})))
        amounts.append(from_minor(amount, currency))
    return lines, amounts, currency


@given(advance=advances(), used=st.integers(0, 100), before=st.integers(0, 100), after=st.integers(0, 100))
def test_M2_notes_and_settlement_together_never_give_back_more_than_was_paid(
    advance: tuple[list[CreditableLine], list[Decimal], str], used: int, before: int, after: int
) -> None:
    lines, amounts, currency = advance
    paid = sum(to_minor(line.net, currency) for line in lines)
    due = from_minor(sum(to_minor(each, currency) for each in amounts) * used // 100, currency)

    def settled(*by_notes: Decimal) -> int:
        billed = [
            Billed("p", amount, amount - line.net, credit)
            for amount, line, credit in zip(amounts, lines, by_notes, strict=True)
        ]
        return -to_minor(true_up(settle([("p", due)], billed)["p"], currency).total, currency)

    def noted(left: list[CreditableLine], percent: int) -> list[CreditableLine]:
        """What is left after a note over this share of each line."""
        items = [
            LineAmount(line.line_id, share=Decimal(percent) / 100)
            for line in left
            if percent and line.gross(currency) > 0
        ]
        parts = {part.line_id: part for part in credited(left, currency, items=items)} if items else {}
        return [less(line, parts[line.line_id]) if line.line_id in parts else line for line in left]

    alone = settled(*(Decimal(0) for _ in lines))
    left = noted(lines, before)
    notes = [line.net - rest.net for line, rest in zip(lines, left, strict=True)]
    given = settled(*notes)
    # Of the unused part the settlement gives back what the notes have not; what they gave beyond it stays given.
    assert given == max(alone - sum(to_minor(note, currency) for note in notes), min(alone, 0))
    rest = list(without(left, from_minor(max(given, 0), currency), currency))
    last = noted(rest, after)
    for line in [*rest, *last]:
        assert line.net >= 0
        assert all(tax.amount >= 0 for tax in line.taxes)
    back = paid - sum(to_minor(line.net, currency) for line in last)
    assert max(given, 0) + sum(to_minor(note, currency) for note in notes) <= back <= paid
