"""Over any notes of an invoice, the parts that are credited sum to what its lines say, to the last unit."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from billing.credit_note import CreditableLine, LineAmount, credited, settle
from billing.invoice import Share
from billing.money import from_minor, to_minor

CURRENCIES = st.sampled_from(["JPY", "USD", "KWD"])


@st.composite
def lines(draw: st.DrawFn) -> tuple[list[CreditableLine], str]:
    currency = draw(CURRENCIES)
    found = []
    for number in range(draw(st.integers(1, 5))):
        net = draw(st.integers(1, 10**7))
        taxes = tuple(
            Share(f"tax_{n}", from_minor(draw(st.integers(0, net)), currency)) for n in range(draw(st.integers(0, 3)))
        )
        on_top = frozenset(tax.id for tax in taxes if draw(st.booleans()))
        found.append(CreditableLine(f"line_{number}", from_minor(net, currency), taxes, on_top))
    return found, currency


def less(left: list[CreditableLine], note: tuple[object, ...]) -> list[CreditableLine]:
    by_line = {part.line_id: part for part in note}  # type: ignore[attr-defined]
    rest = []
    for line in left:
        part = by_line.get(line.line_id)
        if part is None:
            rest.append(line)
            continue
        taxes = tuple(
            Share(tax.id, tax.amount - credit.amount) for tax, credit in zip(line.taxes, part.taxes, strict=True)
        )
        rest.append(CreditableLine(line.line_id, line.net - part.net, taxes, line.on_top))
    return rest


@given(lines(), st.lists(st.integers(1, 100), max_size=4))
def test_M2_notes_over_parts_and_then_the_rest_leave_nothing_of_any_line_or_tax(
    case: tuple[list[CreditableLine], str], percents: list[int]
) -> None:
    left, currency = case
    whole = sum(line.gross(currency) for line in left)
    credit = Decimal(0)
    for percent in [*percents, None]:
        open_amount = sum((line.gross(currency) for line in left), Decimal(0))
        if open_amount <= 0:
            break
        amount = None if percent is None else from_minor(to_minor(open_amount, currency) * percent // 100, currency)
        if amount == 0:
            continue
        note = credited(left, currency, amount=amount)
        total = sum(part.amount for part in note)
        assert amount is None or total == amount
        for part in note:
            line = next(line for line in left if line.line_id == part.line_id)
            top = sum(tax.amount for tax in part.taxes if tax.id in line.on_top)
            assert part.net + top == part.amount
        credit += total
        left = less(left, note)
        assert all(line.net >= 0 and all(tax.amount >= 0 for tax in line.taxes) for line in left)
    assert credit == whole
    assert all(line.net == 0 and all(tax.amount == 0 for tax in line.taxes) for line in left)


@given(lines(), st.decimals("0.001", 1, places=3))
def test_a_share_of_a_line_is_never_more_than_is_left_of_it(
    case: tuple[list[CreditableLine], str], share: Decimal
) -> None:
    left, currency = case
    note = credited(left, currency, items=[LineAmount(left[0].line_id, share=share)])
    assert sum(part.amount for part in note) <= left[0].gross(currency)


@given(*[st.integers(0, 10**6)] * 3)
def test_a_note_lowers_what_is_due_then_gives_back_credit_then_money(total: int, due: int, credit: int) -> None:
    parts = settle(*(from_minor(it, "USD") for it in (total, due, credit)), "USD")
    assert parts.pre_payment + parts.credit_returned + parts.paid_back == from_minor(total, "USD")
    assert parts.paid_back == 0 or (parts.pre_payment, parts.credit_returned) == (
        from_minor(due, "USD"),
        from_minor(credit, "USD"),
    )
