"""`tally migrate`: bring ledger and warehouse up to date."""

from typing import Annotated

import typer

from billing.errors import TallyError
from cli.console import fail, out, print_json
from cli.stack import bootstrap
from settings import load_settings

__all__ = ["migrate"]


def migrate(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> None:
    """Apply pending migrations to the ledger and the warehouse; running it again changes nothing."""
    settings = load_settings()
    settings.home.mkdir(parents=True, exist_ok=True)
    try:
        ledger = bootstrap.migrate_ledger(settings.resolved_ledger_url)
        warehouse = bootstrap.migrate_warehouse(
            settings.warehouse_url,
            settings.warehouse_user,
            settings.warehouse_password.get_secret_value(),
            settings.warehouse_database,
            settings.warehouse_cluster,
        )
    except TallyError as error:
        fail(error.detail, hint=error.hint)
    if as_json:
        print_json({"ledger": ledger, "warehouse": warehouse})
        return
    for part, applied in (("ledger", ledger), ("warehouse", warehouse)):
        out.print(f"{part}: {', '.join(applied) if applied else 'up to date'}")
