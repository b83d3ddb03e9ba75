"""Reads `.sql` files in which each query has a name and a description."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import Final

_HEADER: Final = re.compile(r"^-- name: (?P<name>[a-z_]+)[ \t]*$", re.MULTILINE)


def load_queries(package: str, name: str = "queries.sql") -> dict[str, str]:
    """The queries in `name` inside `package`, by the word after `-- name:`. Comments stay in them.

    Raises:
        ValueError: two queries have the same name.
    """
    _, *parts = _HEADER.split(files(package).joinpath(name).read_text(encoding="utf-8"))
    names, texts = parts[0::2], parts[1::2]
    if len(set(names)) != len(names):
        message = f"{package}/{name} names a query twice: {sorted(names)}"
        raise ValueError(message)
    return {query: text.strip().rstrip(";") for query, text in zip(names, texts, strict=True)}
