"""Ids for captures from elsewhere: two that differ never share one, and each gets the same at every import. No I/O."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from shared.contracts.client_protocol import ID_CHARS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Row = dict[str, "str | int | None"]

_CONTENT: Final = ("pokemon_id", "pokemon_name", "action", "removed", "timestamp", "metadata")
_DIGEST_CHARS: Final = 16


@dataclass(frozen=True, slots=True)
class Sorted:
    """What is to be inserted, and what got another id than it came with."""

    rows: list[Row]
    renamed: dict[str, str] = field(default_factory=dict)
    """New ids, by which the old one is found."""


def with_own_ids(rows: Iterable[Row], known: Iterable[Mapping[str, str | int | None]]) -> Sorted:
    """The rows, in their order, without those that are known or come twice.

    An id is its first capture's, a known one before all. Another capture under it gets an id that is made of its
    content, and is pending: under that id it is stored nowhere. Of the same twice, one pending, it is pending.
    """
    content = {str(each["capture_id"]): _content(each) for each in known}
    found: dict[str, Row] = {}
    renamed: dict[str, str] = {}
    for row in rows:
        old, own = str(row["capture_id"]), _content(row)
        new = old if content.setdefault(old, own) == own else _derived(old, own)
        if new != old:
            content[new], renamed[new] = own, old
            found[new] = {**row, "capture_id": new, "acknowledged_at": None}
        elif new in found:
            found[new]["acknowledged_at"] = found[new]["acknowledged_at"] and row["acknowledged_at"]
        else:
            found[new] = dict(row)
    return Sorted(list(found.values()), renamed)


def _content(row: Mapping[str, str | int | None]) -> str:
    """What makes a capture the one that it is, in one form."""
    values: dict[str, object] = {name: row[name] for name in _CONTENT}
    values["removed"] = bool(row["removed"])
    values["metadata"] = json.loads(str(row["metadata"]))
    return json.dumps(values, sort_keys=True)


def _derived(capture_id: str, content: str) -> str:
    ending = f"~{sha256(content.encode()).hexdigest()[:_DIGEST_CHARS]}"
    return capture_id[: ID_CHARS - len(ending)] + ending
