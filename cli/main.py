"""Puts the commands together. Exit codes: 0 done, 1 failed or not proven, 2 called wrongly; an import
that is done but for rows that were refused ends with 3.
"""

import typer

from cli import (
    alerts,
    bench,
    bill,
    demo_command,
    doctor,
    export_command,
    import_command,
    keys,
    migrate,
    override,
    reconcile,
    rerate,
    stack_commands,
    stripe_sandbox,
    webhooks,
)

app = typer.Typer(
    name="tally",
    help="Usage metering and billing: raw events to invoices that are exact, explainable and paid.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    add_completion=False,
)
app.command("up")(stack_commands.up)
app.command("status")(stack_commands.status)
app.command("down")(stack_commands.down)
app.command("demo")(demo_command.demo)
app.command("migrate")(migrate.migrate)
app.command("import")(import_command.import_files)
app.command("export")(export_command.export_events)
app.command("backfill")(bill.backfill)
app.command("bill")(bill.bill)
app.command("override")(override.override)
app.command("rerate")(rerate.rerate_command)
app.command("reconcile")(reconcile.reconcile)
app.command("doctor")(doctor.doctor)
app.command("stripe-sandbox")(stripe_sandbox.stripe_sandbox)
app.add_typer(alerts.app, name="alerts")
app.add_typer(keys.app, name="keys")
app.add_typer(webhooks.app, name="webhooks")
app.add_typer(bench.app, name="bench")


if __name__ == "__main__":
    app()
