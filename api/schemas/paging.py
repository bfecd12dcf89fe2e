"""What every list takes: `limit` and `cursor`, and the filters of its own."""

from typing import Annotated

from pydantic import Field

from api.schemas.common import Model

__all__ = ["Paging"]


class Paging(Model):
    limit: Annotated[int, Field(ge=1, le=100, description="Items on a page.")] = 20
    cursor: Annotated[str | None, Field(max_length=500, description="`next_cursor` of the page before.")] = None
