"""Random contracts with a history and usage, as cases of the model; every one of them could be a customer's."""

import random
from datetime import datetime, timedelta
from decimal import Decimal

from tests.support.invoice_model.periods import Body, instant
from tests.support.price_model import EXPONENTS

ZONES = ["UTC", "Europe/Berlin", "America/New_York", "America/Sao_Paulo", "Asia/Kathmandu", "Australia/Lord_Howe"]
INTERVALS = ["monthly", "monthly", "monthly", "weekly", "P2W", "P10D", "P2M", "quarterly"]
# The end of a month before a short one, a leap day, and hours around changes of the clock.
STARTS = ["2024-01-31T00:00:00Z", "2024-02-29T12:00:00Z", "2024-01-01T00:00:00Z", "2024-03-10T06:59:59Z"]
FEATURES = {"requests": "count", "tokens": "sum"}


def text(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def contract(r: random.Random, *, advance: bool = True) -> Body:
    """A case of `invoice_model.invoices`; without advance prices if told."""
    currency = r.choice([*EXPONENTS])
    plans = {f"plan{number}": _plan(r, number, currency, advance) for number in range(r.randint(1, 3))}
    start = instant(r.choice(STARTS))
    if r.random() < 0.6:
        start = instant("2024-01-01T00:00:00Z") + timedelta(minutes=r.randrange(100 * 24 * 60))
    agreed: Body = {
        "plan": r.choice([*plans]),
        "start": text(start),
        "billing_period": r.choice(INTERVALS),
        "billing_anchor": r.choice(["subscription_start", "subscription_start", "calendar", "2024-03-31T00:00:00Z"]),
        "timezone": r.choice(ZONES),
    }
    if r.random() < 0.2:
        agreed["trial_days"] = r.randint(1, 40)
    if r.random() < 0.3:
        flats = [price["id"] for price in plans[agreed["plan"]]["prices"] if "feature" not in price]
        agreed["quantities"] = {price_id: _quantity(r) for price_id in flats}
    history = _history(r, plans, agreed, start, currency)
    return {
        "currency": currency,
        "features": FEATURES,
        "plans": plans,
        "subscription": agreed,
        "history": history,
        "usage": _usage(r, start, [instant(change["effective_at"]) for change in history]),
    }


def terms(r: random.Random, case: Body) -> Body:
    """Coupons, taxes and credit of a customer."""
    currency, start = case["currency"], case["subscription"]["start"]
    found: Body = {}
    if r.random() < 0.4:
        off = [
            {"percent_off": "10"},
            {"percent_off": "33.333"},
            {"amount_off": _some(r, currency), "currency": currency},
        ]
        spans = [{"duration": "once"}, {"duration": "repeating", "periods": r.randint(1, 4)}, {"duration": "forever"}]
        found["discounts"] = [{"id": f"coupon{n}", **r.choice(off), **r.choice(spans)} for n in range(r.randint(1, 2))]
    if r.random() < 0.6:
        found["tax_rates"] = [
            {"id": f"tax{n}", "percentage": r.choice(["19", "7", "8.875"]), "inclusive": r.random() < 0.3}
            for n in range(r.randint(1, 2))
        ]
    if r.random() < 0.3:
        ends = {"expires_at": text(instant(start) + timedelta(days=r.randint(20, 200)))} if r.random() < 0.3 else {}
        grant = {"remaining": _some(r, currency), "currency": currency, "effective_at": start}
        found["credits"] = [{"id": "gift", **grant, **ends}]
    return found


def _some(r: random.Random, currency: str) -> str:
    return format(Decimal(r.randint(1, 30_000)).scaleb(-EXPONENTS[currency]), "f")


def _plan(r: random.Random, number: int, currency: str, advance: bool) -> Body:
    prices = [_flat(r, f"flat{number}{place}", currency, advance) for place in range(r.randint(0, 2))]
    metered = [feature for feature in FEATURES if r.random() < 0.7]
    prices += [{"id": f"{feature}{number}", "feature": feature, **usage_terms(r, currency)} for feature in metered]
    r.shuffle(prices)
    if not prices:
        prices.append(_flat(r, f"flat{number}0", currency, advance))
    return {"prices": prices, "tier_progress": r.choice(["reset", "continue"])}


def _flat(r: random.Random, price_id: str, currency: str, advance: bool) -> Body:
    price: Body = {"id": price_id, "pricing_model": "flat", "amount": _amount(r, currency, 10**5)}
    if advance and r.random() < 0.5:
        price["billing_timing"] = "in_advance"
    return price | _bounds(r, currency)


def usage_terms(r: random.Random, currency: str) -> Body:
    """Of any pricing model but flat, with whatever may stand beside it."""
    model = r.choice(["per_unit", "package", "percentage", "tiered", "tiered", "tiered"])
    terms: Body = {"pricing_model": model}
    match model:
        case "per_unit":
            terms["unit_price"] = r.choice(["0.1", "0.0333", "7", "0.005"])
        case "package":
            terms |= {"package_size": r.choice(["3", "10", "2.5"]), "package_price": _amount(r, currency, 500)}
        case "percentage":
            terms["rate"] = r.choice(["1.5", "33.3333", "100"])
        case "tiered":
            bounds = sorted(r.sample(range(1, 60), r.randint(0, 3)))
            terms["tier_mode"] = r.choice(["graduated", "volume"])
            terms["tiers"] = [
                {"up_to": bound, "unit_price": r.choice(["1", "0.75", "0.333", "0"]), "flat_fee": r.choice(["0", "5"])}
                for bound in [*map(str, bounds), None]
            ]
    if r.random() < 0.3:
        terms["free_units"] = r.choice(["1", "10", "2.5"])
    if r.random() < 0.2:
        terms["transform_quantity"] = {"divide_by": r.choice(["3", "10"]), "round": r.choice(["up", "none", "half_up"])}
    return terms | _bounds(r, currency)


def _bounds(r: random.Random, currency: str) -> Body:
    bounds: Body = {}
    if r.random() < 0.15:
        bounds["discount_percent"] = r.choice(["10", "33.333", "100"])
    if r.random() < 0.15:
        bounds["minimum_amount"] = _amount(r, currency, 1000)
    if r.random() < 0.15:
        bounds["maximum_amount"] = str(Decimal(bounds.get("minimum_amount", "0")) + Decimal(_amount(r, currency, 3000)))
    return bounds


def _amount(r: random.Random, currency: str, most: int) -> str:
    return format(Decimal(r.randrange(most)).scaleb(-EXPONENTS[currency]), "f")


def _quantity(r: random.Random) -> str:
    return r.choice(["0", "1", "3", "7", "2.5"])


def _history(r: random.Random, plans: Body, agreed: Body, start: datetime, currency: str) -> list[Body]:
    """Changes in the order in which they were written, some of them for a moment still to come."""
    found: list[Body] = []
    moment, plan = start, agreed["plan"]
    for number in range(r.choice([0, 0, 1, 2, 3, 5])):
        # Now and then two at one moment.
        moment += timedelta(minutes=r.choice([0, 60 * 24 * 7, r.randrange(60 * 24 * 40), r.randrange(60 * 24 * 40)]))
        kind = r.choice(["plan_changed", "plan_changed", "quantity_changed", "paused", "price_overridden"])
        change: Body = {"kind": kind}
        price = r.choice(plans[plan]["prices"])
        match kind:
            case "plan_changed":
                plan = change["plan"] = r.choice([*plans])
            case "quantity_changed":
                change |= {"price": price["id"], "quantity": _quantity(r)}
            case "price_overridden":
                change |= {"price": price["id"], "terms": _other_terms(r, price, f"other{number}", currency)}
            case "paused":
                _append(r, found, start, moment, {"kind": "paused"})
                moment += timedelta(hours=r.randrange(1, 24 * 20))
                change["kind"] = "resumed"
        _append(r, found, start, moment, change)
    if r.random() < 0.3:
        moment += timedelta(hours=r.randrange(24 * 40))
        _append(r, found, start, moment, {"kind": "cancelled"})
        if r.random() < 0.3 and found[-1]["created_at"] < found[-1]["effective_at"]:
            at = found[-1]["created_at"]
            found.append({"kind": "cancellation_withdrawn", "effective_at": at, "created_at": at})
    return sorted(found, key=lambda change: instant(change["created_at"]))


def _append(r: random.Random, found: list[Body], start: datetime, moment: datetime, change: Body) -> None:
    ahead = timedelta(hours=r.choice([0, 0, r.randrange(24 * 30)]))
    found.append(change | {"effective_at": text(moment), "created_at": text(max(start, moment - ahead))})


def _other_terms(r: random.Random, price: Body, other_id: str, currency: str) -> Body:
    if "feature" in price:
        blank = dict.fromkeys(price.keys() - {"id", "feature"})
        terms = {**blank, **usage_terms(r, currency)}
    else:
        terms = {"amount": _amount(r, currency, 10**5)}
    return {**terms, "id": other_id}


def _usage(r: random.Random, start: datetime, changes: list[datetime]) -> list[Body]:
    """Events before, in and after the contract, often right at a change or a hair before it."""
    found = []
    for _ in range(r.choice([0, 5, 20])):
        at = start + timedelta(seconds=r.randrange(-86400, 86400 * 120))
        if changes and r.random() < 0.3:
            at = r.choice(changes) - timedelta(microseconds=r.choice([0, 1]))
        value = r.choice(["1", "2.5", "12", "0.333333333333", "100"])
        found.append({"feature": r.choice([*FEATURES]), "at": text(at), "value": value})
    return found
