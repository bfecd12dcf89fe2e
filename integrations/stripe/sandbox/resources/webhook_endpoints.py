"""/v1/webhook_endpoints: who is told what. The secret is shown once, in the answer that creates the endpoint."""

from integrations.stripe.sandbox import pagination
from integrations.stripe.sandbox.context import Context, given_or_none, merge_metadata, new_id
from integrations.stripe.sandbox.errors import Doc, invalid, refused
from integrations.stripe.sandbox.loopback import is_loopback
from integrations.stripe.sandbox.parameters import document
from integrations.stripe.sandbox.routing import operation, retrieves

KIND = "webhook_endpoint"
PATH = "/v1/webhook_endpoints"
MOST = 16

retrieves(f"{PATH}/{{webhook_endpoint}}", KIND)


@operation(f"POST {PATH}", KIND, "url enabled_events api_version description metadata")
def create(ctx: Context, params: Doc) -> Doc:
    if params.get("api_version", document()["version"]) != document()["version"]:
        raise invalid(f"The sandbox sends events in version {document()['version']} only.", "api_version")
    if len(ctx.find(KIND)) >= MOST:
        raise refused(f"You have reached the maximum of {MOST} webhook endpoints.")
    endpoint: Doc = {
        "id": new_id("we"),
        "object": KIND,
        "api_version": params.get("api_version"),
        "application": None,
        "created": ctx.now,
        "description": None,
        "enabled_events": [],
        "livemode": ctx.account.livemode,
        "metadata": {},
        "status": "enabled",
        "url": "",
        "_secret": new_id("whsec", 32),
    }
    _apply(endpoint, params)
    ctx.add(endpoint)
    return {**endpoint, "secret": endpoint["_secret"]}


@operation(f"POST {PATH}/{{webhook_endpoint}}", KIND, "url enabled_events description metadata disabled")
def update(ctx: Context, params: Doc, ident: str) -> Doc:
    endpoint = ctx.load(KIND, ident)
    _apply(endpoint, params)
    if "disabled" in params:
        endpoint["status"] = "disabled" if params["disabled"] else "enabled"
    ctx.save(endpoint)
    return endpoint


@operation(f"DELETE {PATH}/{{webhook_endpoint}}", KIND)
def delete(ctx: Context, _params: Doc, ident: str) -> Doc:
    return ctx.remove(ctx.load(KIND, ident))


@operation(f"GET {PATH}", KIND)
def index(ctx: Context, params: Doc) -> Doc:
    return pagination.page(ctx, params, KIND, PATH)


def _apply(endpoint: Doc, params: Doc) -> None:
    if "url" in params:
        if not is_loopback(params["url"]):
            message = "Invalid URL: the sandbox delivers to http://127.0.0.1 and http://localhost only."
            raise invalid(message, "url", "url_invalid")
        endpoint["url"] = params["url"]
    if "enabled_events" in params:
        if not params["enabled_events"]:
            raise invalid("You must enable at least one event.", "enabled_events", "parameter_invalid_empty")
        endpoint["enabled_events"] = list(dict.fromkeys(params["enabled_events"]))
    if "description" in params:
        endpoint["description"] = given_or_none(params, "description")
    merge_metadata(endpoint, params.get("metadata"))
