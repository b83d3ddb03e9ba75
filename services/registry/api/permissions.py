"""What each operation needs, in one table; and the one dependency that holds every request to it.

An operation that is not in the table is refused, so that none can be forgotten.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from typing import Final

from fastapi import Request

from services.registry.access import Access, Scope
from services.registry.clients import Clients, possible
from shared.tokens import bearer


class Need(Enum):
    """Who may ask for an operation."""

    NOTHING = auto()
    """Everybody."""
    READ = Scope.READ
    OPERATE = Scope.OPERATE
    ADMIN = Scope.ADMIN
    OWN_OR_READ = auto()
    """The client that it is about, or an operator who may read."""
    OWN_OR_OPERATE = auto()
    OWN_OR_ADMIN = auto()
    SERVICE = auto()
    REGISTRATION = auto()
    """As `Access.require_registration` has it, which the route asks: it takes the body to know."""


NEEDS: Final[Mapping[str, Need]] = {
    "clients_register": Need.REGISTRATION,
    "clients_unregister": Need.OWN_OR_ADMIN,
    "clients_list": Need.READ,
    "clients_get": Need.OWN_OR_READ,
    "clients_change": Need.OPERATE,
    "clients_nudge": Need.OWN_OR_OPERATE,
    "status": Need.READ,
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
    "ranking": Need.READ,
    "ranking_stats": Need.READ,
    "ranking_users": Need.READ,
    "ranking_user": Need.READ,
    "quarantine_list": Need.READ,
    "quarantine_get": Need.READ,
    "quarantine_replay": Need.OPERATE,
    "quarantine_replay_one": Need.OPERATE,
    "dead_letters_list_queues": Need.READ,
    "dead_letters_list_oldest": Need.READ,
    "dead_letters_get": Need.READ,
    "dead_letters_replay_one": Need.OPERATE,
    "dead_letters_replay_all": Need.OPERATE,
    "system_welcome": Need.NOTHING,
    "system_live": Need.NOTHING,
    "system_alive": Need.NOTHING,
    "system_ready": Need.NOTHING,
    "system_database_status": Need.READ,
}
"""By the operation's id. To have captures deleted by `sync_complete_state` takes ADMIN, which the route asks for."""

WORDS: Final[Mapping[Need, str]] = {
    Need.READ: "an operator's, with the scope `read`",
    Need.OPERATE: "an operator's, with the scope `operate`",
    Need.ADMIN: "an operator's, with the scope `admin`",
    Need.OWN_OR_READ: "the client's own, or an operator's with the scope `read`",
    Need.OWN_OR_OPERATE: "the client's own, or an operator's with the scope `operate`",
    Need.OWN_OR_ADMIN: "the client's own, or an operator's with the scope `admin`",
    Need.SERVICE: "a service's",
    Need.REGISTRATION: "for registration; the client's own or an operator's (`operate`) for a user who is known",
}
"""For the API's document."""

_OF_OWN: Final = {
    Need.OWN_OR_READ: Scope.READ,
    Need.OWN_OR_OPERATE: Scope.OPERATE,
    Need.OWN_OR_ADMIN: Scope.ADMIN,
}


class Guard:
    """Holds a request to what its operation needs."""

    def __init__(self, *, access: Access, clients: Clients) -> None:
        self._access = access
        self._clients = clients

    async def check(self, request: Request) -> None:
        """Return when the request may be served.

        Raises:
            UnauthenticatedError, ForbiddenError: it may not.
        """
        need = NEEDS[request.scope["route"].unique_id]
        token = bearer(request.headers.getlist("authorization"))
        if need in _OF_OWN:
            await self._check_owner(token, _OF_OWN[need], request.path_params["user_id"])
        elif isinstance(need.value, Scope):
            self._access.require_operator(token, need.value)
        elif need is Need.SERVICE:
            self._access.require_service(token)

    async def _check_owner(self, token: str | None, scope: Scope, user_id: str) -> None:
        if self._access.is_operator(token, scope):
            return
        known = await self._clients.known(possible(user_id))
        generation = known.generation if known else None
        self._access.require_owner(token, scope, user_id=user_id, generation=generation)
