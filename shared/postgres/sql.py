"""Reads `.sql` files in which each query has a name and a description."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import Final

_HEADER: Final = re.compile(r"^-- name: (?P<name>[a-z_]+)[ \t]*$", re.MULTILINE)


def load_queries(package: str) -> dict[str, str]:
    """The queries of `package` by the word after `-- name:`, out of its `queries.sql` or of its folder `queries/`.

    Each begins with its name as a comment, which `pg_stat_activity` and traces show.

    Raises:
        ValueError: two queries have the same name.
    """
    root = files(package)
    folder = root / "queries"
    sources = sorted(folder.iterdir(), key=lambda file: file.name) if folder.is_dir() else [root / "queries.sql"]
    queries: dict[str, str] = {}
    for source in sources:
        _, *parts = _HEADER.split(source.read_text(encoding="utf-8"))
        for name, text in zip(parts[0::2], parts[1::2], strict=True):
            if name in queries:
                message = f"{package}/{source.name} names a query that there is already: {name}"
                raise ValueError(message)
            queries[name] = f"/* {name} */ {text.strip().rstrip(';')}"
    return queries
