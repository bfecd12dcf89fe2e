"""Whatever becomes of a period after it was billed in advance, advance and settlement come to what arrears would."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from billing.advance import settle, true_up
from billing.money import to_minor
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
    billed_lines = [(price_id, amount, Decimal(0)) for price_id, amount in advance]
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
    assert all(settlement.is_even for settlement in settle(lines, ((*line, Decimal(0)) for line in lines)).values())
