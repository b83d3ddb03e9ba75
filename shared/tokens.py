"""Bearer tokens: how they are compared, and those of clients, which are derived and nowhere stored by us."""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64encode
from collections.abc import Collection, Sequence
from hashlib import sha256
from typing import Final

PULL_PREFIX: Final = "pull_"
CLIENT_PREFIX: Final = "client_"
"""By them the tokens are told apart, by scanners for secrets too."""


def is_one_of(token: str, known: Collection[str]) -> bool:
    """Whether the token is one of these, in a time that tells nothing of them but their number."""
    given = sha256(token.encode(errors="replace")).digest()
    same = [hmac.compare_digest(given, sha256(one.encode()).digest()) for one in known]
    return any(same)


def is_sendable(token: str) -> bool:
    """Whether it can stand in a header as it is: printable ASCII without blanks."""
    return token.isascii() and token.isprintable() and " " not in token and token != ""


def bearer(authorization: Sequence[str]) -> str | None:
    """The token in the values of the header `Authorization`; None where there is none, or more than one."""
    if len(authorization) != 1:
        return None
    scheme, _, token = authorization[0].partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def authorization(token: str | None) -> dict[str, str]:
    """The header that shows this token; nothing for None."""
    return {"authorization": f"Bearer {token}"} if token else {}


class DerivedTokens:
    """Two tokens of each client: what pullers and ingests show to it, and what it shows to the registry.

    They differ, so that whoever answers at a client's old address, and is shown the one, can't speak for the client;
    and what is shown there holds for that address only, so that it does not open the client at its new one. Each is a
    MAC (HMAC-SHA256) over the user and the generation of the registration, by a key that registry, puller and ingest
    share. So a database that is stolen has none, and a client that is removed and registers again gets others.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        """By the first of `keys`, of which there is one at least; what clients show by the others is recognised."""
        self._keys = [key.encode() for key in keys]

    @classmethod
    def by(cls, keys: Sequence[str]) -> DerivedTokens | None:
        """Those by these keys; None, for no tokens at all, where there is none."""
        return cls(keys) if keys else None

    @property
    def fingerprint(self) -> str:
        """Tells whether two services make tokens by the same key, and nothing more of it."""
        return hmac.digest(self._keys[0], b"pullsync fingerprint", sha256).hex()[:16]

    def for_pulls(self, user_id: str, generation: int, client_url: str) -> str:
        """What a puller or an ingest shows to this client at this address."""
        return _token(PULL_PREFIX, self._keys[0], user_id, generation, client_url)

    def for_client(self, user_id: str, generation: int) -> str:
        """What this client shows to the registry."""
        return _token(CLIENT_PREFIX, self._keys[0], user_id, generation)

    def is_of_client(self, token: str, user_id: str, generation: int) -> bool:
        """Whether it is, or was before the last change of keys, what this client shows to the registry."""
        return is_one_of(token, [_token(CLIENT_PREFIX, key, user_id, generation) for key in self._keys])


def _token(prefix: str, key: bytes, user_id: str, generation: int, client_url: str = "") -> str:
    # No part but the last may hold a NUL, and no URL or id does.
    text = f"pullsync 2\0{prefix}\0{generation}\0{client_url}\0{user_id}".encode()
    return prefix + urlsafe_b64encode(hmac.digest(key, text, sha256)).decode().rstrip("=")
