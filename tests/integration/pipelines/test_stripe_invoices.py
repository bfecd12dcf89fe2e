"""Final invoices go to Stripe's sandbox; what cannot be sent is told, waits, and stops no other."""

from collections.abc import Iterator

import pytest
from cryptography.fernet import Fernet

from ledger.secretbox import SecretBox, Secrets
from ledger.store import connections, mappings, outbox
from pipelines.steps.stripe_backlog import overdue_work
from tests.integration.pipelines.stage import Shop, Stage, metadata_of
from tests.support.sandbox_process import SandboxProcess, new_account, running_sandbox


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxProcess]:
    """One sandbox for the tests of this file."""
    with running_sandbox() as server:
        yield server


def connect(stage: Stage, shop: Shop, box: SecretBox) -> None:
    """A connection to an account of its own, whose key is sealed in `box`."""
    with stage.ledger.begin() as session:
        connections.create_connection(
            session,
            shop.scope,
            name="Stripe",
            provider="stripe",
            livemode=False,
            sync_config={},
            sealed=box.seal(shop.scope, Secrets(new_account())),
            now=stage.now,
        )


def test_final_invoices_are_sent_and_an_environment_without_a_connection_is_skipped_visibly(
    stage: Stage, sandbox: SandboxProcess
) -> None:
    stage.stripe_api_base = sandbox.url
    connected, alone, sealed = stage.shop("Connected"), stage.shop("Alone"), stage.shop("Sealed")
    for shop in (connected, alone, sealed):
        stage.subscribe(shop)
    connect(stage, connected, stage.box)
    connect(stage, sealed, SecretBox({"lost": Fernet.generate_key()}, "lost"))
    billing = stage.bill()
    assert billing.success
    told = metadata_of(billing, "stripe_invoices")
    assert {name: told[name] for name in ("synced", "waiting", "skipped", "refused", "failed")} == {
        "synced": 1,
        "waiting": 1,
        "skipped": 1,
        "refused": 0,
        "failed": 0,
    }
    (sent,) = stage.invoices(connected)
    with stage.ledger.read() as session:
        (mapping,) = mappings.list_mappings(session, connected.scope, entity="invoice").items
        (waiting,) = outbox.list_items(session, sealed.scope).items
    assert (mapping.entity_id, mapping.state) == (sent.id, "done")
    assert sent.stripe_hosted_invoice_url is not None
    assert (waiting.kind, waiting.state) == ("invoice.sync", "open")
    assert overdue_work(stage.ledger, stage.now) == 1
    again = metadata_of(stage.bill(), "stripe_invoices")
    assert (again["synced"], again["already_synced"], again["waiting"]) == (0, 0, 1)
