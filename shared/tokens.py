"""Bearer tokens: how they are compared, and the pull tokens of clients, which are derived and nowhere stored."""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64encode
from collections.abc import Collection, Sequence
from hashlib import sha256
from typing import Final

PULL_TOKEN_PREFIX: Final = "pull_"  # noqa: S105 - no secret, but what one begins with
"""By it a pull token is told from others, by scanners for secrets too."""
_PURPOSE: Final = b"pullsync pull token 1"


def is_one_of(token: str, known: Collection[str]) -> bool:
    """Whether the token is one of these, in a time that tells nothing of them but their number."""
    given = sha256(token.encode(errors="replace")).digest()
    same = [hmac.compare_digest(given, sha256(one.encode()).digest()) for one in known]
    return any(same)


def bearer(authorization: Sequence[str]) -> str | None:
    """The token in the values of the header `Authorization`; None where there is none, or more than one."""
    if len(authorization) != 1:
        return None
    scheme, _, token = authorization[0].partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def authorization(token: str | None) -> dict[str, str]:
    """The header that shows this token; nothing for None."""
    return {"authorization": f"Bearer {token}"} if token else {}


class PullTokens:
    """A client's pull token proves to it that a puller or an ingest asks, and to the registry that the client does.

    It is a MAC (HMAC-SHA256) over the user and the generation of the client's registration, by a key that registry,
    puller and ingest share. So a database that is stolen has none, and a client that is removed and registers again
    gets another one.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        """By the first of `keys`, of which there is one at least; tokens by the others are still recognised."""
        self._keys = [key.encode() for key in keys]

    def token(self, user_id: str, generation: int) -> str:
        """The token of this client."""
        return _token(self._keys[0], user_id, generation)

    def belongs(self, token: str, user_id: str, generation: int) -> bool:
        """Whether it is, or was before the last change of keys, the token of this client."""
        return is_one_of(token, [_token(key, user_id, generation) for key in self._keys])


def _token(key: bytes, user_id: str, generation: int) -> str:
    text = b"\0".join((_PURPOSE, str(generation).encode(), user_id.encode()))
    mac = hmac.digest(key, text, sha256)
    return PULL_TOKEN_PREFIX + urlsafe_b64encode(mac).decode().rstrip("=")
