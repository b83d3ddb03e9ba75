"""Lists come a page at a time, each with the address of the next one in its `Link` header (RFC 8288)."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import Query, Response
from starlette.datastructures import URL

LONGEST_ID: Final = 255

After = Annotated[str, Query(max_length=LONGEST_ID, description="Only what comes after this user id.")]


def link_next(url: URL, response: Response, **cursor: object) -> None:
    """Name the next page in the answer: the address `url`, with this cursor."""
    following = url.include_query_params(**cursor)
    response.headers["link"] = f'<{following.path}?{following.query}>; rel="next"'
