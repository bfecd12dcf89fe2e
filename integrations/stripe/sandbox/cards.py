"""Stripe's test cards: what each number does when it is saved and when it is charged. No number is ever stored."""

import hashlib
from dataclasses import dataclass

from integrations.stripe.sandbox.errors import Doc


@dataclass(frozen=True)
class Decline:
    code: str
    decline_code: str
    message: str
    advice: str

    def details(self) -> Doc:
        return {"code": self.code, "decline_code": self.decline_code, "advice_code": self.advice}


GENERIC = Decline("card_declined", "generic_decline", "Your card was declined.", "try_again_later")
FUNDS = Decline("card_declined", "insufficient_funds", "Your card has insufficient funds.", "try_again_later")
LOST = Decline("card_declined", "lost_card", "Your card was declined.", "do_not_try_again")
STOLEN = Decline("card_declined", "stolen_card", "Your card was declined.", "do_not_try_again")
FRAUD = Decline("card_declined", "fraudulent", "Your card was declined.", "do_not_try_again")
EXPIRED = Decline("expired_card", "expired_card", "Your card has expired.", "do_not_try_again")
CVC = Decline("incorrect_cvc", "incorrect_cvc", "Your card's security code is incorrect.", "confirm_card_data")
PROCESSING = Decline(
    "processing_error", "processing_error", "An error occurred while processing your card. Try again in a little bit.",
    "try_again_later",
)  # fmt: skip
AUTHENTICATE = Decline(
    "authentication_required", "authentication_required",
    "Your card was declined. This transaction requires authentication.", "confirm_card_data",
)  # fmt: skip
NOT_A_TEST_CARD = Decline(
    "card_declined", "test_mode_live_card",
    "Your card was declined. Your request was in test mode, but used a non test card.", "do_not_try_again",
)  # fmt: skip
DECLINES = {d.decline_code: d for d in (GENERIC, FUNDS, LOST, STOLEN, FRAUD, EXPIRED, CVC, PROCESSING, AUTHENTICATE)}


@dataclass(frozen=True)
class Card:
    """`saving` declines set-up and attaching, `charging` every charge; `authenticates` is "setup" or "always";
    `refund` is "pending" (settles later) or "failing" (fails later); `disputed` charges are taken back."""

    name: str
    number: str
    brand: str = "visa"
    funding: str = "credit"
    saving: Decline | None = None
    charging: Decline | None = None
    authenticates: str | None = None
    refund: str | None = None
    disputed: bool = False

    @property
    def last4(self) -> str:
        return self.number[-4:]

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(self.number.encode()).hexdigest()[:16]


def _declining(name: str, number: str, decline: Decline) -> Card:
    return Card(name, number, saving=decline, charging=decline)


CARDS = (
    Card("visa", "4242424242424242"),
    Card("visa_debit", "4000056655665556", funding="debit"),
    Card("mastercard", "5555555555554444", "mastercard"),
    Card("mastercard_debit", "5200828282828210", "mastercard", "debit"),
    Card("amex", "378282246310005", "amex"),
    Card("discover", "6011111111111117", "discover"),
    Card("diners", "3056930009020004", "diners"),
    Card("jcb", "3566002020360505", "jcb"),
    Card("unionpay", "6200000000000005", "unionpay"),
    _declining("visa_chargeDeclined", "4000000000000002", GENERIC),
    _declining("visa_chargeDeclinedInsufficientFunds", "4000000000009995", FUNDS),
    _declining("visa_chargeDeclinedLostCard", "4000000000009987", LOST),
    _declining("visa_chargeDeclinedStolenCard", "4000000000009979", STOLEN),
    _declining("chargeDeclinedFraudulent", "4100000000000019", FRAUD),
    _declining("chargeDeclinedExpiredCard", "4000000000000069", EXPIRED),
    _declining("chargeDeclinedIncorrectCvc", "4000000000000127", CVC),
    _declining("chargeDeclinedProcessingError", "4000000000000119", PROCESSING),
    Card("chargeCustomerFail", "4000000000000341", charging=GENERIC),
    Card("authenticationRequiredOnSetup", "4000002500003155", authenticates="setup"),
    Card("authenticationRequired", "4000002760003184", authenticates="always"),
    Card("createDispute", "4000000000000259", disputed=True),
    Card("pendingRefund", "4000000000007726", refund="pending"),
    Card("refundFail", "4000000000005126", refund="failing"),
)
BY_NAME = {card.name: card for card in CARDS}
BY_NUMBER = {card.number: card for card in CARDS}
ALIASES = {
    "visa_chargeDeclinedExpiredCard": "chargeDeclinedExpiredCard",
    "visa_chargeDeclinedIncorrectCvc": "chargeDeclinedIncorrectCvc",
    "visa_chargeDeclinedProcessingError": "chargeDeclinedProcessingError",
    "visa_chargeDeclinedFraudulent": "chargeDeclinedFraudulent",
}


def by_token(token: str) -> Card | None:
    """The card of a test PaymentMethod id such as `pm_card_visa`."""
    if not token.startswith("pm_card_"):
        return None
    name = token.removeprefix("pm_card_")
    return BY_NAME.get(ALIASES.get(name, name))


def luhn(number: str) -> bool:
    """The check digit of a card number: `4242424242424242` is right, `4242424242424241` is mistyped."""
    digits = [int(digit) for digit in reversed(number)]
    return (sum(digits[0::2]) + sum(d * 2 - 9 * (d > 4) for d in digits[1::2])) % 10 == 0
