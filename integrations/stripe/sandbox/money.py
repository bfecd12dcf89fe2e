"""Currencies as Stripe treats them: minor units, the smallest and the largest amount that can be charged."""

from decimal import ROUND_HALF_UP, Decimal, localcontext

from integrations.stripe.sandbox.errors import invalid


def _codes(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


ZERO_DECIMAL = _codes("bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf")
THREE_DECIMAL = _codes("bhd jod kwd omr tnd")
TWO_DECIMAL = _codes(
    "aed afn all amd ang aoa ars aud awg azn bam bbd bdt bgn bmd bnd bob brl bsd bwp byn bzd cad cdf chf cny cop crc "
    "cve czk dkk dop dzd egp etb eur fjd fkp gbp gel gip gmd gtq gyd hkd hnl htg huf idr ils inr isk jmd kes kgs khr "
    "kyd kzt lak lbp lkr lrd lsl mad mdl mkd mmk mnt mop mur mvr mwk mxn myr mzn nad ngn nio nok npr nzd pab pen pgk "
    "php pkr pln qar ron rsd rub sar sbd scr sek sgd shp sle sos srd std szl thb tjs top try ttd twd tzs uah ugx usd "
    "uyu uzs wst xcd xcg yer zar zmw"
)
SUPPORTED = ZERO_DECIMAL | THREE_DECIMAL | TWO_DECIMAL
# ISK and UGX have no decimals in fact; Stripe takes them with two that must be 00.
WHOLE_ONLY = frozenset(("isk", "ugx"))
LARGEST = 99_999_999
SMALLEST = {
    "usd": 50, "eur": 50, "cad": 50, "aud": 50, "chf": 50, "brl": 50, "sgd": 50, "nzd": 50, "inr": 50, "gbp": 30,
    "jpy": 50, "dkk": 250, "nok": 300, "sek": 300, "pln": 200, "czk": 1500, "huf": 17500, "mxn": 1000, "aed": 200,
    "ron": 200, "myr": 200, "hkd": 400, "thb": 1000,
}  # fmt: skip


def currency_of(text: str, param: str = "currency") -> str:
    code = text.lower()
    if code not in SUPPORTED:
        message = (
            f"Invalid currency: {text[:10]}. Stripe currently supports these currencies: {', '.join(sorted(SUPPORTED))}"
        )
        raise invalid(message, param)
    return code


def smallest(currency: str) -> int:
    """The smallest charge in minor units. A currency without a stated minimum takes any positive amount."""
    return SMALLEST.get(currency, 1)


def check_charge(amount: int, currency: str) -> None:
    """Raises 400 for an amount that cannot be charged."""
    if amount < 1:
        raise invalid("This value must be greater than or equal to 1.", "amount", "parameter_invalid_integer")
    if amount < smallest(currency):
        message = f"Amount must be at least {decimal_text(smallest(currency), currency)} {currency}"
        raise invalid(message, "amount", "amount_too_small")
    if amount > LARGEST:
        message = f"Amount must be no more than {decimal_text(LARGEST, currency)} {currency}"
        raise invalid(message, "amount", "amount_too_large")
    if (currency in THREE_DECIMAL and amount % 10) or (currency in WHOLE_ONLY and amount % 100):
        raise invalid(f"Invalid amount: {currency} amounts must be rounded to what can be charged.", "amount")


def line_amount(unit_amount: Decimal, quantity: Decimal) -> int:
    """Unit amount times quantity in whole minor units, halves away from zero: 0.5 is 1, 0.49 is 0."""
    with localcontext(prec=60):
        return int((unit_amount * quantity).quantize(Decimal(1), rounding=ROUND_HALF_UP))


def decimal_text(minor: int, currency: str) -> str:
    """`118.50` for 11850 usd, `500` for 500 jpy, `1.250` for 1250 kwd."""
    places = 0 if currency in ZERO_DECIMAL else 3 if currency in THREE_DECIMAL else 2
    return f"{Decimal(minor).scaleb(-places):,.{places}f}"


def shown(minor: int, currency: str) -> str:
    """For people: `118.50 USD`."""
    return f"{decimal_text(minor, currency)} {currency.upper()}"


def plain(value: Decimal) -> str:
    """A decimal without exponent or trailing zeros: `0.0000001`, `5`."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
