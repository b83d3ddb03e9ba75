"""Lists come a page at a time, each with the address of the next one in its `Link` header (RFC 8288)."""

from __future__ import annotations

from typing import Annotated, Final
from urllib.parse import urlencode

from fastapi import Query, Request

LONGEST_ID: Final = 255

After = Annotated[str, Query(max_length=LONGEST_ID, description="Only what comes after this user id.")]


def page_after(request: Request, path: str, **parameters: object) -> str:
    """The address of a page; `path` must be quoted already, and parameters that are None are left out."""
    given = {name: value for name, value in parameters.items() if value is not None}
    return f"{request.scope.get('root_path', '')}{path}?{urlencode(given)}"


def link_to(following: str) -> str:
    """The value of `Link` that leads to the next page."""
    return f'<{following}>; rel="next"'
