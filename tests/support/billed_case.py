"""Bills cases of `tests.support.invoice_model` for real: a ledger, the steps of the pipeline, and what they make of it.

Only the warehouse is left out: a quantity is what the case's events come to, and everything else is read, priced and
kept by the code that bills everybody. Ids of the case stand for those that the ledger gives out, both ways.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy.orm import Session

from billing.adjustments.coupon import CouponTerms, Duration
from billing.exact import canonical
from billing.instant import format_instant, parse_instant
from billing.meter import parse_definition
from billing.period import Period, parse_interval
from billing.price import parse_price
from billing.rating import TierUse
from billing.scope import Scope
from billing.subscription import ChangeKind
from ledger.db import Ledger
from ledger.store import (
    coupons,
    credit_grants,
    customers,
    features,
    invoices,
    meters,
    plans,
    quantities,
    subscriptions,
    tax_rates,
)
from ledger.store.credit_grants import NewGrant
from ledger.store.invoice_lines import LineRecord
from ledger.store.invoices import InvoiceRecord
from ledger.store.price_changes import insert_price
from ledger.store.subscription_changes import NewChange
from pipelines.steps.billing_day import Due, billing_day
from pipelines.steps.collect_quantities import quantity_record
from pipelines.steps.draft_invoices import draft_invoices
from pipelines.steps.give_coupon import NewDiscount, give_coupon
from pipelines.steps.plan_prices import Catalog
from pipelines.steps.price_invoices import price_invoices
from tests.support.invoice_model.lines import usage_in
from tests.support.invoice_model.periods import Body, Span, instant, trial_end_of
from tests.support.ledger_rows import a_scope
from warehouse_sql.usage import Quantity

NOT_PRICE = {"id", "feature", "versions"}


@dataclass
class BilledCase:
    """A case in a ledger, in a tenant of its own."""

    ledger: Ledger
    case: Body
    name: str
    ids: dict[str, str] = field(default_factory=dict)
    adjusted: dict[str, str] = field(default_factory=dict)
    scope: Scope = field(init=False)
    subscription_id: str = field(init=False)

    def __post_init__(self) -> None:
        with self.ledger.begin() as session:
            self.scope = a_scope(session, self.name)
            now = instant(self.case["subscription"]["start"])
            for feature, counted in self.case.get("features", {}).items():
                self._add_feature(session, feature, counted, now)
            for key, plan in self.case["plans"].items():
                self._add_plan(session, key, plan, now)
            self._subscribe(session, now)

    def names(self) -> Mapping[str, str]:
        return {given: own for own, given in self.ids.items()}

    def key_of(self, line: LineRecord) -> str:
        """The line's key with the price's id in the case; that of an adjustment stands in `adjusted`."""
        if line.is_adjustment:
            return self.adjusted[line.key.partition(":")[2]]
        price_id = line.price_id or ""
        return line.key.replace(price_id, self.names()[price_id])

    def body_of(self, invoice: InvoiceRecord) -> Body:
        """An invoice as `invoice_model.bodies.invoice_body` writes one."""
        names = self.names()
        body: Body = {
            "billing_reason": invoice.billing_reason.value,
            "period": _times(invoice.period),
            "lines": [self._line_body(line, invoice) for line in invoice.lines],
            "subtotal": str(invoice.subtotal),
        }
        for name, applied in (("discounts", invoice.discounts), ("taxes", invoice.taxes)):
            if applied:
                body[name] = {names[each.terms.id]: str(each.amount) for each in applied}
        body["total"] = str(invoice.total)
        if invoice.credits:
            body["credits"] = {names[each.grant_id]: str(each.amount) for each in invoice.credits}
        return body | {"amount_due": str(invoice.amount_due)}

    def _line_body(self, line: LineRecord, invoice: InvoiceRecord) -> Body:
        body: Body = {"key": self.key_of(line)}
        if line.period != invoice.period:
            body["period"] = _times(line.period)
        body |= {
            "quantity": canonical(line.quantity),
            "unrounded": canonical(line.unrounded),
            "amount": str(line.amount),
        }
        assert sum((use.amount for use in line.breakdown), Decimal(0)) == line.unrounded
        if line.price_type == "usage":
            body["tiers"] = [_tier_body(use) for use in line.breakdown]
        for name, shares in (("discounts", line.discounts), ("taxes", line.taxes)):
            if shares:
                body[name] = {self.names()[share.id]: str(share.amount) for share in shares}
        return body

    def change(self, change: Body) -> None:
        """Writes one change into the history, as of when the case says that it was made."""
        now = parse_instant(change["created_at"], "created_at")
        with self.ledger.begin() as session:
            record = subscriptions.hold_subscription(session, self.scope, self.subscription_id)
            values = self._values(session, change, now)
            entry = NewChange(
                ChangeKind(change["kind"]), instant(change["effective_at"]), values, self._withdraws(change)
            )
            subscriptions.change_subscription(session, self.scope, record, [entry], "tests", now)

    def record_usage(self, session: Session, catalog: Catalog, due: Due, now: datetime) -> None:
        """The quantities of one of its periods."""
        for part in catalog.parts_of(session, due):
            if part.price.meter is not None:
                feature = self.names()[part.price.record.feature_id or ""]
                used = usage_in(self.case, feature, Span(part.period.start, part.period.end))
                value = Decimal(used.numerator) / Decimal(used.denominator)
                read = Quantity(value, 1, f"{feature}={used}", now)
                quantities.put_quantity(session, self.scope, quantity_record(due, part, part.price.meter, read, now))

    def invoices(self) -> list[InvoiceRecord]:
        """In the order in which they fall due."""
        found: list[InvoiceRecord] = []
        cursor: str | None = None
        with self.ledger.read() as session:
            while True:
                page = invoices.list_invoices(session, self.scope, cursor=cursor, limit=100)
                found, cursor = [*found, *page.items], page.next_cursor
                if cursor is None:
                    break
        return sorted(found, key=lambda invoice: (invoice.billed_at, invoice.id))

    def _add_feature(self, session: Session, feature: str, counted: str, now: datetime) -> None:
        aggregation = {"type": counted} | ({} if counted == "count" else {"property": "value"})
        definition = parse_definition({"name": feature, "event_name": feature, "aggregation": aggregation})
        meter = meters.create_meter(session, self.scope, definition, None, now)
        record = features.create_feature(
            session, self.scope, name=feature, key=feature, feature_type="metered", meter_id=meter.id, now=now
        )
        self.ids[feature] = record.id

    def _add_plan(self, session: Session, key: str, plan: Body, now: datetime) -> None:
        period = self.case["subscription"]["billing_period"]
        new = [self._new_price(price) for price in plan["prices"]]
        record = plans.create_plan(
            session,
            self.scope,
            name=key,
            key=key,
            billing_period=period,
            interval=str(parse_interval(period)),
            currency=self.case["currency"],
            prices=new,
            now=now,
            tier_progress=plan.get("tier_progress", "reset"),
        )
        self.ids[key] = record.id
        for price, made in zip(plan["prices"], record.prices, strict=True):
            self.ids[price["id"]] = made.id

    def _new_price(self, price: Body) -> plans.NewPrice:
        spec = parse_price({name: value for name, value in price.items() if name not in NOT_PRICE})
        return plans.NewPrice(self.ids[price["feature"]] if "feature" in price else None, price["id"], spec)

    def _subscribe(self, session: Session, now: datetime) -> None:
        agreed = self.case["subscription"]
        customer = customers.create_customer(
            session,
            self.scope,
            name=self.name,
            external_id="customer",
            now=now,
            tax_exempt=self.case.get("tax_exempt", False),
            tax_rate_ids=[self._tax_rate(session, rate, now) for rate in self.case.get("tax_rates", [])],
        )
        trial = {"trial_days", "trial_end"} & agreed.keys()
        made = subscriptions.create_subscription(
            session,
            self.scope,
            customer_id=customer.id,
            plan_id=self.ids[agreed["plan"]],
            start_date=now,
            timezone=agreed.get("timezone", "UTC"),
            billing_anchor=agreed.get("billing_anchor", "subscription_start"),
            end_date=instant(agreed["end"]) if agreed.get("end") else None,
            trial_end=trial_end_of(agreed) if trial else None,
            now=now,
        )
        self.subscription_id = made.id
        for price, quantity in agreed.get("quantities", {}).items():
            values = {"price_id": self.ids[price], "quantity": quantity}
            entry = NewChange(ChangeKind.QUANTITY_CHANGED, now, values)
            made = subscriptions.change_subscription(session, self.scope, made, [entry], "tests", now)
        for one in self.case.get("credits", []):
            self._grant(session, customer.id, one, now)
        for discount in self.case.get("discounts", []):
            self._give_coupon(session, discount, now)

    def _tax_rate(self, session: Session, rate: Body, now: datetime) -> str:
        percentage, inclusive = Decimal(rate["percentage"]), rate.get("inclusive", False)
        made = tax_rates.create_tax_rate(
            session, self.scope, name=rate["id"], percentage=percentage, inclusive=inclusive, now=now
        )
        self.ids[rate["id"]] = made.id
        return made.id

    def _grant(self, session: Session, customer_id: str, one: Body, now: datetime) -> None:
        wanted = NewGrant(
            Decimal(one["remaining"]),
            one["currency"],
            "promotional",
            priority=one.get("priority", 100),
            effective_at=instant(one["effective_at"]),
            expires_at=instant(one["expires_at"]) if "expires_at" in one else None,
        )
        self.ids[one["id"]] = credit_grants.grant(session, self.scope, customer_id, wanted, now).id

    def _give_coupon(self, session: Session, discount: Body, now: datetime) -> None:
        terms = CouponTerms(
            percent_off=Decimal(discount["percent_off"]) if "percent_off" in discount else None,
            amount_off=Decimal(discount["amount_off"]) if "amount_off" in discount else None,
            currency=discount.get("currency"),
            duration=Duration(discount["duration"]),
            periods=discount.get("periods"),
        )
        name = discount["id"]
        coupon = coupons.create_coupon(session, self.scope, code=name, name=name, terms=terms, now=now)
        wanted = NewDiscount(coupon.id, subscription_id=self.subscription_id)
        self.ids[name] = give_coupon(session, self.scope, wanted, "tests", now).id

    def _values(self, session: Session, change: Body, now: datetime) -> dict[str, Any]:
        match change["kind"]:
            case "plan_changed":
                return {"plan_id": self.ids[change["plan"]]}
            case "quantity_changed":
                return {"price_id": self.ids[change["price"]], "quantity": change["quantity"]}
            case "cancelled":
                return {"end_date": change["effective_at"], "previous_end_date": self.case["subscription"].get("end")}
            case "cancellation_withdrawn":
                return {"end_date": self.case["subscription"].get("end")}
            case "price_overridden":
                return self._override(session, change, now)
        return {}

    def _override(self, session: Session, change: Body, now: datetime) -> dict[str, Any]:
        price_id, terms = self.ids[change["price"]], change["terms"]
        if terms is None:
            return {"price_id": price_id, "override_id": None, "override_version": None}
        plan, price = next(
            (plan, price)
            for plan, body in self.case["plans"].items()
            for price in body["prices"]
            if price["id"] == change["price"]
        )
        made = insert_price(
            session,
            self.scope,
            self.ids[plan],
            self._new_price({**price, **terms}),
            -1 - len(self.ids),
            now,
            subscription_id=self.subscription_id,
            overrides=price_id,
        )
        self.ids[terms["id"]] = made.id
        return {"price_id": price_id, "override_id": made.id, "override_version": made.version}

    def _withdraws(self, change: Body) -> int | None:
        """The sequence of the cancellation that is taken back; the seats of the start came first."""
        if change["kind"] != "cancellation_withdrawn":
            return None
        before = self.case["history"][: self.case["history"].index(change)]
        last = max(number for number, one in enumerate(before, 1) if one["kind"] == "cancelled")
        return last + len(self.case["subscription"].get("quantities", {}))


def bill(
    cases: Iterable[BilledCase],
    windows: Iterable[tuple[datetime, datetime]],
    after: Callable[[datetime], None] = lambda end: None,
) -> None:
    """Every window [start, end) in turn: first the changes that were made before its end, then what was due in it.
    The invoices are finalized at once, their amounts alone: the gates ask for what the warehouse says. `after` is told
    of each end."""
    every = list(cases)
    if not every:
        return
    ledger = every[0].ledger
    written = [0] * len(every)
    by_scope = {one.scope: one for one in every}
    for start, end in windows:
        for place, one in enumerate(every):
            history = one.case.get("history", [])
            while written[place] < len(history) and instant(history[written[place]]["created_at"]) < end:
                one.change(history[written[place]])
                written[place] += 1
        drafted = draft_invoices(ledger, start, end, end)
        assert not drafted.failures, drafted.failures
        with ledger.begin() as session:
            catalog = Catalog()
            for due in billing_day(session, start, end, end).due:
                by_scope[due.scope].record_usage(session, catalog, due, end)
        priced = price_invoices(ledger, start, end, end, "1.0")
        assert not priced.failures, priced.failures
        for invoice in priced.invoices:
            with ledger.begin() as session:
                invoices.finalize(session, invoice.scope, invoice.invoice_id, end)
        after(end)


def _tier_body(use: TierUse) -> list[str | None]:
    return [None if use.up_to is None else canonical(use.up_to), *map(canonical, use[1:])]


def _times(period: Period) -> list[str]:
    return [format_instant(period.start), format_instant(period.end)]
