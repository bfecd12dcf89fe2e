"""`tally keys rotate-encryption` and `tally webhooks` on a ledger that others use."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from typer.testing import CliRunner, Result

from billing.scope import Scope
from cli.main import app
from ledger.db import Ledger
from ledger.secretbox import SecretBox
from ledger.store import audit, connections, inbox, keys
from tests.support.ledger_rows import FERNET_KEY, NOW, SECRETS, a_connection, a_scope


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    made = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    made.migrate()
    monkeypatch.setenv("TALLY_HOME", str(tmp_path))
    monkeypatch.setenv("TALLY_LEDGER_URL", made.url.render_as_string())
    yield made
    made.dispose()


def tally(*arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False)


def test_S4_the_old_encryption_key_can_go_after_the_rotation(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    new_key = Fernet.generate_key().decode()
    with ledger.begin() as session:
        scope = a_scope(session)
        made = a_connection(session, scope)
    monkeypatch.setenv("TALLY_ENCRYPTION_KEYS", f"k2:{new_key},k1:{FERNET_KEY}")
    done = tally("keys", "rotate-encryption")
    assert (done.exit_code, json.loads(done.stdout)) == (0, {"key_id": "k2", "resealed": 1, "unreadable": []})
    with ledger.read() as session:
        assert connections.open_secrets(session, scope, made.id, SecretBox({"k2": new_key}, "k2")) == SECRETS
    monkeypatch.setenv("TALLY_ENCRYPTION_KEYS", f"k3:{FERNET_KEY}")
    lost = tally("keys", "rotate-encryption")
    assert (lost.exit_code, json.loads(lost.stdout)["unreadable"][0]["connection_id"]) == (1, made.id)
    assert new_key not in done.output + lost.output


def test_without_an_encryption_key_nothing_is_rotated(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TALLY_ENCRYPTION_KEYS", "")
    assert tally("keys", "rotate-encryption").exit_code == 2


def test_events_that_were_given_up_are_listed_and_replayed(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    with ledger.begin() as session:
        scope = a_scope(session)
        connection = a_connection(session, scope)
        dead, _ = inbox.receive(session, scope, connection.id, "evt_1", "invoice.paid", NOW, "{}", NOW, "192.0.2.1")
        inbox.mark_failed(session, scope, dead.id, None, "provider_failed: no", NOW)
        inbox.receive(session, scope, connection.id, "evt_2", "invoice.sent", NOW, "{}", NOW, "192.0.2.1")
        monkeypatch.setenv("TALLY_API_KEY", keys.create_key(session, scope, "ci", sorted(keys.ALL_SCOPES), NOW)[1])
    [listed] = json.loads(tally("webhooks", "list", "--state", "failed").stdout)["items"]
    assert (listed["id"], listed["last_error"]) == (dead.id, "provider_failed: no")
    assert [each["source"] for each in listed["deliveries"]] == ["192.0.2.1"]
    assert json.loads(tally("webhooks", "replay", "--failed").stdout) == {"replayed": 1}
    assert state_of(ledger, scope, dead.id) == "open"
    assert tally("webhooks", "replay").exit_code == 2
    assert tally("webhooks", "replay", "whk_none").exit_code == 1
    with ledger.read() as session:
        [entry] = audit.list_entries(session, scope, entity="webhook", entity_id=dead.id).items
    assert (entry.action, entry.actor) == ("webhook.replayed", "command line")


def state_of(ledger: Ledger, scope: Scope, inbox_id: str) -> str:
    with ledger.read() as session:
        return inbox.get_event(session, scope, inbox_id).state
