"""Lists, ranges, expansion and search."""

from typing import Any

import pytest
import stripe

from tests.integration.stripe.sandbox.conftest import Account


def test_lists_page_both_ways_newest_first(account: Account) -> None:
    made = [account.customer(name=f"c{n}").id for n in range(5)]
    first = account.v1.customers.list({"limit": 2})
    assert ([c.id for c in first.data], first.has_more) == ([made[4], made[3]], True)
    second = account.v1.customers.list({"limit": 2, "starting_after": made[3]})
    assert [c.id for c in second.data] == [made[2], made[1]]
    back = account.v1.customers.list({"limit": 2, "ending_before": made[1]})
    assert ([c.id for c in back.data], back.has_more) == ([made[3], made[2]], True)
    assert [c.id for c in account.v1.customers.list({"limit": 2}).auto_paging_iter()] == made[::-1]


def test_bad_limits_and_cursors_are_refused(account: Account) -> None:
    for params in (
        {"limit": 0},
        {"limit": 101},
        {"starting_after": "cus_none"},
        {"starting_after": "a", "ending_before": "b"},
    ):
        with pytest.raises(stripe.InvalidRequestError) as caught:
            account.v1.customers.list(params, {"headers": {"Sandbox-Expect-Refusal": "1"}})
        assert caught.value.http_status == 400


def test_lists_are_narrowed_by_created_status_and_customer(account: Account) -> None:
    account.control.clock(freeze=True)
    customer = account.customer()
    early = account.draft(customer.id, 900)
    account.control.clock(advance=100)
    late = account.open_invoice(customer.id, 900)
    account.draft(account.customer().id, 900)
    listed = account.v1.invoices.list({"customer": customer.id, "created": {"gte": early.created, "lt": late.created}})
    assert [i.id for i in listed.data] == [early.id]
    assert [i.id for i in account.v1.invoices.list({"status": "open"}).data] == [late.id]
    assert [i.id for i in account.v1.invoices.list({"created": late.created, "customer": customer.id}).data] == [
        late.id
    ]


def test_expansion_follows_four_levels_and_refuses_unknown_paths(account: Account) -> None:
    invoice = account.paid_invoice(account.customer_with_card().id, 900)
    found = account.v1.invoices.retrieve(invoice.id, {"expand": ["customer.invoice_settings.default_payment_method"]})
    assert isinstance(found.customer, stripe.Customer)
    settings: Any = found.customer.invoice_settings
    assert isinstance(settings.default_payment_method, stripe.PaymentMethod)
    payments = account.v1.invoices.retrieve(invoice.id, {"expand": ["payments.data.payment.payment_intent"]}).payments
    assert payments is not None
    assert isinstance(payments.data[0].payment.payment_intent, stripe.PaymentIntent)
    for path in ("nope", "number", "customer.nope", "payments.data.payment.payment_intent.latest_charge"):
        with pytest.raises(stripe.InvalidRequestError) as caught:
            account.v1.invoices.retrieve(invoice.id, {"expand": [path]})
        assert caught.value.param == "expand"
    with pytest.raises(stripe.InvalidRequestError):
        account.v1.refunds.list({"expand": ["data.nope"]})


def test_a_deleted_customer_is_expanded_as_deleted(account: Account) -> None:
    customer = account.customer()
    invoice = account.open_invoice(customer.id, 900)
    account.v1.customers.delete(customer.id)
    found = account.v1.invoices.retrieve(invoice.id, {"expand": ["customer"]}).customer
    assert getattr(found, "deleted", False) is True


def test_search_lags_and_lists_do_not(account: Account) -> None:
    account.control.clock(freeze=True)
    customer = account.customer(metadata={"ours": "acme's"})
    query = {"query": "metadata['ours']:'acme\\'s'"}
    assert account.v1.customers.search(query).data == []
    assert len(account.v1.customers.list().data) == 1
    account.control.clock(advance=61)
    assert [c.id for c in account.v1.customers.search(query).data] == [customer.id]
    account.v1.customers.update(customer.id, {"name": "New"}, account.once())
    assert account.v1.customers.search(query).data == []


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("status:'open'", ["two"]),
        ("status:'draft' AND metadata['n']:'one'", ["one"]),
        ("-status:'draft'", ["two"]),
        ("status:'open' OR status:'draft'", ["two", "one"]),
        ("total>900", ["two"]),
        ("total>=900 AND total<1000", ["one"]),
        ("metadata['none']:null", ["two", "one"]),
        ("currency:'eur'", []),
    ],
)
def test_the_query_language(account: Account, query: str, found: list[str]) -> None:
    account.control.settings(search_lag_seconds=0)
    customer = account.customer()
    account.draft(customer.id, 900, metadata={"n": "one"})
    account.open_invoice(customer.id, 1000, metadata={"n": "two"})
    result = account.v1.invoices.search({"query": query, "limit": 1})
    assert [invoice.metadata["n"] for invoice in result.auto_paging_iter()] == found


@pytest.mark.parametrize("query", ["", "open", "nope:'x'", "status:'a' AND total:1 OR total:2", "status>'a'"])
def test_a_query_that_cannot_be_read_is_refused(account: Account, query: str) -> None:
    with pytest.raises(stripe.InvalidRequestError) as caught:
        account.v1.invoices.search({"query": query})
    assert caught.value.param == "query"


def test_every_searchable_resource_is_searched_and_its_pages_are_opaque(account: Account) -> None:
    account.control.settings(search_lag_seconds=0)
    customer = account.customer_with_card()
    account.paid_invoice(customer.id, 900)
    assert len(account.v1.charges.search({"query": "amount:900 AND refunded:'false'"}).data) == 1
    assert len(account.v1.payment_intents.search({"query": "status:'succeeded'"}).data) == 1
    assert len(account.v1.customers.search({"query": "email~'ACME'"}).data) == 1
    with pytest.raises(stripe.InvalidRequestError) as caught:
        account.v1.customers.search({"query": "email:'x'", "page": "!"})
    assert caught.value.param == "page"


def test_events_are_kept_for_thirty_days(account: Account) -> None:
    account.customer()
    (event,) = account.v1.events.list({"type": "customer.*"}).data
    account.control.clock(advance=31 * 86400)
    assert account.v1.events.list().data == []
    with pytest.raises(stripe.InvalidRequestError):
        account.v1.events.retrieve(event.id)


def test_search_finds_products_prices_and_subscriptions_and_lags(account: Account) -> None:
    account.control.clock(freeze=True)
    metadata = {"tallyhouse_plan_id": "plan_1"}
    product = account.v1.products.create({"name": "Pro plan", "metadata": metadata}, account.once())
    monthly = {"currency": "usd", "unit_amount": 0, "recurring": {"interval": "month"}, "metadata": metadata}
    price = account.v1.prices.create({**monthly, "product": product.id}, account.once())
    mirror = account.v1.subscriptions.create(
        {"customer": account.customer().id, "items": [{"price": price.id}], "metadata": metadata}, account.once()
    )
    wanted = {
        "products": ("active:'true' AND name~'pro' AND metadata['tallyhouse_plan_id']:'plan_1'", product.id),
        "prices": (f"product:'{product.id}' AND currency:'usd' AND type:'recurring'", price.id),
        "subscriptions": ("status:'active' AND metadata['tallyhouse_plan_id']:'plan_1'", mirror.id),
    }

    def found() -> dict[str, list[str]]:
        return {
            name: [each.id for each in getattr(account.v1, name).search({"query": query}).data]
            for name, (query, _) in wanted.items()
        }

    assert found() == {"products": [], "prices": [], "subscriptions": []}
    account.control.clock(advance=61)
    assert found() == {name: [ident] for name, (_, ident) in wanted.items()}
    for name, query in (("products", "created>0"), ("prices", "active>1"), ("subscriptions", "customer:'cus_1'")):
        with pytest.raises(stripe.InvalidRequestError):
            getattr(account.v1, name).search({"query": query}, {"headers": {"Sandbox-Expect-Refusal": "1"}})
