"""Pages for people: checkout, authentication, hosted invoice, overview. Plain HTML forms, no JavaScript."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.concurrency import run_in_threadpool

from integrations.stripe.sandbox import money, overview, visitors
from integrations.stripe.sandbox.errors import Doc, StripeError
from integrations.stripe.sandbox.moments import day, moment
from integrations.stripe.sandbox.service import Service

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action *; base-uri 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
LONGEST_FORM = 10_000

templates = Environment(
    loader=PackageLoader("integrations.stripe.sandbox", "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
templates.filters.update(money=money.shown, moment=moment, day=day)


def router(service: Service) -> APIRouter:
    routes = APIRouter()
    ask = partial(_ask, service)

    @routes.get("/pay/c/{session_id}")
    async def checkout_page(session_id: str) -> Response:
        return await ask("checkout.session", session_id, visitors.session_page, "checkout.html")

    @routes.post("/pay/c/{session_id}")
    async def checkout_submit(session_id: str, request: Request) -> Response:
        form = await _form(request)
        tried = await _try(service, "checkout.session", session_id, visitors.submit_session(form))
        if isinstance(tried, Response):
            return tried
        return await ask("checkout.session", session_id, visitors.session_page, "checkout.html", tried)

    @routes.get("/i/{invoice_id}")
    async def invoice_page(invoice_id: str) -> Response:
        return await ask("invoice", invoice_id, visitors.invoice_page, "invoice.html")

    @routes.post("/i/{invoice_id}")
    async def invoice_submit(invoice_id: str, request: Request) -> Response:
        form = await _form(request)
        tried = await _try(service, "invoice", invoice_id, visitors.submit_invoice(form))
        if isinstance(tried, Response):
            return tried
        return await ask("invoice", invoice_id, visitors.invoice_page, "invoice.html", tried)

    @routes.get("/i/{invoice_id}/pdf")
    async def invoice_document(invoice_id: str) -> Response:
        return await ask("invoice", invoice_id, visitors.invoice_page, "invoice_document.html")

    @routes.get("/authenticate/{intent_id}")
    async def authenticate_page(intent_id: str) -> Response:
        return await ask(_kind(intent_id), intent_id, visitors.waiting_intent, "authenticate.html")

    @routes.post("/authenticate/{intent_id}")
    async def authenticate_submit(intent_id: str, request: Request) -> Response:
        outcome = (await _form(request)).get("outcome", "")
        tried = await _try(service, _kind(intent_id), intent_id, visitors.authenticate(outcome))
        if isinstance(tried, Response):
            return tried
        where = await run_in_threadpool(visitors.visit, service, _kind(intent_id), intent_id, visitors.back)
        return _page("failed.html", {"error": tried, "back": where}, tried.status)

    @routes.get("/")
    async def accounts_page() -> Response:
        found = await run_in_threadpool(overview.accounts_of, service)
        return _page("accounts.html", {"accounts": found})

    @routes.get("/favicon.ico")
    async def icon() -> Response:
        return Response(status_code=204)

    @routes.get("/a/{account_id}")
    async def account_page(account_id: str) -> Response:
        found = await run_in_threadpool(overview.account_of, service, account_id)
        return _page("overview.html", found) if found else _not_found()

    return routes


async def _ask(
    service: Service, kind: str, ident: str, act: Callable[..., Doc], template: str, error: StripeError | None = None
) -> Response:
    try:
        found = await run_in_threadpool(visitors.visit, service, kind, ident, act)
    except StripeError:
        return _not_found()
    return _page(template, {"it": found, "error": error}, error.status if error else 200)


async def _try(
    service: Service, kind: str, ident: str, act: Callable[..., str]
) -> RedirectResponse | HTMLResponse | StripeError:
    """Where to go after a submitted form, or why the visitor has to try again."""
    try:
        where = await run_in_threadpool(visitors.visit, service, kind, ident, act)
    except StripeError as error:
        return _not_found() if error.status == 404 else error
    return RedirectResponse(where, 303, headers=HEADERS)


async def _form(request: Request) -> Mapping[str, str]:
    body = await request.body()
    return dict(parse_qsl(body[:LONGEST_FORM].decode("utf-8", "replace"), keep_blank_values=True))


def _kind(intent_id: str) -> str:
    return "setup_intent" if intent_id.startswith("seti_") else "payment_intent"


def _page(template: str, values: Mapping[str, Any], status: int = 200) -> HTMLResponse:
    return HTMLResponse(templates.get_template(template).render(values), status, HEADERS)


def _not_found() -> HTMLResponse:
    return _page("not_found.html", {}, 404)
