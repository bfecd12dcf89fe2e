"""`tally override`: a named person lets an invoice pass a gate that has refused it."""

from typing import Annotated

import httpx
import typer

from cli.access import find_access
from cli.console import fail, out, print_json
from settings import load_settings

__all__ = ["override"]

_TIMEOUT_SECONDS = 30.0


def override(
    invoice: Annotated[str, typer.Option("--invoice", help="inv_…")],
    gate: Annotated[str, typer.Option("--gate", help="The gate that holds it, such as quantities_as_expected.")],
    person: Annotated[str, typer.Option("--person", help="Who decides this: a person's name.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; kept in the audit log.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Bill an invoice although a gate has refused it. Only for exactly what the gate has found, and audited."""
    access = find_access(load_settings())
    with httpx.Client(base_url=access.api, headers={"X-API-Key": access.key}, timeout=_TIMEOUT_SECONDS) as api:
        try:
            answer = api.post(
                f"/api/v1/invoices/{invoice}/gates/{gate}/override", json={"person": person, "reason": reason}
            )
            said = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            fail(f"the API does not answer at {access.api}: {error}", hint="Start it with `tally up`.")
    if answer.is_error:
        where = f"{said['field']}: " if said.get("field") else ""
        fail(f"{where}{said['detail']}", hint=said.get("hint"))
    if as_json:
        print_json(said)
    else:
        out.print(f"{gate} no longer holds {invoice}; bill its day again, or finalize it", markup=False)
