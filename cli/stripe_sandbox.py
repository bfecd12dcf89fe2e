"""`tally stripe-sandbox`: the local twin of Stripe, alone."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from settings import load_settings

__all__ = ["stripe_sandbox"]


def stripe_sandbox(
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1; 0 takes a free one.")] = 8420,
    path: Annotated[Path | None, typer.Option(help="Folder of its state; default: under TALLY_HOME.")] = None,
) -> None:
    """Start the Stripe sandbox and print where it answers."""
    folder = path or load_settings().home / "sandbox"
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "integrations.stripe.sandbox", "--path", str(folder), "--port", str(port)]
    os.execv(command[0], command)  # noqa: S606 - the sandbox is a process of its own and imported by nobody
