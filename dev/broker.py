"""A virtual host with all queues and the services' users, on any RabbitMQ whose administrator we are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import httpx

from dev.definitions import DEFINITIONS, importable, users
from dev.servers.errors import DevError

REGISTRY_USER: Final = "pullsync_registry"
PULLER_USER: Final = "pullsync_puller"
INGEST_USER: Final = "pullsync_ingest"
MONITORING_USER: Final = "pullsync_monitoring"
_TIMEOUT_S: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """One virtual host, as the administrator and as each service sees it."""

    admin_url: str
    registry_url: str
    puller_url: str
    ingest_url: str

    @property
    def urls(self) -> dict[str, str]:
        """Those of the services, by their names."""
        return {"registry": self.registry_url, "puller": self.puller_url, "ingest": self.ingest_url}

    @classmethod
    def on(cls, server_url: str, vhost: str, *, password: str) -> Broker:
        """The virtual host on the server of `server_url`; all users of the services have that password."""
        path = "/" if vhost == "/" else f"/{quote(vhost, safe='')}"
        admin_url = urlunsplit(urlsplit(server_url)._replace(path=path))
        return cls(
            admin_url=admin_url,
            registry_url=_as_user(admin_url, REGISTRY_USER, password),
            puller_url=_as_user(admin_url, PULLER_USER, password),
            ingest_url=_as_user(admin_url, INGEST_USER, password),
        )


def monitoring_url(management_url: str, password: str) -> str:
    """The management API's URL with the login of the user who may look and nothing else."""
    return _as_user(management_url, MONITORING_USER, password)


async def create_broker(
    server_url: str, management_url: str, *, password: str, monitoring_password: str, vhost: str = "/"
) -> Broker:
    """Make the virtual host with all that `deploy/rabbitmq/definitions.json` says, and the users with these passwords.

    It may be repeated. Users are the whole server's: what they were given last is their password.

    Raises:
        DevError: the server is away, or refuses it.
    """
    passwords = {**dict.fromkeys(users(), password), MONITORING_USER: monitoring_password}
    try:
        await _import(server_url, management_url, vhost, importable(vhost=vhost, passwords=passwords))
    except httpx.HTTPError as error:
        message = f"RabbitMQ does not take {DEFINITIONS}: {error}"
        raise DevError(message) from error
    return Broker.on(server_url, vhost, password=password)


async def _import(server_url: str, management_url: str, vhost: str, definitions: dict[str, Any]) -> None:
    parts = urlsplit(server_url)
    auth = (unquote(parts.username or "guest"), unquote(parts.password or "guest"))
    async with httpx.AsyncClient(base_url=management_url, auth=auth, timeout=_TIMEOUT_S, trust_env=False) as management:
        # Made by itself, a virtual host gives its maker all rights.
        (await management.put(f"/api/vhosts/{quote(vhost, safe='')}")).raise_for_status()
        (await management.post("/api/definitions", json=definitions)).raise_for_status()


def _as_user(url: str, user: str, password: str) -> str:
    parts = urlsplit(url)
    address = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{user}:{quote(password, safe='')}@{address}"))
