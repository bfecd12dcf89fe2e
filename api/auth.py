"""Who calls: an API key in `X-API-Key` or as a bearer token, and the one scope that a route asks for."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from api.deps import Deps
from api.middleware import CALLER
from billing.errors import NotAllowed, NotAuthenticated
from billing.scope import Scope
from ledger.store.keys import KeyRecord

__all__ = ["Call", "Needs", "authenticate", "needs", "secret_of"]

API_KEY = APIKeyHeader(name="X-API-Key", scheme_name="ApiKey", auto_error=False, description="A key of `tally keys`.")
BEARER = HTTPBearer(scheme_name="Bearer", auto_error=False, description="The same key as a bearer token.")


@dataclass(frozen=True)
class Call:
    """One authenticated request: whose it is, when it came, and what to work with."""

    deps: Deps
    caller: KeyRecord
    now: datetime

    @property
    def scope(self) -> Scope:
        return self.caller.scope


async def authenticate(request: Request, secret: str | None, scope: str | None) -> Call:
    """The call behind a secret. NotAuthenticated without a valid key, NotAllowed when it lacks `scope`."""
    deps: Deps = request.app.state.deps
    if not secret:
        raise NotAuthenticated(
            "api_key_missing",
            "This request carries no API key.",
            hint="Send it in X-API-Key, or as Authorization: Bearer. `tally keys` makes one.",
        )
    now = deps.clock()
    caller = deps.callers.cached(secret, now)
    if caller is None:
        caller = await deps.callers.looked_up(secret, now)
    request.scope[CALLER] = caller.id
    if scope is not None and scope not in caller.scopes:
        raise NotAllowed(
            "scope_missing",
            f"This key lacks the scope {scope}.",
            hint=f"Make a key with the scope {scope}: tally keys create --scopes {scope}",
        )
    return Call(deps, caller, now)


def secret_of(request: Request) -> str | None:
    """The key that a request carries, in either place."""
    key = request.headers.get("x-api-key")
    if key:
        return key
    scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
    return bearer.strip() if scheme.lower() == "bearer" else None


class Needs:
    """Dependency: a call whose key carries `scope`. The route's documentation names it from here."""

    def __init__(self, scope: str | None) -> None:
        self.scope = scope

    async def __call__(
        self,
        request: Request,
        _key: Annotated[str | None, Security(API_KEY)],
        _bearer: Annotated[HTTPAuthorizationCredentials | None, Security(BEARER)],
    ) -> Call:
        # The two parameters are there for the document.
        return await authenticate(request, secret_of(request), self.scope)


def needs(scope: str | None) -> Any:
    """`call: Annotated[Call, needs("catalog:read")]`; None asks for a valid key only."""
    return Depends(Needs(scope))
