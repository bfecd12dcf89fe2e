"""`tally keys rotate-encryption`, as a process beside a ledger that others use."""

import json
import os
import subprocess
import sys
from pathlib import Path

from cryptography.fernet import Fernet

from ledger.db import Ledger
from ledger.secretbox import SecretBox
from ledger.store import connections
from tests.support.ledger_rows import FERNET_KEY, SECRETS, a_connection, a_scope


def _rotate(url: str, keys: str, home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cli", "keys", "rotate-encryption", "--json"],
        env={**os.environ, "TALLY_HOME": str(home), "TALLY_LEDGER_URL": url, "TALLY_ENCRYPTION_KEYS": keys},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_S4_the_old_encryption_key_can_go_after_the_rotation(tmp_path: Path) -> None:
    url, new_key = f"sqlite:///{tmp_path / 'ledger.db'}", Fernet.generate_key().decode()
    ledger = Ledger(url)
    ledger.migrate()
    with ledger.begin() as session:
        scope = a_scope(session)
        made = a_connection(session, scope)
    done = _rotate(url, f"k2:{new_key},k1:{FERNET_KEY}", tmp_path)
    assert (done.returncode, json.loads(done.stdout)) == (0, {"key_id": "k2", "resealed": 1, "unreadable": []})
    with ledger.read() as session:
        assert connections.open_secrets(session, scope, made.id, SecretBox({"k2": new_key}, "k2")) == SECRETS
    lost = _rotate(url, f"k3:{FERNET_KEY}", tmp_path)
    assert (lost.returncode, json.loads(lost.stdout)["unreadable"][0]["connection_id"]) == (1, made.id)
    assert "not opened" in lost.stderr
    assert new_key not in done.stdout + done.stderr + lost.stdout + lost.stderr
    ledger.dispose()
