"""A recording of every exchange, one JSON object a line, in the form that the contract checker reads."""

import json
import threading
from pathlib import Path

from integrations.stripe.sandbox.errors import Doc


class Recorder:
    """Appends to a file; a Recorder without one keeps nothing.

    No header but the idempotency key is written, and an endpoint's signing secret is blanked.
    """

    def __init__(self, path: Path | None) -> None:
        self._lock = threading.Lock()
        self._file = None if path is None else path.open("a", encoding="utf-8")

    def write(self, exchange: Doc) -> None:
        if self._file is None:
            return
        response = exchange["response"]
        if "secret" in response:
            exchange = {**exchange, "response": {**response, "secret": "whsec_not_recorded"}}
        with self._lock:
            self._file.write(json.dumps(exchange) + "\n")
            self._file.flush()
