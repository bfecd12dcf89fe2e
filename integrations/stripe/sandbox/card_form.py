"""The card form of the pages: what a visitor typed, as a test card. The number goes no further than this file."""

from collections.abc import Mapping
from datetime import UTC, datetime

from integrations.stripe.sandbox import cards
from integrations.stripe.sandbox.cards import Card
from integrations.stripe.sandbox.context import Context
from integrations.stripe.sandbox.errors import Doc, StripeError
from integrations.stripe.sandbox.resources import payment_methods


def submitted(ctx: Context, form: Mapping[str, str]) -> Doc:
    """A new PaymentMethod from `card_number`, `exp_month`, `exp_year`, `cvc` (and `name`, `email`).

    Raises 402 for what a bank or Stripe would refuse before trying the card.
    """
    number = "".join(form.get("card_number", "").split()).replace("-", "")
    if not (number.isascii() and number.isdigit() and 12 <= len(number) <= 19 and cards.luhn(number)):
        raise _problem("incorrect_number", "Your card number is incorrect.")
    month, year = _expiry(ctx, form)
    cvc = form.get("cvc", "").strip()
    if not (cvc.isascii() and cvc.isdigit() and len(cvc) in (3, 4)):
        raise _problem("invalid_cvc", "Your card's security code is invalid.")
    card: Card | None = cards.BY_NUMBER.get(number)
    if card is None:
        raise payment_methods.declined(cards.NOT_A_TEST_CARD)
    billing = {name: form[name].strip()[:200] or None for name in ("name", "email") if name in form}
    return payment_methods.created(ctx, card, month, year, **billing)


def _expiry(ctx: Context, form: Mapping[str, str]) -> tuple[int, int]:
    month, year = form.get("exp_month", "").strip(), form.get("exp_year", "").strip()
    if not (month.isascii() and month.isdigit() and 1 <= int(month) <= 12):
        raise _problem("invalid_expiry_month", "Your card's expiration month is invalid.")
    if not (year.isascii() and year.isdigit() and len(year) in (2, 4)):
        raise _problem("invalid_expiry_year", "Your card's expiration year is invalid.")
    full = int(year) + (2000 if len(year) == 2 else 0)
    today = datetime.fromtimestamp(ctx.now, UTC)
    if (full, int(month)) < (today.year, today.month) or full > today.year + 50:
        raise _problem("invalid_expiry_year", "Your card's expiration year is in the past.")
    return int(month), full


def _problem(code: str, message: str) -> StripeError:
    return StripeError(402, message, kind="card_error", code=code)
