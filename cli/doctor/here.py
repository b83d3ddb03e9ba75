"""Looks at the servers themselves, where this environment has the settings that the services have."""

from __future__ import annotations

import asyncio
import time
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit, urlunsplit

import asyncpg
import httpx

import services
from cli.doctor.facts import Here, Look
from cli.doctor.remedies import LOOPBACK
from cli.settings import CliSettings
from services.ingest.settings import IngestSettings
from services.puller.settings import PullerSettings
from services.registry.operator_tokens import SCOPES
from services.registry.settings import RegistrySettings
from shared import tls
from shared.settings import ServiceSettings, SettingsError, read_settings

_SERVICES: Final[tuple[type[ServiceSettings], ...]] = (RegistrySettings, IngestSettings, PullerSettings)
_WATCHED: Final = {"puller": 8001, "ingest": 8002}
"""With their usual ports; the registry is asked by itself."""
_LOOPBACK: Final = "127.0.0.1"
_ANSWER_S: Final = 5.0
_SCHEMAS: Final = (("registry", "registry"), ("captures", "ingest"))
"""Each with the service that owns it."""
_REVISION: Final = {
    "registry": "SELECT max(version_num) FROM registry.alembic_version",
    "captures": "SELECT max(version_num) FROM captures.alembic_version",
}
_READABLE: Final = """
    SELECT EXISTS (
        SELECT FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
        WHERE nspname = $1 AND relname = 'alembic_version' AND has_table_privilege(pg_class.oid, 'SELECT')
            AND has_schema_privilege(pg_namespace.oid, 'USAGE')
    )
"""
_UNREACHABLE: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, ValueError)


def look(settings: CliSettings) -> Here:
    """What is set here, and what it leads to; never raises for what is found."""
    problems, found = _services()
    return asyncio.run(_look(problems, found, settings))


def token_of_the_registry(url: str) -> str | None:
    """The one with the fewest rights of OPERATOR_TOKENS, where the registry at `url` is the one that is set up here.

    So in its container nobody has to bring one: whoever may run a program there may read its settings.
    """
    parts = urlsplit(url)
    try:
        registry = read_settings(RegistrySettings)
    except SettingsError:
        return None  # `look` tells
    if parts.hostname not in LOOPBACK or parts.port != registry.registry_port:
        return None
    tokens = dict(reversed(registry.operator_tokens))
    return next((tokens[scope] for scope in SCOPES if scope in tokens), None)


def _services() -> tuple[tuple[str, ...], dict[str, Any]]:
    """What the services would refuse, each once; and what is set for any of them, by name."""
    problems: dict[str, None] = {}
    found: dict[str, Any] = {}
    for kind in _SERVICES:
        try:
            settings = read_settings(kind)
        except SettingsError as error:
            problems |= dict.fromkeys(error.problems)
        else:
            found |= {name: getattr(settings, name) for name in settings.model_fields_set}
    return tuple(problems), found


async def _look(problems: tuple[str, ...], found: dict[str, Any], settings: CliSettings) -> Here:
    ca_file, management_url = settings.tls_ca_file, settings.rabbitmq_management_url
    return Here(
        settings_problems=problems,
        database=await _database(found["database_url"], ca_file) if "database_url" in found else None,
        broker=await _broker(found["rabbitmq_url"], ca_file) if "rabbitmq_url" in found else None,
        management=await _management(management_url, ca_file) if management_url else None,
        services={name: await _readiness(name, found) for name in _WATCHED if found.keys() & _listens(name)},
    )


def _listens(name: str) -> set[str]:
    return {f"{name}_host", f"{name}_port"}


def _reachable(host: str) -> str:
    """Where a service answers that listens there: one in a container listens on every address."""
    try:
        return _LOOPBACK if ip_address(host).is_unspecified else host
    except ValueError:  # a name
        return host


async def _readiness(name: str, found: dict[str, Any]) -> Look:
    """What a service of this machine, or container, says of itself."""
    host = found.get(f"{name}_host", _LOOPBACK)
    port = found.get(f"{name}_port", _WATCHED[name])
    url = f"http://{_reachable(host)}:{port}/health/ready"
    try:
        async with httpx.AsyncClient(timeout=_ANSWER_S, trust_env=False) as http:
            checks = (await http.get(url)).json()["checks"]
        return Look(answer={str(check): bool(holds) for check, holds in checks.items()})
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, LookupError, TypeError, AttributeError) as error:
        return Look(error=f"{url} does not tell it: {_said(error)}.")


async def _database(url: str, ca_file: Path | None) -> Look:
    begun = time.monotonic()
    try:
        async with asyncio.timeout(2 * _ANSWER_S):
            connection = await asyncpg.connect(url, timeout=_ANSWER_S, ssl=tls.for_postgres(url, ca_file))
            try:
                version = await connection.fetchval("SHOW server_version")
                took_s = time.monotonic() - begun
                is_read_only = await connection.fetchval("SELECT current_setting('transaction_read_only')::boolean")
                schemas = [found for schema in _SCHEMAS if (found := await _schema(connection, *schema))]
            finally:
                connection.terminate()
    except _UNREACHABLE as error:
        return Look(error=f"PostgreSQL at {_without_login(url)}: {_said(error)}.")
    return Look(answer={"version": version, "took_s": took_s, "is_read_only": is_read_only, "schemas": schemas})


async def _schema(connection: asyncpg.Connection, schema: str, service: str) -> dict[str, Any] | None:
    """Where the migrations of one service are; None when this user can't see that."""
    from shared.postgres.migrations import History  # noqa: PLC0415 - it brings Alembic, which takes long

    if not await connection.fetchval(_READABLE, schema):
        return None
    revision = await connection.fetchval(_REVISION[schema])
    known = History(Path(services.__path__[0]) / service / "migrations")
    standing = known.standing(revision)
    return {"schema": schema, "service": service, "revision": revision, "expected": known.head, "standing": standing}


async def _broker(url: str, ca_file: Path | None) -> Look:
    from services.registry.diagnosis.broker import BrokerDiagnosis  # noqa: PLC0415 - it brings FastStream

    found = await BrokerDiagnosis(url=url, ca_file=ca_file).report()
    if found.problem is not None:
        said = {"away": "is not reached", "refused": "refuses this user", "slow": "does not answer"}
        return Look(error=f"RabbitMQ at {_without_login(url)} {said.get(found.problem, found.problem)}.")
    return Look(answer=found.model_dump())


async def _management(url: str, ca_file: Path | None) -> Look:
    parts = urlsplit(url)
    bare = _without_login(url)
    auth = (unquote(parts.username or "guest"), unquote(parts.password or "guest"))
    try:
        verify = tls.trusting(ca_file) if parts.scheme == "https" else True
        async with httpx.AsyncClient(
            base_url=bare, auth=auth, timeout=_ANSWER_S, trust_env=False, verify=verify
        ) as http:
            answer = await http.get("/api/nodes")
        if not answer.is_success:
            return Look(error=f"The management API at {bare} answered {answer.status_code}.")
        nodes = answer.json()
    except (httpx.HTTPError, OSError, ValueError) as error:
        return Look(error=f"The management API at {bare}: {_said(error)}.")
    is_list = isinstance(nodes, list) and all(isinstance(node, dict) for node in nodes)
    return Look(answer=nodes) if is_list else Look(error=f"What answers at {bare} is no management API.")


def _without_login(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query=""))


def _said(error: BaseException) -> str:
    remedy = tls.remedy(error)
    if remedy is not None:
        return remedy
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
