"""Chance that can be repeated."""

from __future__ import annotations

from random import Random


def seeded(*parts: object) -> Random:
    """The same numbers for the same parts, on every machine; each purpose has parts of its own."""
    return Random("/".join(map(str, parts)))  # noqa: S311 - to be repeated, not to be secret
