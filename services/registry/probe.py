"""Asks a client whether it is there, and who it is, before it is registered."""

from __future__ import annotations

import structlog

from services.registry.errors import NoSocketError, RefusedError
from shared.contracts.client_answers import UnreadableTextError, read_health
from shared.contracts.client_protocol import HEALTH_PATH, registration_key_digest
from shared.contracts.messages import Reason
from shared.errors import OwnLackError
from shared.outbound.client_http import ClientCallError, ClientHttp

log = structlog.get_logger()


class ClientProbe:
    """Nobody is registered whose client does not answer for himself."""

    def __init__(self, *, http: ClientHttp) -> None:
        self._http = http

    async def check(self, client_url: str, *, user_id: str, registration_key: str | None = None) -> bool:
        """Return when the client at `client_url` is healthy and speaks for `user_id`; whether it knows that key.

        Only who made the key can have told that client its digest: so the caller is the client.

        Raises:
            NoSocketError: it could not be called, which is our own fault.
            RefusedError: it is not; the text says why, without the addresses that its name led to, and without any
                byte of what answered there.
        """
        try:
            async with self._http.get(f"{client_url}{HEALTH_PATH}") as body:
                health = read_health(body)
        except OwnLackError as error:
            raise NoSocketError from error
        except ClientCallError as error:
            log.info("client_not_registered", client_url=client_url, reason=error.reason, error=str(error))
            what = "is not called" if error.reason is Reason.FORBIDDEN_ADDRESS else f"did not answer {HEALTH_PATH}"
            message = f"The client at {client_url} {what}: {error.reason}: {error.sentence}."
            raise RefusedError(message) from error
        except UnreadableTextError as error:
            message = (
                f"The client at {client_url} answered {HEALTH_PATH} with something else than its health: it {error}."
            )
            raise RefusedError(message) from error
        if health.client_id is not None and health.client_id != user_id:
            message = f"The client at {client_url} answers for another user than {user_id!r}."
            raise RefusedError(message)
        shown = health.registration_key_sha256
        return registration_key is not None and shown == registration_key_digest(registration_key)
