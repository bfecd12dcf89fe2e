"""S4: planted secrets are looked for in every answer, every log line and every byte that is kept."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import httpx
import stripe

from ledger.db import Ledger
from tests.support.api_catalog import guide
from tests.support.api_process import running_api
from tests.support.api_stack import Stack, eventually, new_key, new_scope
from tests.support.sandbox_process import new_account, submit_card, webhook_endpoint

CARD = "5555 5555 5555 4444"


def test_S4_planted_secrets_are_in_no_answer_no_log_and_no_file(stack: Stack, tmp_path: Path) -> None:
    home, log = tmp_path / "home", tmp_path / "api.log"
    home.mkdir()
    ledger = Ledger(f"sqlite:///{home / 'ledger.sqlite3'}")
    ledger.migrate()
    scope = new_scope(ledger)
    own_key, secret, refused = new_key(ledger, scope), new_account(), "sk_test_refused0"
    planted = {
        "our key": own_key,
        "key": secret,
        "refused key": refused,
        "card": CARD,
        "card alone": CARD.replace(" ", ""),
    }
    environment = {
        **stack.environment,
        "TALLY_HOME": str(home),
        "TALLY_LEDGER_URL": str(ledger.url),
        "TALLY_LOG_LEVEL": "DEBUG",
    }
    planted["encryption key"] = environment["TALLY_ENCRYPTION_KEYS"].partition(":")[2]
    answers: list[httpx.Response] = []
    with (
        running_api(environment, log) as api,
        httpx.Client(base_url=f"{api.url}/api/v1", headers={"X-API-Key": own_key}, trust_env=False, timeout=60) as http,
    ):

        def send(method: str, path: str, body: Any = None, **options: Any) -> Any:
            answers.append(http.request(method, path, json=body, **options))
            return answers[-1].json() if answers[-1].content else None

        for body in (
            {"name": "S", "secret_key": refused},
            {"name": "S", "secret_key": [secret]},
            {"name": secret * 20, "secret_key": secret},
            {"name": "S", "secret_key": secret, "webhook_secret": secret},
        ):
            send("POST", "/connections", body)
            assert answers[-1].status_code == 422
        answers.append(http.post("/connections", content=f'{{"secret_key": "{secret}"'.encode()))

        hook = f"{api.url}/api/v1/webhooks/stripe/{scope.tenant_id}/{scope.environment_id}"
        planted["webhook secret"] = webhook_endpoint(stack.sandbox.url, secret, hook)["secret"]
        made = send("POST", "/connections", {"secret_key": secret, "webhook_secret": planted["webhook secret"]})
        signature = stripe.WebhookSignature.generate_signature_header("{}", planted["webhook secret"], int(time.time()))
        signatures = (signature, "t=1,v1=00", planted["webhook secret"])
        answers += [httpx.post(hook, content=b"{}", headers={"Stripe-Signature": each}) for each in signatures]

        control = stack.sandbox.control(secret)
        for fault in ({"action": "error", "status": 500}, {"action": "drop"}, {"action": "forbidden"}):
            control.fault(method="POST", path="/v1/customers", times=3, **fault)
        customer = send("POST", "/customers", guide("customers"))
        for _ in range(3):
            send("POST", f"/payments/customers/{customer['id']}/setup/intent", guide("setup_intent"))
        control.call("DELETE", "/faults")
        setup = send("POST", f"/payments/customers/{customer['id']}/setup/intent", guide("setup_intent"))
        submit_card(setup["checkout_url"], card_number=CARD)
        cards = f"/customers/{customer['id']}/payment-methods"
        eventually(lambda: send("GET", cards)["items"])
        planted["newer webhook secret"] = "whsec_" + "n3wer" * 5
        send("PATCH", f"/connections/{made['id']}", {"webhook_secret": planted["newer webhook secret"]})
        for path in ("/connections", f"/connections/{made['id']}/mappings", "/me", "/payments", cards):
            send("GET", path)

    ledger.dispose()
    kept = {str(path): path.read_bytes() for path in [log, *(each for each in home.rglob("*") if each.is_file())]}
    kept |= {f"answer {number}": answer.content for number, answer in enumerate(answers)}
    assert len(log.read_bytes()) > 1000
    found = [(name, place) for name, value in planted.items() for place, data in kept.items() if value.encode() in data]
    assert found == []
    assert "Traceback" not in log.read_text()
