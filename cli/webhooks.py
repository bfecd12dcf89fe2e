"""`tally webhooks`: what Stripe has told us and what became of it; events that were given up are tried again."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from billing.errors import TallyError
from billing.instant import format_instant
from billing.scope import Scope
from cli.access import find_access, scope_of
from cli.console import fail, out, print_json
from ledger.db import Ledger
from ledger.store import inbox
from ledger.store.inbox import InboxRecord
from pipelines.steps.replay_webhooks import replay as replay_events
from settings import load_settings

__all__ = ["app"]

app = typer.Typer(help="Events that Stripe has sent: list them, and try again what was given up.", no_args_is_help=True)

_STATES = ("open", "processed", "ignored", "failed")


@app.command("list")
def list_webhooks(
    state: Annotated[str | None, typer.Option(help="open, processed, ignored, or failed (given up).")] = None,
    event_type: Annotated[str | None, typer.Option("--type", help="Stripe's type, such as invoice.paid.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100, help="The last so many.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """List the events of the environment of TALLY_API_KEY, last received first, with their deliveries."""
    if state is not None and state not in _STATES:
        fail(f"--state {state}: use one of {', '.join(_STATES)}", code=2)
    ledger, scope = _open()
    try:
        with ledger.read() as session:
            found = inbox.list_events(session, scope, state=state, type=event_type, limit=limit).items
            listed = [(event, inbox.list_deliveries(session, scope, event.id)) for event in found]
    except TallyError as error:
        fail(error.detail, hint=error.hint)
    finally:
        ledger.dispose()
    if as_json:
        print_json({"items": [_shown(event, deliveries) for event, deliveries in listed]})
        return
    for event, deliveries in listed:
        times = f"delivered {len(deliveries)} times"
        words = (event.id, format_instant(event.received_at), event.type, event.state, times, event.last_error or "")
        out.print("  ".join(words).rstrip(), markup=False)


@app.command("replay")
def replay(
    ids: Annotated[list[str] | None, typer.Argument(help="whk_…, repeatable.")] = None,
    failed: Annotated[bool, typer.Option("--failed", help="All that were given up.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Work events off once more; the API does so within seconds, or else the sweep within a minute."""
    if bool(ids) == failed:
        fail("name the events, or say --failed", hint="`tally webhooks list --state failed` shows them.", code=2)
    ledger, scope = _open()
    try:
        count = replay_events(ledger, scope, ids or (), "command line", datetime.now(UTC))
    except TallyError as error:
        fail(error.detail, hint=error.hint)
    finally:
        ledger.dispose()
    if as_json:
        print_json({"replayed": count})
    else:
        out.print(f"{count} events will be worked off again")


def _open() -> tuple[Ledger, Scope]:
    settings = load_settings()
    access = find_access(settings)
    ledger = Ledger(settings.resolved_ledger_url)
    try:
        return ledger, scope_of(ledger, access.key)
    except TallyError as error:
        ledger.dispose()
        fail(error.detail, hint=error.hint)


def _shown(event: InboxRecord, deliveries: list[inbox.DeliveryRecord]) -> dict[str, object]:
    return {
        "id": event.id,
        "stripe_event_id": event.provider_event_id,
        "type": event.type,
        "created": format_instant(event.created),
        "received_at": format_instant(event.received_at),
        "state": event.state,
        "attempts": event.attempts,
        "last_error": event.last_error,
        "deliveries": [
            {"received_at": format_instant(each.received_at), "source": each.source, "fresh": each.fresh}
            for each in deliveries
        ],
    }
