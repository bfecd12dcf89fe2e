"""`tally alerts` on a ledger that the pipeline writes to."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from ledger.db import Ledger
from ledger.store import alerts
from tests.support.ledger_rows import NOW
from tests.support.webhook_receiver import webhook_receiver


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    made = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    made.migrate()
    monkeypatch.setenv("TALLY_HOME", str(tmp_path))
    monkeypatch.setenv("TALLY_LEDGER_URL", made.url.render_as_string())
    yield made
    made.dispose()


def test_what_stands_is_listed_and_what_was_given_up_is_sent_again(ledger: Ledger) -> None:
    with ledger.begin() as session:
        alert = alerts.open_alert(session, "run_failed", "billing:2026-01-01", "it has failed", {"days": 1}, NOW)
        (message,) = alerts.claim_due(session, NOW, 1, NOW - NOW)
        alerts.close_message(session, message.id, "failed", NOW, "the receiver answered 500")
    assert alert is not None
    listed = json.loads(CliRunner().invoke(app, ["alerts", "list", "--json"]).stdout)
    assert ([one["id"] for one in listed["items"]], listed["messages"]) == ([alert.id], {"failed": 1})
    assert "1 messages were given up" in CliRunner().invoke(app, ["alerts", "list"]).stdout
    assert CliRunner().invoke(app, ["alerts", "resend"]).exit_code == 0
    with ledger.begin() as session:
        alerts.resolve(session, alert, NOW)
        assert alerts.unsent(session)["open"][0] == 2
    assert "nothing is wrong" in CliRunner().invoke(app, ["alerts", "list"]).stdout
    assert alert.id in CliRunner().invoke(app, ["alerts", "list", "--all"]).stdout


def test_the_address_is_tried_with_a_signed_message(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    without = CliRunner().invoke(app, ["alerts", "test"])
    assert (without.exit_code, "TALLY_ALERT_URL" in without.output) == (2, True)
    monkeypatch.setenv("TALLY_ALERT_SECRETS", "shh")
    with webhook_receiver() as receiver:
        monkeypatch.setenv("TALLY_ALERT_URL", receiver.url)
        assert CliRunner().invoke(app, ["alerts", "test"]).exit_code == 0
        (arrival,) = receiver.arrivals
        assert json.loads(arrival.body)["event"] == "alert.test"
        assert arrival.headers["tally-signature"].startswith("t=")
        receiver.answer = lambda _: 500
        refused = CliRunner().invoke(app, ["alerts", "test"])
    assert (refused.exit_code, "answered 500" in refused.output) == (1, True)
