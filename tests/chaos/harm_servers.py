"""Harm to RabbitMQ and Postgres."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from random import Random
from typing import Final

import asyncpg

from dev.database import INGEST_ROLE, REGISTRY_ROLE
from dev.servers.errors import DevError
from tests.chaos.insisting import AWAY, insist
from tests.chaos.plan import Fault, Kind
from tests.chaos.world import Work, World

_ROLES: Final = (REGISTRY_ROLE, INGEST_ROLE)
_CONNECT_S: Final = 5.0
_NO_MEMORY: Final = ("absolute", "1MB")
_USUAL_MEMORY: Final = "0.4"


class ServerHarm:
    """Stops, kills and starts the servers, and takes their memory and their connections."""

    def __init__(self, world: World) -> None:
        self._world = world

    def works(self) -> Mapping[Kind, Work]:
        """By the kind of fault."""
        return {
            Kind.STOP_BROKER: self._outage("rabbitmq", kill=False),
            Kind.KILL_BROKER: self._outage("rabbitmq", kill=True),
            Kind.LONG_BROKER: self._outage("rabbitmq", kill=False),
            Kind.BROKER_ALARM: self._alarm,
            Kind.STOP_POSTGRES: self._outage("postgres", kill=False),
            Kind.KILL_POSTGRES: self._outage("postgres", kill=True),
            Kind.LONG_POSTGRES: self._outage("postgres", kill=False),
            Kind.END_BACKENDS: self._end_backends,
            Kind.NO_SLOTS: self._take_slots,
        }

    async def heal(self) -> None:
        """Start what is down, and take the limits off.

        Raises:
            DevError: a server does not start.
        """
        await self._world.run("postgres", self._world.postgres.start)
        await self._world.run("rabbitmq", self._world.rabbitmq.start)
        for role in _ROLES:
            await self._limit_connections(role, -1)

    def _outage(self, name: str, *, kill: bool) -> Work:
        server = self._world.rabbitmq if name == "rabbitmq" else self._world.postgres

        async def outage(fault: Fault, _random: Random) -> str:
            await self._world.run(name, server.kill if kill else server.stop)
            await asyncio.sleep(fault.duration_s)
            await self._world.run(name, server.start)
            return name

        return outage

    async def _alarm(self, fault: Fault, _random: Random) -> str | None:
        """RabbitMQ takes nothing from whoever publishes."""
        try:
            await self._limit_memory(*_NO_MEMORY)
        except DevError:
            return None
        await asyncio.sleep(fault.duration_s)
        await insist(lambda: self._limit_memory(_USUAL_MEMORY))
        return "rabbitmq"

    async def _limit_memory(self, *limit: str) -> None:
        ctl = self._world.rabbitmq.rabbitmqctl
        await self._world.run("rabbitmq", lambda: ctl("set_vm_memory_high_watermark", *limit))

    async def _end_backends(self, _fault: Fault, random: Random) -> str:
        role = random.choice(_ROLES)
        await self._end_sessions(role)
        return role

    async def _take_slots(self, fault: Fault, random: Random) -> str:
        role = random.choice(_ROLES)
        await self._limit_connections(role, 0)
        with suppress(*AWAY):  # then its sessions are ended, too
            await self._end_sessions(role)
        await asyncio.sleep(fault.duration_s)
        await insist(lambda: self._limit_connections(role, -1))
        return role

    async def _limit_connections(self, role: str, most: int) -> None:
        await self._execute(f"ALTER ROLE {role} CONNECTION LIMIT {most}")

    async def _end_sessions(self, role: str) -> None:
        await self._execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'")

    async def _execute(self, statement: str) -> None:
        connection = await asyncpg.connect(self._world.database.admin_url, timeout=_CONNECT_S)
        try:
            await connection.execute(statement)
        finally:
            await connection.close(timeout=_CONNECT_S)
