"""How the commands speak: colours where a terminal reads, plain text elsewhere, errors on stderr."""

import json
import sys
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text

__all__ = ["fail", "out", "print_json", "progress", "say"]

# A file or pipe has no width of its own; the demo's table needs more than the usual 80.
out = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 110)
_err = Console(stderr=True, highlight=False, soft_wrap=True)

_COLOURS = {
    "tally": "bold",
    "api": "green",
    "warehouse": "cyan",
    "sandbox": "magenta",
    "dagster": "blue",
    "daemon": "blue",
    "code": "blue",
}


def say(service: str, line: str) -> None:
    """Print one line of one service; whatever it holds is shown as text, never read as markup or control codes."""
    safe = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line.replace("\t", "    "))
    text = Text(f"{service:>9} | ", style=_COLOURS.get(service, ""))
    text.append(safe, style="default")
    _err.print(text)


def print_json(value: dict[str, Any]) -> None:
    """One JSON object on stdout, for machines."""
    typer.echo(json.dumps(value))


def progress(*, shown: bool = True) -> Progress:
    """A progress bar on stderr: a name, how far it is, and the `note` of its task. Quiet where nobody looks on."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        TimeRemainingColumn(),
        console=_err,
        disable=not shown or not _err.is_terminal,
    )


def fail(message: str, hint: str | None = None, code: int = 1) -> NoReturn:
    """Say what is wrong and what to do, and end."""
    _err.print(Text(f"error: {message}", style="red"))
    if hint:
        _err.print(Text(hint))
    raise typer.Exit(code)
