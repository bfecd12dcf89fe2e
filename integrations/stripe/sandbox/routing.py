"""The table of operations that the sandbox serves, filled by the decorators in `resources/`."""

from collections.abc import Callable
from dataclasses import dataclass

from integrations.stripe.sandbox.context import Context
from integrations.stripe.sandbox.errors import Doc

Handler = Callable[..., Doc]
"""(ctx, params, *path ids) -> the stored object, a list envelope, or a deleted stub."""


@dataclass(frozen=True)
class Operation:
    method: str
    template: str
    kind: str
    served: tuple[str, ...]
    handler: Handler

    @property
    def name(self) -> str:
        return f"{self.method} {self.template}"


OPERATIONS: dict[str, Operation] = {}


def operation(name: str, kind: str, served: str = "") -> Callable[[Handler], Handler]:
    """Registers "POST /v1/invoices" as answering with objects of `kind`; `served` lists the parameters acted on."""

    def register(handler: Handler) -> Handler:
        method, template = name.split(" ")
        OPERATIONS[name] = Operation(method, template, kind, tuple(served.split()), handler)
        return handler

    return register


def retrieves(template: str, kind: str, *, deleted: bool = False) -> None:
    """`GET /v1/things/{id}` without rules of its own. A customer that was `deleted` is still shown, as deleted."""

    @operation(f"GET {template}", kind)
    def retrieve(ctx: Context, params: Doc, object_id: str) -> Doc:
        return ctx.load(kind, object_id, deleted=deleted)
