"""`/api/client/health`: who answers here, and whether it can do its work."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from httpx import codes

from services.client.database import Database
from services.client.store import CLIENT_VERSION
from shared.contracts.client_protocol import HEALTH_PATH, Health, Unhealthy, registration_key_digest

_UNHEALTHY: Final[dict[int | str, dict[str, Any]]] = {
    503: {"model": Unhealthy, "description": "The database can't be used; `error` says why, and what to do."}
}


class HealthRoutes:
    """The registry asks this before it takes a registration, and whoever runs the client whether it is well."""

    def __init__(
        self,
        *,
        database: Database,
        user_id: str,
        client_url: str,
        clock: Callable[[], datetime],
        registration_key: str,
    ) -> None:
        self._database = database
        self._user_id = user_id
        self._client_url = client_url
        self._clock = clock
        self._registration_key_sha256 = registration_key_digest(registration_key)

    def router(self) -> APIRouter:
        """To be included by the app."""
        router = APIRouter()
        router.add_api_route(HEALTH_PATH, self.health, response_model=Health, responses=_UNHEALTHY)
        return router

    async def health(self) -> Response:
        """Who answers here.

        503 while the database can't be used: captures are neither taken nor given, and nobody should count on it.
        """
        trouble = self._database.trouble
        if trouble is None:
            return JSONResponse(self._says("healthy"))
        return JSONResponse(self._says("unhealthy") | {"error": trouble.sentence}, codes.SERVICE_UNAVAILABLE)

    def _says(self, status: str) -> dict[str, Any]:
        health = Health(
            status=status,
            client_id=self._user_id,
            client_url=self._client_url,
            timestamp=self._clock(),
            version=CLIENT_VERSION,
            registration_key_sha256=self._registration_key_sha256,
        )
        return health.model_dump(mode="json")
