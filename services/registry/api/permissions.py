"""What each operation needs, in one table; and the one dependency that holds every request to it.

An operation that is not in the table can't be served, so that none is forgotten.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum, unique
from typing import Final, TypeGuard

from fastapi import Request
from fastapi.routing import APIRoute

from services.registry.access import Access, Scope, UnauthenticatedError
from services.registry.api.rate_limits import Limits
from services.registry.clients import Clients, possible
from shared.tokens import CLIENT_PREFIX, bearer


@unique
class Need(StrEnum):
    """The token that an operation takes, in words for the API's document."""

    NOTHING = "none"
    READ = "an operator's, with the scope `read`"
    OPERATE = "an operator's, with the scope `operate`"
    ADMIN = "an operator's, with the scope `admin`"
    OWN_OR_READ = "the client's own, or an operator's with the scope `read`"
    OWN_OR_OPERATE = "the client's own, or an operator's with the scope `operate`"
    OWN_OR_ADMIN = "the client's own, or an operator's with the scope `admin`"
    SERVICE = "a service's"
    REGISTRATION = "for registration; for a user who is known at another address the client's own, or an operator's"
    """As `Access.require_registration` has it, which the route asks: it takes the body to know."""


NEEDS: Final[Mapping[str, Need]] = {
    "clients_register": Need.REGISTRATION,
    "clients_unregister": Need.OWN_OR_ADMIN,
    "clients_list": Need.READ,
    "clients_get": Need.OWN_OR_READ,
    "clients_change": Need.OPERATE,
    "clients_nudge": Need.OWN_OR_OPERATE,
    "clients_pulls": Need.OWN_OR_READ,
    "captures_where": Need.OWN_OR_READ,
    "status": Need.READ,
    "status_minutes": Need.READ,
    "sync_all": Need.OPERATE,
    "sync_recent": Need.OPERATE,
    "sync_in_background": Need.OPERATE,
    "sync_complete_state": Need.OPERATE,
    "runs": Need.READ,
    "runs_run": Need.READ,
    "runs_clients": Need.READ,
    "runs_events": Need.READ,
    "runs_cancel": Need.OPERATE,
    "scheduler_status": Need.READ,
    "scheduler_start": Need.OPERATE,
    "scheduler_stop": Need.OPERATE,
    "scheduler_set_interval": Need.OPERATE,
    "scheduler_cleanup_inactive": Need.ADMIN,
    "pullers_claim": Need.SERVICE,
    "pullers_heartbeat": Need.SERVICE,
    "ranking": Need.READ,
    "ranking_stats": Need.READ,
    "ranking_users": Need.READ,
    "ranking_user": Need.READ,
    "ranking_for_client": Need.OWN_OR_READ,
    "quarantine_list": Need.READ,
    "quarantine_get": Need.READ,
    "quarantine_replay": Need.OPERATE,
    "quarantine_replay_one": Need.OPERATE,
    "dead_letters_list_queues": Need.READ,
    "dead_letters_list_oldest": Need.READ,
    "dead_letters_get": Need.READ,
    "dead_letters_replay_one": Need.OPERATE,
    "dead_letters_replay_all": Need.OPERATE,
    "live_queues": Need.READ,
    "live_events": Need.READ,
    "system_welcome": Need.NOTHING,
    "system_live": Need.NOTHING,
    "system_alive": Need.NOTHING,
    "system_ready": Need.NOTHING,
    "system_access": Need.READ,
    "system_metrics": Need.READ,
    "system_database_status": Need.READ,
    "system_diagnosis": Need.READ,
}
"""By the operation's id. To have captures deleted by `sync_complete_state` takes ADMIN, which the route asks for."""

_OF_OPERATORS: Final = {Need.READ: Scope.READ, Need.OPERATE: Scope.OPERATE, Need.ADMIN: Scope.ADMIN}
OF_OWN: Final = {
    Need.OWN_OR_READ: Scope.READ,
    Need.OWN_OR_OPERATE: Scope.OPERATE,
    Need.OWN_OR_ADMIN: Scope.ADMIN,
}
"""What an operator needs for that of which the client's own token is enough."""


def operation_id(route: APIRoute) -> str:
    """`clients_register`: the tag and the method's name, and not the tag twice. Generated clients are named by it."""
    tag = str(route.tags[0]).replace(" ", "_") if route.tags else "registry"
    return route.name if f"{route.name}_".startswith(f"{tag}_") else f"{tag}_{route.name}"


class Guard:
    """Holds a request to what its operation needs."""

    def __init__(self, *, access: Access, clients: Clients, limits: Limits) -> None:
        self._access = access
        self._clients = clients
        self._limits = limits

    async def check(self, request: Request) -> None:
        """Return when the request may be served.

        Raises:
            UnauthenticatedError, ForbiddenError: it may not.
            TooManyRequestsError: too many wrong tokens came from its address, and the database is not asked for more.
        """
        need = NEEDS[operation_id(request.scope["route"])]
        token = bearer(request.headers.getlist("authorization"))
        if need in OF_OWN:
            await self._check_owner(request, token, OF_OWN[need])
        elif need in _OF_OPERATORS:
            self._access.require_operator(token, _OF_OPERATORS[need])
        elif need is Need.SERVICE:
            self._access.require_service(token)
        elif need is Need.REGISTRATION:
            await self._check_newcomer(request, token)

    async def _check_newcomer(self, request: Request, token: str | None) -> None:
        """What can be told without the database, which the route asks for the rest."""
        try:
            self._access.require_registration(token, "", "", None)
        except UnauthenticatedError:
            if not _is_clients(token):
                raise
            await self._limits.require_trust(request.scope, token)

    async def _check_owner(self, request: Request, token: str | None, scope: Scope) -> None:
        if self._access.is_operator(token, scope):
            return
        user_id: str = request.path_params["user_id"]
        if not _is_clients(token):
            self._access.require_owner(token, scope, user_id=user_id, generation=None)
            return
        await self._limits.require_trust(request.scope, token)
        known = await self._clients.known(possible(user_id))
        try:
            self._access.require_owner(token, scope, user_id=user_id, generation=known.generation if known else None)
        except UnauthenticatedError:
            await self._limits.count_wrong(request.scope)
            raise
        self._limits.remember(token)


def _is_clients(token: str | None) -> TypeGuard[str]:
    """Whether it looks like one of a client's own."""
    return token is not None and token.startswith(CLIENT_PREFIX)
