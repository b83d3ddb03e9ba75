"""The tokens of operators, as settings have them: each with its scope."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import NoDecode

from shared.settings import SHORTEST_TOKEN, is_good_token, what_is_good

SCOPES = ("read", "operate", "admin")
"""Each may do what those before it may."""


def _with_scopes(value: object) -> object:
    """`"read:a, admin:b"` as pairs."""
    if not isinstance(value, str):
        return value
    return tuple(part.partition(":")[::2] for part in value.replace(",", " ").split())


def _checked(pairs: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    if any(scope not in SCOPES or not is_good_token(token) for scope, token in pairs):
        message = (
            "each must be `read:<token>`, `operate:<token>` or `admin:<token>`, and the token must have "
            f"{what_is_good(SHORTEST_TOKEN)}"
        )
        raise ValueError(message)
    return pairs


OperatorTokens = Annotated[
    tuple[tuple[str, str], ...], NoDecode, BeforeValidator(_with_scopes), AfterValidator(_checked), Field(repr=False)
]
"""Scope and token of each."""
