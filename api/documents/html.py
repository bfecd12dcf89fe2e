"""An invoice as a page of its own: nothing is loaded from elsewhere, nothing in it runs, and it prints well."""

from functools import cache
from importlib.resources import files

from jinja2 import Environment, StrictUndefined, Template

from api.documents.invoice_view import InvoiceView

__all__ = ["HEADERS", "invoice_html"]

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'self'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "private, no-cache",
}


def invoice_html(view: InvoiceView) -> str:
    """The page; every text is escaped."""
    return _template().render(view=view)


@cache
def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    source = files("api.documents").joinpath("templates", "invoice.html").read_text(encoding="utf-8")
    return environment.from_string(source)
