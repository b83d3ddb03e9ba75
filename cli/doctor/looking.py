"""Gathers the facts that the registry's API has. What goes wrong is a fact, too."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urlsplit

import httpx

from cli.doctor.facts import Access, Answered, ClientFacts, Clock, Facts, Look, Thresholds
from cli.doctor.remedies import LOOPBACK
from cli.errors import CliError, NotAllowedError, NotFoundError, UnreachableError
from cli.registry import ADMIN, PULL_SYNC, Registry, segment

_STATUS: Final = f"{PULL_SYNC}/scheduler/status"
_HALF_SECOND_S: Final = 0.5
"""The header `Date` has whole seconds, cut off; uvicorn makes it anew once a second, so it may be a second old."""


def utc_now() -> datetime:
    """By this machine's clock."""
    return datetime.now(UTC)


class Looking:
    """Asks the registry everything that the rules want to know."""

    def __init__(self, registry: Registry, *, thresholds: Thresholds, now: Callable[[], datetime] = utc_now) -> None:
        self._registry = registry
        self._thresholds = thresholds
        self._now = now

    def facts(self, *, user: str | None, client_url: str | None) -> Facts:
        """All there is to know; never raises for what the registry answers, or does not."""
        facts = Facts(
            url=self._registry.url,
            is_local=urlsplit(self._registry.url).hostname in LOOPBACK,
            has_token=self._registry.has_token,
            registry=None,
            thresholds=self._thresholds,
        )
        try:
            facts = replace(facts, registry=self._reach())
        except CliError as error:
            facts = replace(facts, unreachable=str(error).splitlines()[0])
        else:
            facts = self._ask(facts)
        return self._with_client(facts, user, client_url) if user is not None else facts

    def _reach(self) -> Answered:
        before, begun = self._now(), time.monotonic()
        answer = self._registry.answer("GET", "/health")
        took_s = time.monotonic() - begun
        try:
            version = str(answer.json()["version"])
        except (ValueError, KeyError, TypeError) as error:
            message = f"What answers at {self._registry.url} is not PullSync's registry."
            raise UnreachableError(message) from error
        return Answered(version=version, took_s=took_s, clock=clock(answer, before=before, took_s=took_s))

    def _ask(self, facts: Facts) -> Facts:
        try:
            diagnosis = self._look(f"{ADMIN}/diagnosis")
            scheduler = self._look(_STATUS)
        except NotAllowedError as error:
            return replace(facts, access=_access(error, has_token=facts.has_token))
        return replace(facts, diagnosis=diagnosis, scheduler=scheduler, tables=self._look(f"{ADMIN}/database-status"))

    def _look(self, path: str) -> Look:
        try:
            return Look(answer=self._registry.get(path))
        except NotAllowedError:
            raise
        except CliError as error:
            return Look(error=" ".join(str(error).splitlines()))

    def _with_client(self, facts: Facts, user: str, client_url: str | None) -> Facts:
        from cli.doctor.probing import probe  # noqa: PLC0415 - it brings aiohttp, which takes long

        record = Look(error="The registry was not asked.")
        if facts.registry is not None and facts.access == "allowed":
            try:
                record = Look(answer=self._registry.get(f"{PULL_SYNC}/clients/{segment(user)}"))
            except NotFoundError:
                record = Look()
            except CliError as error:
                record = Look(error=" ".join(str(error).splitlines()))
        where = client_url or (record.answer["client_url"] if record.answer else None)
        found = probe(where) if where else None
        return replace(facts, client=ClientFacts(user_id=user, record=record, probe=found))


def _access(error: NotAllowedError, *, has_token: bool) -> Access:
    if "more rights" in str(error):
        return "forbidden"
    return "refused" if has_token else "wanted"


def clock(answer: httpx.Response, *, before: datetime, took_s: float) -> Clock | None:
    """The registry's clock against ours, by the header `Date`; None when there is none to be read."""
    try:
        told = parsedate_to_datetime(answer.headers["date"])
    except (KeyError, ValueError):
        return None
    if told.tzinfo is None:
        told = told.replace(tzinfo=UTC)
    offset_s = (told - before).total_seconds() + _HALF_SECOND_S - took_s / 2
    return Clock(offset_s=round(offset_s, 3), uncertainty_s=round(2 * _HALF_SECOND_S + took_s / 2, 3))
