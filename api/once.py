"""`Idempotency-Key`: the same key with the same body gets the first answer again and does nothing a second time."""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, Any

from fastapi import Depends, Header, Request
from pydantic import BaseModel
from sqlalchemy.orm import Session
from starlette.responses import Response

from api.auth import Call, needs
from ledger.store import idempotency

__all__ = ["Once", "creates"]

REPLAYED = {"Idempotency-Replayed": "true"}

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="Makes a retry safe: the same key and body get the first answer again.",
    ),
]


@dataclass(frozen=True)
class Once:
    """A creating call, which happens once per key."""

    call: Call
    key: str | None
    route: str
    body_hash: str

    def create(self, make: Callable[[Session], BaseModel], status: int = 201) -> Response:
        """`make` and the memory of its answer, in one transaction: there is never one without the other."""

        def work(session: Session) -> Response:
            if replay := self._reserve(session):
                return replay
            body = make(session).model_dump_json()
            self._complete(session, status, body)
            return _json(status, body)

        return self.call.deps.ledger.run(work)

    def carry_out(self, do: Callable[[], BaseModel], status: int = 201) -> Response:
        """`do` has transactions of its own (it talks to a provider); a failure frees the key for another try."""
        ledger = self.call.deps.ledger
        if replay := ledger.run(self._reserve):
            return replay
        try:
            body = do().model_dump_json()
        except BaseException:
            ledger.run(self._release)
            raise
        ledger.run(lambda session: self._complete(session, status, body))
        return _json(status, body)

    def _reserve(self, session: Session) -> Response | None:
        if self.key is None:
            return None
        call = self.call
        stored = idempotency.reserve(session, call.scope, self.key, self.route, self.body_hash, call.now)
        return None if stored is None else _json(stored.status, stored.body, REPLAYED)

    def _complete(self, session: Session, status: int, body: str) -> None:
        if self.key is not None:
            idempotency.complete(session, self.call.scope, self.key, status, body)

    def _release(self, session: Session) -> None:
        if self.key is not None:
            idempotency.release(session, self.call.scope, self.key)


def creates(scope: str) -> Any:
    """`once: Annotated[Once, creates("catalog:write")]`: like `needs`, for a POST that creates."""

    async def dependency(
        request: Request, call: Annotated[Call, needs(scope)], idempotency_key: IdempotencyKey = None
    ) -> Once:
        route = f"{request.method} {request.url.path}"
        return Once(call, idempotency_key, route, sha256(await request.body()).hexdigest())

    return Depends(dependency)


def _json(status: int, body: str, headers: dict[str, str] | None = None) -> Response:
    return Response(body, status, headers, media_type="application/json")
