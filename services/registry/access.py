"""Who may do what: the tokens of operators, services and clients, and what each opens. No I/O.

Without operators' tokens everybody is an operator, which is refused at start on any address but this machine's own,
unless it is asked for by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from enum import Enum, IntEnum, auto
from ipaddress import ip_address
from itertools import combinations
from typing import ClassVar, Final

import structlog

from services.registry.domain import Known, Terms
from services.registry.errors import RegistryError
from services.registry.settings import RegistrySettings
from shared.errors import StartupError
from shared.tokens import DerivedTokens, is_one_of

RETRY_WINDOW: Final = timedelta(minutes=2)
"""So long after it was told its tokens a client that never got the answer may ask again."""

log = structlog.get_logger()


class Scope(IntEnum):
    """What an operator's token opens; each scope has those before it."""

    READ = 1
    """Look at everything."""
    OPERATE = 2
    """Pull, pause, start, stop, replay."""
    ADMIN = 3
    """Remove clients, and have captures deleted."""


class Standing(Enum):
    """As what somebody registers a client."""

    OWNER = auto()
    """The client itself by its token, or an administrator: changes what is known, and is told the client's tokens."""
    OPERATOR = auto()
    """Changes what is known."""
    NEWCOMER = auto()
    """The same, and is told the tokens if the client at that address proves to be the caller."""
    STRANGER = auto()
    """Says what is known already: the client is due, and nothing changes."""


class UnauthenticatedError(RegistryError):
    """The request has no token, or one that is not known here."""

    status = 401
    headers: ClassVar = {"www-authenticate": "Bearer"}

    def __init__(self, needed: str) -> None:
        """For a request that needs `needed`."""
        super().__init__(f"This needs {needed}, in the header `Authorization: Bearer <token>`.")


class ForbiddenError(RegistryError):
    """The token is known, and does not open this."""

    status = 403


class Access:
    """The rules. A token is None where the request has none."""

    def __init__(self, settings: RegistrySettings) -> None:
        self._operators = [(Scope[scope.upper()], token) for scope, token in settings.operator_tokens]
        self._registration = settings.registration_tokens
        self._service = settings.service_tokens
        self.derived_tokens = DerivedTokens.by(settings.pull_token_keys)
        """None where clients get no token."""

    @property
    def key_fingerprint(self) -> str | None:
        """Of the key of clients' tokens; None where they have none."""
        return self.derived_tokens.fingerprint if self.derived_tokens else None

    @property
    def is_anonymous(self) -> bool:
        """Whether everybody is an operator."""
        return not self._operators

    def scope_of(self, token: str | None) -> Scope | None:
        """What an operator's token opens, and anybody's where everybody is an operator; None for any other token."""
        if self.is_anonymous:
            return Scope.ADMIN
        scope = self._scope_of(token)
        return Scope(scope) if scope else None

    def is_operator(self, token: str | None, scope: Scope) -> bool:
        """Whether who has this token may do what the scope says."""
        return self.is_anonymous or self._scope_of(token) >= scope

    def require_operator(self, token: str | None, scope: Scope) -> None:
        """Return for an operator who may do that.

        Raises:
            UnauthenticatedError: the token is none of an operator.
            ForbiddenError: it is, with a lower scope.
        """
        if self.is_operator(token, scope):
            return
        if self._scope_of(token):
            message = f"This needs an operator's token with the scope `{scope.name.lower()}`."
            raise ForbiddenError(message)
        needed = f"an operator's token with the scope `{scope.name.lower()}`"
        raise UnauthenticatedError(needed)

    def require_service(self, token: str | None) -> None:
        """Return for a service; for everybody where services have no token.

        Raises:
            UnauthenticatedError: it is none.
        """
        if self._service and not is_one_of(token or "", self._service):
            needed = "a service's token (SERVICE_TOKENS)"
            raise UnauthenticatedError(needed)

    def owns(self, token: str | None, user_id: str, generation: int) -> bool:
        """Whether it is what that user's client shows."""
        return bool(token and self.derived_tokens and self.derived_tokens.is_of_client(token, user_id, generation))

    def require_owner(self, token: str | None, scope: Scope, *, user_id: str, generation: int | None) -> None:
        """Return for the user's client, and for an operator who may do that; `generation` is None for an unknown user.

        Raises:
            UnauthenticatedError, ForbiddenError: it is neither. Of a user that is not known no more is told.
        """
        if generation is None or not self.owns(token, user_id, generation):
            self.require_operator(token, scope)

    def require_registration(self, token: str | None, user_id: str, client_url: str, known: Known | None) -> Standing:
        """As what he who may register that client now does so.

        A client that is known at that address may say so again, as deployed clients do at each start; its tokens are
        told for the first time, and for some minutes again, to whoever answers there, and then by its own token only.

        Raises:
            UnauthenticatedError, ForbiddenError: he may not.
        """
        if self.is_operator(token, Scope.OPERATE):
            return Standing.OWNER if self.is_operator(token, Scope.ADMIN) else Standing.OPERATOR
        if known is not None and self.owns(token, user_id, known.generation):
            return Standing.OWNER
        if self._registration and not is_one_of(token or "", self._registration):
            needed = "the registration token (REGISTRATION_TOKENS), or the client's own"
            raise UnauthenticatedError(needed)
        if known is None or self.derived_tokens is None:
            return Standing.NEWCOMER
        if known.client_url == client_url:
            is_new = known.since_told is None or timedelta(0) <= known.since_told <= RETRY_WINDOW
            return Standing.NEWCOMER if is_new else Standing.STRANGER
        message = (
            f"User {user_id!r} is registered already, at another address: to change it needs the client's own token "
            "(the `client_token` of its registration), or an operator."
        )
        raise ForbiddenError(message)

    def _scope_of(self, token: str | None) -> int:
        """The highest scope of an operator's token; 0 for any other."""
        return max((scope * is_one_of(token or "", [one]) for scope, one in self._operators), default=0)


def terms_of(standing: Standing, is_client: bool) -> Terms:  # noqa: FBT001 - what the client's health has shown
    """What a registration of that standing does; `is_client` tells whether the client proved to be the caller."""
    proved = standing is Standing.NEWCOMER and is_client
    return Terms(
        changes=standing is not Standing.STRANGER, tells=proved or standing is Standing.OWNER, tells_first=proved
    )


def require_guard(settings: RegistrySettings) -> None:
    """Return when it is guarded, or meant to be open; tell in one line when whoever reaches it is an operator.

    Raises:
        StartupError: it has tokens without others that they need, or none, and more than this machine can reach it.
    """
    needed = {"SERVICE_TOKENS": settings.service_tokens, "PULL_TOKEN_KEYS": settings.pull_token_keys}
    others = {**needed, "REGISTRATION_TOKENS": settings.registration_tokens}
    if settings.operator_tokens:
        _require_different({**others, "OPERATOR_TOKENS": [token for _, token in settings.operator_tokens]})
        if missing := [name for name, tokens in needed.items() if not tokens]:
            message = (
                f"OPERATOR_TOKENS are set, so set {' and '.join(missing)}, too: without, clients are not protected"
            )
            raise StartupError(message)
        return
    if useless := [name for name, tokens in others.items() if tokens]:
        message = (
            f"{' and '.join(useless)} protect nothing as long as everybody is an operator: set OPERATOR_TOKENS, too"
        )
        raise StartupError(message)
    if not _is_loopback(settings.registry_host) and not settings.registry_anonymous:
        message = (
            f"no OPERATOR_TOKENS are set, and others can reach {settings.registry_host}: set them (docs/security.md), "
            "let REGISTRY_HOST be 127.0.0.1, or allow everybody everything by REGISTRY_ANONYMOUS=true"
        )
        raise StartupError(message)
    log.warning("anonymous", host=settings.registry_host, meaning="whoever reaches this address is an operator")


def _require_different(secrets: Mapping[str, Iterable[str]]) -> None:
    """Who has one of them must not have another by that: every device has the registration token.

    Raises:
        StartupError: two settings share a secret.
    """
    for (one, tokens), (other, others) in combinations(secrets.items(), 2):
        if not set(tokens).isdisjoint(others):
            message = f"{one} and {other} have a secret in common: whoever has one of them has both; give each its own"
            raise StartupError(message)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
