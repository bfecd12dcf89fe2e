"""What the pages do with the books: each function is one transaction, keyed by an id that only a link gives away."""

from collections.abc import Callable, Mapping
from typing import Any

from integrations.stripe.sandbox import accounts, bound, card_form, checkout, render, store
from integrations.stripe.sandbox.context import Cause, Context
from integrations.stripe.sandbox.errors import Doc, StripeError, missing
from integrations.stripe.sandbox.resources import collection, lines, payments
from integrations.stripe.sandbox.service import Service


def visit(service: Service, kind: str, ident: str, act: Callable[[Context, Doc], Any]) -> Any:
    """Run `act` on the object. Effects that an error keeps are committed before it is raised; 404 for an unknown id."""
    kept: StripeError | None = None
    result: Any = None
    with service.store.transaction() as db:
        owner = store.owner(db, ident)
        account = accounts.load(db, owner, service.defaults) if owner else None
        if account is None:
            raise missing(kind, ident)
        ctx = bound.context(db, account, service.base_url, Cause(), [ident])
        try:
            result = act(ctx, ctx.load(kind, ident))
        except StripeError as error:
            if not error.kept:
                raise
            kept = error
    service.worker.wake()
    if kept is not None:
        raise kept
    return result


def session_page(ctx: Context, session: Doc) -> Doc:
    shown = render.show(ctx, session)
    customer = ctx.get(session["customer"])
    return {**shown, "items": session["_items"], "who": (customer or {}).get("name") or (customer or {}).get("email")}


def submit_session(form: Mapping[str, str]) -> Callable[[Context, Doc], str]:
    """Where the visitor goes next: to the success page, or to authenticate."""

    def act(ctx: Context, session: Doc) -> str:
        method = card_form.submitted(ctx, form)
        intent = checkout.submitted(ctx, session, method)
        if intent["status"] == "requires_action":
            return f"/authenticate/{intent['id']}"
        return _success(session)

    return act


def invoice_page(ctx: Context, invoice: Doc) -> Doc:
    if not invoice["status_transitions"]["finalized_at"]:
        raise missing("invoice", invoice["id"])
    return {**render.show(ctx, invoice), "rows": lines.of_invoice(ctx, invoice["id"])}


def submit_invoice(form: Mapping[str, str]) -> Callable[[Context, Doc], str]:
    def act(ctx: Context, invoice: Doc) -> str:
        collection.check_payable(invoice)
        method = card_form.submitted(ctx, form)
        intent = collection.attempted(ctx, invoice, method, off_session=False)
        return f"/authenticate/{intent['id']}" if intent["status"] == "requires_action" else f"/i/{invoice['id']}"

    return act


def waiting_intent(ctx: Context, intent: Doc) -> Doc:
    if intent["status"] != "requires_action":
        raise missing(intent["object"], intent["id"])
    return intent


def authenticate(outcome: str) -> Callable[[Context, Doc], str]:
    """The cardholder proves it, or fails to. Where to go next."""

    def act(ctx: Context, intent: Doc) -> str:
        waiting_intent(ctx, intent)
        method = ctx.load("payment_method", intent["payment_method"])
        if outcome != "complete":
            raise checkout.authentication_failed(ctx, intent, method)
        session = checkout.of_intent(ctx, intent)
        if session is not None:
            checkout.submitted(ctx, session, method, authenticated=True)
            return _success(session)
        payments.confirmed(ctx, intent, method, off_session=False, authenticated=True)
        return back(ctx, intent)

    return act


def back(ctx: Context, intent: Doc) -> str:
    """The page that sent the visitor to authenticate."""
    session = checkout.of_intent(ctx, intent)
    if session is not None:
        return f"/pay/c/{session['id']}"
    found = ctx.find("invoice_payment", ("payment.payment_intent", "eq", intent["id"]), limit=1)
    return f"/i/{found[0]['invoice']}" if found else "/"


def _success(session: Doc) -> str:
    return str(session["success_url"]).replace("{CHECKOUT_SESSION_ID}", session["id"])
