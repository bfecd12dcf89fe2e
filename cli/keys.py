"""`tally keys`: make, list and revoke API keys, and seal provider secrets with a new encryption key.

A new tenant or environment is made with its first key.
"""

from datetime import UTC, datetime
from typing import Annotated

import typer

from billing.errors import TallyError
from billing.scope import Scope
from cli.console import fail, out, print_json
from ledger.db import Ledger
from ledger.secretbox import SecretBox
from ledger.store import keys, tenants
from pipelines.steps.rotate_encryption import rotate_encryption
from settings import load_settings

__all__ = ["app"]

app = typer.Typer(help="API keys: each belongs to one tenant and environment and carries scopes.", no_args_is_help=True)


@app.command("create")
def create(
    tenant: Annotated[str, typer.Option(help="Name of the tenant; made where it is missing.")],
    environment: Annotated[
        str, typer.Option(help="Name of the environment; made where it is missing.")
    ] = "development",
    kind: Annotated[str, typer.Option(help="`test` or `live`, for a new environment.")] = "test",
    name: Annotated[str, typer.Option(help="What the key is for.")] = "command line",
    scope: Annotated[list[str] | None, typer.Option(help="A scope, repeatable; default: all.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Make a key and print it once; only its hash is kept."""
    unknown = sorted(set(scope or []) - set(keys.ALL_SCOPES))
    if unknown:
        fail(f"unknown scope {unknown[0]}", hint=f"Known scopes: {', '.join(sorted(keys.ALL_SCOPES))}", code=2)
    if kind not in {"test", "live"}:
        fail(f"--kind {kind}: use test or live", code=2)
    now = datetime.now(UTC)
    ledger = Ledger(load_settings().resolved_ledger_url)
    try:
        with ledger.begin() as session:
            owner = tenants.find_tenant(session, tenant) or tenants.create_tenant(session, tenant, now)
            known = {place.name: place for place in tenants.list_environments(session, owner.id)}
            place = known.get(environment) or tenants.create_environment(
                session, owner.id, environment, kind, "UTC", now
            )
            key, secret = keys.create_key(
                session, Scope(owner.id, place.id), name, sorted(scope or keys.ALL_SCOPES), now
            )
    except TallyError as error:
        fail(error.detail, hint=error.hint)
    finally:
        ledger.dispose()
    if as_json:
        print_json({"tenant_id": owner.id, "environment_id": place.id, "key_id": key.id, "api_key": secret})
    else:
        out.print(f"tenant       {owner.id}\nenvironment  {place.id}\nkey id       {key.id}\nAPI key      {secret}")
        out.print("Keep it now: it is not shown again.")


@app.command("list")
def list_keys(
    tenant_id: Annotated[str, typer.Option(help="tenant_…")],
    environment_id: Annotated[str, typer.Option(help="env_…")],
) -> None:
    """List the keys of an environment, without their secrets."""
    ledger = Ledger(load_settings().resolved_ledger_url)
    try:
        with ledger.begin() as session:
            for key in keys.list_keys(session, Scope(tenant_id, environment_id)):
                out.print(f"{key.id}  …{key.last4}  {key.name}  {' '.join(sorted(key.scopes))}")
    except TallyError as error:
        fail(error.detail, hint=error.hint)
    finally:
        ledger.dispose()


@app.command("revoke")
def revoke(
    key_id: str,
    tenant_id: Annotated[str, typer.Option(help="tenant_…")],
    environment_id: Annotated[str, typer.Option(help="env_…")],
) -> None:
    """Revoke a key; requests with it are refused from now on."""
    ledger = Ledger(load_settings().resolved_ledger_url)
    try:
        with ledger.begin() as session:
            keys.revoke_key(session, Scope(tenant_id, environment_id), key_id, datetime.now(UTC))
    except TallyError as error:
        fail(error.detail, hint=error.hint)
    finally:
        ledger.dispose()
    out.print(f"revoked {key_id}")


@app.command("rotate-encryption")
def rotate(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> None:
    """Seal all provider secrets with the first of TALLY_ENCRYPTION_KEYS; run again, it goes on where it stopped."""
    settings = load_settings()
    ring = settings.encryption_key_ring
    if not ring:
        fail("no encryption key is set", hint="Put the new key first: TALLY_ENCRYPTION_KEYS=new:…,old:…", code=2)
    ledger = Ledger(settings.resolved_ledger_url)
    try:
        done = rotate_encryption(ledger, SecretBox(ring, next(iter(ring))))
    except TallyError as error:
        fail(error.detail, hint=error.hint)
    finally:
        ledger.dispose()
    if as_json:
        unreadable = [{"connection_id": each, "reason": reason} for each, reason in done.unreadable]
        print_json({"key_id": next(iter(ring)), "resealed": done.resealed, "unreadable": unreadable})
    else:
        out.print(f"{done.resealed} connections sealed with key {next(iter(ring))}", markup=False)
    if done.unreadable:
        names = ", ".join(f"{each} ({reason})" for each, reason in done.unreadable)
        fail(f"not opened: {names}", hint="Add the key that is missing, or save the connection's secrets again.")
