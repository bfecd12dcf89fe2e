"""Where local state lies: the folders under ``TALLY_HOME`` and the secrets that a first start makes up.

Nothing here is needed in the grown form, where addresses and secrets come from the environment.
"""

import json
import os
import secrets as random_source
from dataclasses import asdict, dataclass
from pathlib import Path

from cryptography.fernet import Fernet

__all__ = ["Home", "LocalSecrets"]


@dataclass(frozen=True)
class LocalSecrets:
    """Secrets of a local stack; they stay in one file that only its owner can read."""

    warehouse_password: str
    encryption_keys: str
    api_key: str | None = None


@dataclass(frozen=True)
class Home:
    """The folders of one local stack."""

    root: Path

    @property
    def warehouse(self) -> Path:
        """The embedded engine's data."""
        return self.root / "warehouse"

    @property
    def sandbox(self) -> Path:
        """The Stripe sandbox's state."""
        return self.root / "sandbox"

    @property
    def dagster(self) -> Path:
        """`DAGSTER_HOME`: run storage and a copy of the repo's configuration."""
        return self.root / "dagster"

    @property
    def logs(self) -> Path:
        """One log file per service."""
        return self.root / "logs"

    @property
    def imports(self) -> Path:
        """How far imports of files have come."""
        return self.root / "imports"

    @property
    def lock_file(self) -> Path:
        """Held by the running supervisor."""
        return self.root / "run" / "lock"

    @property
    def state_file(self) -> Path:
        """What is running: written by the supervisor, read by `tally status`, `down` and a second `up`."""
        return self.root / "run" / "stack.json"

    @property
    def secrets_file(self) -> Path:
        """Readable by its owner only."""
        return self.root / "secrets.json"

    def prepare(self) -> None:
        """Create the folders. Raises OSError when the place cannot be written."""
        for folder in (self.root, self.warehouse, self.sandbox, self.dagster, self.logs, self.lock_file.parent):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def secrets(self) -> LocalSecrets:
        """Read the secrets; the first call makes them up."""
        if self.secrets_file.exists():
            return LocalSecrets(**json.loads(self.secrets_file.read_text()))
        made = LocalSecrets(
            warehouse_password=random_source.token_urlsafe(24),
            encryption_keys=f"local1:{Fernet.generate_key().decode()}",
        )
        self.keep(made)
        return made

    def keep(self, values: LocalSecrets) -> None:
        """Replace the secrets file in one step, so that a crash leaves the old or the new one whole."""
        write_private(self.secrets_file, json.dumps(asdict(values)))


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, atomically."""
    draft = path.with_suffix(".new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
