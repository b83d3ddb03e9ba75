"""Asks a client for its health, as the registry does before it registers one, and by the same outbound policy."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from cli.doctor.facts import ClientProbe
from shared.contracts.client_answers import UnreadableTextError, read_health
from shared.contracts.client_protocol import HEALTH_PATH
from shared.contracts.messages import Reason
from shared.outbound.client_http import ClientCallError, ClientHttp
from shared.outbound.policy import USUAL_PORTS, OutboundPolicy
from shared.settings import CaFile, Networks, Ports, SettingsError, SourcedSettings, read_settings

_TIMEOUT_S: Final = 10.0
_BYTES: Final = 64 * 1024


class ProbeSettings(SourcedSettings):
    """Those of the services that decide which clients may be called; a bad one is told elsewhere."""

    pull_sync_networks: Networks = frozenset({"public", "private", "loopback"})
    pull_sync_ports: Ports = USUAL_PORTS
    pull_sync_ca_file: CaFile = None


def probe(client_url: str) -> ClientProbe:
    """What the client at this address says of its health, or why it does not."""
    try:
        settings = read_settings(ProbeSettings)
    except SettingsError:
        settings = ProbeSettings.model_construct()
    return asyncio.run(_ask(client_url.rstrip("/"), settings))


async def _ask(client_url: str, settings: ProbeSettings) -> ClientProbe:
    try:
        says = await _health(client_url, settings)
    except ClientCallError as error:
        return ClientProbe(client_url=client_url, says=None, reason=error.reason, error=str(error))
    except UnreadableTextError as error:
        error_text = f"it answers something else than its health: it {error}"
        return ClientProbe(client_url=client_url, says=None, reason=Reason.BAD_PAYLOAD, error=error_text)
    return ClientProbe(client_url=client_url, says=says)


async def _health(client_url: str, settings: ProbeSettings) -> dict[str, Any]:
    policy = OutboundPolicy(networks=settings.pull_sync_networks, ports=settings.pull_sync_ports)
    http = ClientHttp(policy=policy, timeout_s=_TIMEOUT_S, body_limit_bytes=_BYTES, ca_file=settings.pull_sync_ca_file)
    async with http, http.get(f"{client_url}{HEALTH_PATH}") as body:
        return read_health(body).model_dump(mode="json")
