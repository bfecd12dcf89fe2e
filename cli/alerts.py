"""`tally alerts`: what is wrong with the pipeline, or was, and whether the address for alerts takes them."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from billing.errors import TallyError
from billing.instant import format_instant
from cli.console import fail, out, print_json
from ledger.db import Ledger
from ledger.store import alerts
from ledger.store.alerts import AlertRecord
from pipelines.parts import tally_of
from pipelines.steps.send_alerts import send_trial
from settings import load_settings

__all__ = ["app"]

app = typer.Typer(help="What is wrong with the pipeline, and who is told.", no_args_is_help=True)


@app.command("list")
def list_alerts(
    ended: Annotated[bool, typer.Option("--all", help="Those that have ended as well.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="The last so many.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """List the alerts that stand, over all environments."""
    ledger = Ledger(load_settings().resolved_ledger_url)
    try:
        with ledger.read() as session:
            found = alerts.newest(session, limit) if ended else alerts.standing(session)[-limit:]
            waiting = {state: count for state, (count, _) in alerts.unsent(session).items()}
    except TallyError as error:
        fail(error.detail, hint=error.hint)
    finally:
        ledger.dispose()
    if as_json:
        print_json({"items": [_shown(alert) for alert in found], "messages": waiting})
        return
    for alert in found:
        until = f"until {format_instant(alert.resolved_at)}" if alert.resolved_at else ""
        out.print(f"{alert.id}  {format_instant(alert.opened_at)}  {alert.summary}  {until}".rstrip(), markup=False)
    if not found:
        out.print("nothing is wrong")
    if "failed" in waiting:
        out.print(f"{waiting['failed']} messages were given up; `tally alerts resend` sends them again", markup=False)


@app.command("test")
def test() -> None:
    """Send one message of the kind `alert.test` to TALLY_ALERT_URL, signed like the others."""
    parts = tally_of(load_settings())
    parts.ledger.dispose()
    if parts.send_alert is None:
        fail("no address for alerts", hint="Set TALLY_ALERT_URL and TALLY_ALERT_SECRETS.", code=2)
    try:
        message_id = send_trial(parts.send_alert, parts.clock())
    except TallyError as error:
        fail(error.detail, hint="Look at the receiver's log; nothing is tried again.")
    out.print(f"{message_id} was taken", markup=False)


@app.command("resend")
def resend() -> None:
    """Make the messages that were given up due again; the pipeline sends them within a minute."""
    ledger = Ledger(load_settings().resolved_ledger_url)
    try:
        with ledger.begin() as session:
            count = alerts.reopen_failed(session, datetime.now(UTC))
    except TallyError as error:
        fail(error.detail, hint=error.hint)
    finally:
        ledger.dispose()
    out.print(f"{count} messages will be sent again")


def _shown(alert: AlertRecord) -> dict[str, object]:
    return {
        **vars(alert),
        "opened_at": format_instant(alert.opened_at),
        "resolved_at": None if alert.resolved_at is None else format_instant(alert.resolved_at),
    }
