"""ISO 4217: how many decimals each currency has.

Source: ISO 4217 list one (SIX) as of 2026-01-01. Its funds codes (CLF, COU, UYW, …) have minor units and count as
currencies here. Codes without minor units are no money to bill in and are left out: metals, SDR and other baskets, XTS,
XXX. Codes withdrawn since 2020 stay, so that an old invoice stays readable; nothing new is priced in them.
"""

from typing import Final

_NONE: Final = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
_TWO: Final = (
    "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF "
    "CHW CNY COP COU CRC CUC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HRK "
    "HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR "
    "MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP "
    "SLE SLL SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XAD XCD XCG "
    "YER ZAR ZMW ZWG ZWL"
)
_THREE: Final = "BHD IQD JOD KWD LYD OMR TND"
_FOUR: Final = "CLF UYW"

EXPONENTS: Final[dict[str, int]] = {
    code: decimals for decimals, codes in ((0, _NONE), (2, _TWO), (3, _THREE), (4, _FOUR)) for code in codes.split()
}

# Withdrawn code -> what took its place.
WITHDRAWN: Final[dict[str, str]] = {
    "ANG": "XCG",
    "BGN": "EUR",
    "CUC": "CUP",
    "HRK": "EUR",
    "SLL": "SLE",
    "ZWL": "ZWG",
}
