"""The route class of this API: exact bodies, and documentation that is derived from what a route really does."""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from api.auth import Needs
from api.bodies import ExactRequest, require_json
from api.schemas.problem import problems

__all__ = ["PathId", "TallyRoute", "router"]

PathId = Annotated[str, Path(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f]+$")]

_ALWAYS = (500, 503)
_WITH_KEY = (401, 403)
_WITH_INPUT = (422,)
_WITH_BODY = (400, 413, 415)


class TallyRoute(APIRoute):
    """Documents its scope and its errors by itself, so that the document cannot forget them."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        needed = _needed(self.dependant)
        statuses = {*_ALWAYS}
        if needed:
            statuses |= {*_WITH_KEY}
            scope = needed.scope
            self.description += f"\n\nScope: `{scope}`." if scope else "\n\nAny valid key."
            self.openapi_extra = {**(self.openapi_extra or {}), "x-required-scope": scope}
        if self.body_field or self.param_convertors or self.dependant.query_params or self.dependant.header_params:
            statuses |= {*_WITH_INPUT}
        if self.body_field:
            statuses |= {*_WITH_BODY}
        self.responses = {**problems(*sorted(statuses)), **self.responses}

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_exactly(request: Request) -> Response:
            if self.body_field:
                require_json(request)
            return await handle(ExactRequest(request.scope, request.receive))

        return handle_exactly


def _needed(dependant: Dependant) -> Needs | None:
    if isinstance(dependant.call, Needs):
        return dependant.call
    return next(filter(None, (_needed(inner) for inner in dependant.dependencies)), None)


def router(tag: str) -> APIRouter:
    """A router of this kind for one resource."""
    return APIRouter(tags=[tag], route_class=TallyRoute)
