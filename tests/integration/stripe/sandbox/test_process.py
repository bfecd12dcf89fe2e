"""The process: one ready line, one port, state that survives kill -9, a recording, and an overview for people."""

import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.contract import contract
from tests.integration.stripe.sandbox.conftest import Account
from tests.support.sandbox_process import ROOT, SandboxProcess, http, running_sandbox, start_sandbox, submit_card
from tests.support.webhook_receiver import Receiver


def test_state_keys_and_waiting_deliveries_survive_kill_9(tmp_path: Path, receiver: Receiver) -> None:
    first = start_sandbox(tmp_path)
    before = Account(first)
    before.control.settings(hold=True)
    endpoint = before.endpoint(receiver.url, "invoice.paid")
    paid = before.paid_invoice(before.customer_with_card().id, 900)
    session = before.setup_session(str(paid.customer))
    first.kill()
    if first.process.stdout is not None:
        first.process.stdout.close()
    with running_sandbox(tmp_path) as second:
        after = Account(second, before.key)
        assert after.v1.invoices.retrieve(paid.id).status == "paid"
        replayed = after.v1.customers.create({"name": "Acme", "email": "a@acme.test"}, {"idempotency_key": "test:2"})
        assert replayed.id == paid.customer
        assert after.control.ledger()[0]["charged"] == 900
        # The page has moved to the new port with the process.
        assert submit_card(str(after.v1.checkout.sessions.retrieve(session.id).url)).status_code == 303
        after.control.settings(hold=False)
        (arrival,) = receiver.wait_for(1)
        after.client.construct_event(arrival.body, arrival.signature, endpoint.secret)


def test_a_second_sandbox_on_the_same_port_says_so(sandbox: SandboxProcess) -> None:
    port = sandbox.url.rpartition(":")[2]
    command = [sys.executable, "-m", "integrations.stripe.sandbox", "--memory", "--port", port]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"port {port} on 127.0.0.1 cannot be used: Address already in use\n"


def test_in_memory_it_prints_one_line_records_nothing_secret_and_stops_cleanly(tmp_path: Path) -> None:
    record = tmp_path / "exchanges.jsonl"
    running = start_sandbox(record=record)
    account = Account(running)
    endpoint = account.endpoint("http://127.0.0.1:9/hooks", "invoice.paid")
    account.paid_invoice(account.customer_with_card().id, 900)
    text = record.read_text(encoding="utf-8")
    assert endpoint.secret not in text
    assert account.key not in text
    assert contract.check_all(running.recorded()) == []
    assert running.stop() == 0
    assert running.process.stdout is not None
    assert running.process.stdout.read() == ""
    running.process.stdout.close()


def test_no_key_and_no_card_number_reaches_the_database(tmp_path: Path) -> None:
    with running_sandbox(tmp_path) as running:
        account = Account(running)
        assert submit_card(account.setup_session(account.customer().id).url).status_code == 303
        running.stop()
        raw = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert account.key.encode() not in raw
    assert b"4242424242424242" not in raw
    assert b"4242 4242" not in raw


def test_the_overview_shows_an_account_and_escapes_what_it_shows(account: Account) -> None:
    customer = account.customer_with_card()
    account.v1.customers.update(customer.id, {"name": "<script>alert(1)</script>"}, account.once())
    invoice = account.paid_invoice(customer.id, 123456)
    ident = account.v1.accounts.retrieve_current().id
    assert ident in http().get(f"{account.sandbox.url}/").text
    page = http().get(f"{account.sandbox.url}/a/{ident}")
    for shown in ("1,234.56 USD", str(invoice.number), "invoice.paid", "visa 4242", "&lt;script&gt;"):
        assert shown in page.text
    assert "<script" not in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]


@pytest.mark.parametrize(
    "path", ["/i/in_none", "/i/in_none/pdf", "/pay/c/cs_none", "/authenticate/pi_none", "/a/acct_none"]
)
def test_an_unknown_page_is_a_plain_404(sandbox: SandboxProcess, path: str) -> None:
    answer = http().get(sandbox.url + path)
    assert answer.status_code == 404
    assert "nothing at this address" in answer.text


def test_a_draft_has_no_page(account: Account) -> None:
    draft = account.draft(account.customer().id, 900)
    assert http().get(f"{account.sandbox.url}/i/{draft.id}").status_code == 404


def test_a_reset_empties_one_account_only(account: Account, sandbox: SandboxProcess) -> None:
    other = Account(sandbox)
    other.customer()
    account.customer()
    account.control.clock(freeze=True, advance=1000)
    account.control.reset()
    assert account.v1.customers.list().data == []
    assert account.control.call("GET", "/clock")["frozen"] is False
    assert len(other.v1.customers.list().data) == 1


def test_the_clock_goes_forward_only(account: Account) -> None:
    now = account.control.clock(freeze=True)["now"]
    assert account.control.clock(advance=60)["now"] == now + 60
    assert account.control.clock(set=now + 3600)["now"] == now + 3600
    with pytest.raises(httpx.HTTPStatusError):
        account.control.clock(set=now)
    assert account.customer().created == int(now + 3600)
    assert account.control.clock(freeze=False)["frozen"] is False
