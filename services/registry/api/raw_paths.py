"""Routes that read the path as it was sent, for ids that may hold a slash beside another part of the path.

Otherwise a path is decoded before a route looks at it: then `/clients/a%2Fpulls` can't be told from `/clients/a/pulls`.
"""

from __future__ import annotations

from urllib.parse import quote, unquote

from fastapi.routing import APIRoute
from starlette.routing import Match
from starlette.types import Scope


class RawPathRoute(APIRoute):
    """Matches before decoding, and decodes each parameter by itself."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether the request is for this route; with its parameters, for the guard as for the handler."""
        match, found = super().matches({**scope, "path": _raw_path(scope)})
        if match is not Match.NONE:
            found["path_params"] = {name: unquote(value) for name, value in found["path_params"].items()}
        return match, found


def _raw_path(scope: Scope) -> str:
    """Servers need not tell it; then a slash in an id is taken for one of the path."""
    raw = scope.get("raw_path")
    return quote(scope["path"]) if raw is None else raw.decode("latin-1")
