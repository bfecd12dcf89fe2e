"""`tally reconcile`: our books against Stripe's, both ways."""

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from billing.errors import TallyError
from cli.access import find_access, scope_of, with_running_stack
from cli.console import fail, out, print_json
from pipelines.parts import tally_of
from pipelines.steps.reconcile_stripe import Reconciled, reconcile_stripe
from settings import load_settings

__all__ = ["reconcile"]


def reconcile(
    days: Annotated[int, typer.Option(min=1, max=3660, help="What was made in the last so many days.")] = 35,
    report_only: Annotated[bool, typer.Option("--report-only", help="Repair nothing, only say what differs.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Compare the environment of TALLY_API_KEY with Stripe, repair what is safe. Exit code 1 when anything is left."""
    settings = with_running_stack(load_settings())
    access = find_access(settings)
    now = datetime.now(UTC)
    parts = tally_of(settings)
    try:
        scope = scope_of(parts.ledger, access.key)
        since = now - timedelta(days=days)
        done = reconcile_stripe(parts.ledger, parts.gateways, scope, since, now, repair=not report_only)
    except TallyError as error:
        fail(error.detail, hint=error.hint)
    finally:
        parts.warehouse.close()
        parts.ledger.dispose()
    if as_json:
        print_json({"in_agreement": not done.left, **asdict(done)})
    else:
        _show(done)
    if done.left:
        raise typer.Exit(1)


def _show(done: Reconciled) -> None:
    out.print(
        f"compared {done.invoices} invoices, {done.credit_notes} credit notes, {done.refunds} refunds, "
        f"{done.customers} customers and {done.pages} open pages; {done.missed_events} events had never been delivered"
    )
    if not done.differences:
        out.print("both sides agree")
        return
    table = Table("", "what", "ours", "Stripe's", "here", "there", box=None, pad_edge=False)
    for each in done.differences:
        state = Text("repaired", style="green") if each.repaired else Text("left", style="red")
        table.add_row(
            state, *map(Text, (each.kind, each.entity_id or "-", each.provider_id or "-", each.ours, each.theirs))
        )
    out.print(table)
