"""A restricted key: the rights that docs/security.md lists are enough for everything, and one that lacks is named."""

import re
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from billing.errors import InvalidInput
from billing.ports import ProviderKeyRefused
from integrations.stripe.sandbox.permissions import RIGHTS
from pipelines.steps import connections, credit_invoice
from pipelines.steps.connections import ConnectionUpdate
from pipelines.steps.credit_invoice import issue_note
from pipelines.steps.pay_invoice import pay_with_card
from pipelines.steps.stripe_sweep import sweep
from tests.integration.stripe.gateway.test_reconciliation import reconcile
from tests.integration.stripe.gateway.world import World
from tests.support.ledger_rows import BOX

PAGE = Path(__file__).resolve().parents[4] / "docs" / "security.md"
# The Dashboard's words, where Stripe's name of the right is another one.
NAMES = {"Account": "accounts_kyc_basic", "Charges and Refunds": "charge", "Prices": "plan"}


def rights_of_the_docs() -> dict[str, str]:
    """Stripe's name of each right that the page lists, and its level."""
    table = PAGE.read_text().partition("## The rights of a restricted key")[2]
    found = {}
    for names, level in re.findall(r"^\| ([A-Z][^|]*) \| (write|read) \|$", table, re.MULTILINE):
        for name in names.split(", "):
            words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower().replace(" ", "_").removesuffix("s")
            found[NAMES.get(name, words)] = level
    assert found.keys() <= set(RIGHTS.values())
    return found


def restricted(world: World, rights: dict[str, str]) -> World:
    """The same environment and account, reached with a restricted key."""
    key = world.control.call("POST", "/restricted_keys", {"rights": rights})["key"]
    return replace(world, key=key, _gateways=None)


def test_a_restricted_key_with_the_rights_of_the_docs_goes_the_whole_way(world: World) -> None:
    limited = restricted(world, rights_of_the_docs())
    limited.connect(collection="manual", plan={"outbound": True}, subscription={"inbound": True, "outbound": True})
    customer = limited.customer()
    limited.save_card(customer)
    invoice = limited.invoice(customer=customer)
    assert limited.sync(invoice.id).outcome == "synced"
    pay_with_card(limited.ledger, limited.scope, limited.link(), invoice.id, limited.now)
    limited.hear()
    wanted = credit_invoice.NewCreditNote(invoice.id, "Outage", Decimal("18.50"), settle_as="refund")
    with limited.ledger.begin() as session:
        issue_note(session, limited.scope, wanted, "key_1", limited.now)
    swept = sweep(limited.ledger, limited.gateways(), limited.now)
    assert (swept.retried, swept.dead) == (0, 0)
    limited.hear()
    assert reconcile(limited).differences == ()
    assert limited.link().gateway.unreadable() == []
    assert world.charged() == [11850]


def test_a_right_that_a_restricted_key_lacks_is_named_and_the_work_goes_on_once_the_key_has_it(world: World) -> None:
    rights = rights_of_the_docs() | {"invoice": "none", "event": "none"}
    limited = restricted(world, rights)
    connection = limited.connect()
    assert limited.link().gateway.unreadable() == ["Events", "Invoices"]
    invoice = limited.invoice()
    with pytest.raises(ProviderKeyRefused, match="rak_invoice_write"):
        limited.sync(invoice.id)
    enough = restricted(world, rights_of_the_docs())
    args = (world.ledger, world.scope, BOX, world.gateway, connection.id)
    connections.change(*args, ConnectionUpdate(secret_key=enough.key), "key_1", world.now)
    assert world.sync(invoice.id).outcome == "synced"
    assert [each["total"] for each in world.stripe_invoices()] == [11850]


def test_a_restricted_key_takes_the_place_of_a_secret_key_of_the_same_account(world: World) -> None:
    connection = world.connect()
    limited = restricted(world, rights_of_the_docs())
    args = (world.ledger, world.scope, BOX, world.gateway, connection.id)
    changed = connections.change(*args, ConnectionUpdate(secret_key=limited.key), "key_1", world.now)
    assert changed.secret_key_last4 == limited.key[-4:]
    nothing = restricted(world, {})
    with pytest.raises(InvalidInput) as refused:
        connections.change(*args, ConnectionUpdate(secret_key=nothing.key), "key_1", world.now)
    assert refused.value.code == "secret_key_refused"
    assert nothing.key not in str(refused.value)
