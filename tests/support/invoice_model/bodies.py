"""An invoice of the model as JSON: the form in which cases hold what is expected."""

from datetime import datetime
from fractions import Fraction

from tests.support.invoice_model.invoices import Invoice
from tests.support.invoice_model.lines import Line
from tests.support.invoice_model.periods import Body, Span
from tests.support.price_model import EXPONENTS, rounded

SHOWN = 16  # decimals of a number that never ends


def number(value: Fraction) -> str:
    """Exact where it ends within sixteen decimals, without zeros at its end."""
    units = rounded(value, SHOWN) * 10**SHOWN
    whole, rest = divmod(abs(units.numerator), 10**SHOWN)
    digits = f"{rest:016}".rstrip("0")
    return ("-" if units < 0 else "") + str(whole) + (f".{digits}" if digits else "")


def money(value: Fraction, currency: str) -> str:
    """With the currency's decimals."""
    places = EXPONENTS[currency]
    whole, rest = divmod(abs(value) * 10**places, 10**places)
    return ("-" if value < 0 else "") + str(whole) + (f".{int(rest):0{places}}" if places else "")


def invoice_body(invoice: Invoice, currency: str) -> Body:
    """What is nothing (a discount, a tax, a credit) is left out of it."""
    body: Body = {
        "billing_reason": invoice.billing_reason,
        "period": _times(invoice.period),
        "lines": [_line_body(line, invoice, currency) for line in invoice.lines],
        "subtotal": money(invoice.subtotal, currency),
    }
    for name in ("discounts", "taxes"):
        if getattr(invoice, name):
            body[name] = {each: money(amount, currency) for each, amount in getattr(invoice, name)}
    body["total"] = money(invoice.total, currency)
    if invoice.credits:
        body["credits"] = {each: money(amount, currency) for each, amount in invoice.credits}
    return body | {"amount_due": money(invoice.amount_due, currency)}


def _line_body(line: Line, invoice: Invoice, currency: str) -> Body:
    body: Body = {"key": line.key}
    if line.span != invoice.period:
        body["period"] = _times(line.span)
    body |= {
        "quantity": number(line.quantity),
        "unrounded": number(line.unrounded),
        "amount": money(line.amount, currency),
    }
    if line.rows:
        body["tiers"] = [[up_to, *map(number, numbers)] for up_to, *numbers in line.rows]
    for name, shares in (("discounts", line.discounts), ("taxes", line.taxes)):
        if shares:
            body[name] = {each: money(amount, currency) for each, amount in shares.items()}
    return body


def _times(span: Span) -> list[str]:
    return [_time(moment) for moment in span]


def _time(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
