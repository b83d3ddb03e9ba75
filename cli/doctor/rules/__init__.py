"""The checks, in the order in which they are shown: what everything needs comes first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from cli.doctor.facts import Facts
from cli.doctor.findings import Finding
from cli.doctor.rules import client, here, pulling, registry, servers

Rule = Callable[[Facts], Iterator[Finding]]

RULES: Final[tuple[Rule, ...]] = (
    registry.reached,
    registry.access,
    registry.version,
    registry.settings,
    servers.database,
    servers.migrations,
    servers.broker,
    servers.consumers,
    servers.backlog,
    servers.dead_letters,
    registry.clocks,
    servers.disk,
    pulling.scheduler,
    pulling.clients,
    pulling.pulls,
    pulling.quarantine,
    here.settings,
    here.database,
    here.broker,
    here.services,
    here.management,
    client.one_client,
)


def judge(facts: Facts) -> list[Finding]:
    """All that is to be said of these facts."""
    return [finding for rule in RULES for finding in rule(facts)]
