"""Tells one viewer of topics: each at once, and again whenever it has changed. It ends when its reader does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from fastapi.sse import ServerSentEvent

from services.registry.api.problems import translated
from services.registry.errors import InternalError

Source = Callable[[], Awaitable[str | None]]
"""None: there is nothing to tell, but for a problem that it raises."""
_EVERY_S: Final = 1.0
_READ_S: Final = 3.0
"""For one topic; a database that hangs is one that is away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What a topic is now, or why that can't be told."""

    topic: str
    said: str | None = None
    problem: str | None = None


class Changes:
    """Of these topics, by their names. Each event carries the whole of its topic, so none is needed but the latest."""

    def __init__(self, sources: Mapping[str, Source]) -> None:
        self._sources = sources
        self._said: dict[str, str] = {}
        self._problems: dict[str, str] = {}

    async def events(self) -> AsyncIterator[ServerSentEvent]:
        """For ever, about once a second.

        What can't be read is told as `problem`, once, and its topic as a whole as soon as it can be read again. When
        all can be, a `problem` without a detail says so.
        """
        while True:
            was_troubled = bool(self._problems)
            async for found in _each(self._sources):
                event = self._told(found) if found.problem is None else self._troubled(found.topic, found.problem)
                if event is not None:
                    yield event
            if was_troubled and not self._problems:
                yield ServerSentEvent(data={"detail": None}, event="problem")
            await asyncio.sleep(_EVERY_S)

    def _told(self, found: _Found) -> ServerSentEvent | None:
        self._problems.pop(found.topic, None)
        if found.said is None or self._said.get(found.topic) == found.said:
            return None
        self._said[found.topic] = found.said
        return ServerSentEvent(raw_data=found.said, event=found.topic)

    def _troubled(self, topic: str, problem: str) -> ServerSentEvent | None:
        self._said.pop(topic, None)
        is_known = problem in self._problems.values()
        self._problems[topic] = problem
        return None if is_known else ServerSentEvent(data={"detail": problem}, event="problem")


async def _each(sources: Mapping[str, Source]) -> AsyncIterator[_Found]:
    """What each topic is, whichever is read first."""
    readings = [asyncio.create_task(_look(topic, source)) for topic, source in sources.items()]
    try:
        for reading in asyncio.as_completed(readings):
            yield await reading
    finally:
        for left in readings:
            left.cancel()


async def _look(topic: str, source: Source) -> _Found:
    try:
        async with asyncio.timeout(_READ_S):
            return _Found(topic=topic, said=await source())
    except Exception as error:
        problem = translated(error)
        if isinstance(problem, InternalError):
            raise
        return _Found(topic=topic, problem=str(problem))
