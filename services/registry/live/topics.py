"""What there is to be looked at as it goes on, each topic as JSON. What several look at is read once for them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Literal
from weakref import WeakValueDictionary

from pydantic import TypeAdapter

from services.registry.api.answers import without_markup
from services.registry.clients import Clients, Selection
from services.registry.domain import ClientRecord
from services.registry.errors import UnknownClientError
from services.registry.live.once import ReadOnce
from services.registry.pulls import Pulls

Topic = Literal["status", "runs", "queues", "minutes", "ranking", "clients", "client"]
Source = Callable[[], Awaitable[str]]

QUEUES_EVERY_S: Final = 2.0
_EVERY_S: Final = 1.0
_MINUTES_EVERY_S: Final = 10.0
"""Between two readings of the same."""
_PULLS: Final = 20
_JSON: Final = TypeAdapter(Any)


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Which clients one viewer looks at."""

    limit: int = 50
    after: str = ""
    state: Selection | None = None
    search: str = ""
    user_id: str = ""


class Topics:
    """All of them; `common` reads those that are the same for all, by their names."""

    def __init__(
        self, *, common: Mapping[Topic, Callable[[], Coroutine[Any, Any, object]]], clients: Clients, pulls: Pulls
    ) -> None:
        self._clients = clients
        self._pulls = pulls
        self._common = {
            topic: ReadOnce(partial(_read, read), every_s=_MINUTES_EVERY_S if topic == "minutes" else _EVERY_S)
            for topic, read in common.items()
        }
        self._viewed: WeakValueDictionary[tuple[Topic, View], ReadOnce[str]] = WeakValueDictionary()
        """Each is held by the sources that were given out, and forgotten with the last of them."""

    def source(self, topic: Topic, view: View) -> Source:
        """How to read a topic for that viewer, as often as he likes. Who looks at the same shares one reading."""
        if topic == "clients":
            page = replace(view, user_id="")
            return self._shared(topic, page, partial(self._page, page))
        if topic == "client":
            return self._shared(topic, View(user_id=view.user_id), partial(self._client, view.user_id))
        return self._common[topic].get

    def _shared(self, topic: Topic, view: View, read: Callable[[], Coroutine[Any, Any, object]]) -> Source:
        reading = self._viewed.get((topic, view))
        if reading is None:
            reading = self._viewed[topic, view] = ReadOnce(partial(_read, read), every_s=_EVERY_S)
        return reading.get

    async def _page(self, view: View) -> dict[str, object]:
        page = await self._clients.page(
            after=view.after, limit=view.limit + 1, selection=view.state, search=view.search
        )
        more = len(page) > view.limit
        return {
            "clients": [_told(client) for client in page[: view.limit]],
            "next": page[view.limit - 1].user_id if more else None,
        }

    async def _client(self, user_id: str) -> dict[str, object]:
        try:
            client = _told(await self._clients.get(user_id))
        except UnknownClientError:
            client = None
        return {"client": client, "pulls": await self._pulls.page(user_id, before=None, limit=_PULLS)}


def _told(client: ClientRecord) -> dict[str, object]:
    """Without the slot, which is another each interval: an event for each viewer, of which nobody shows anything."""
    return client.model_dump(mode="json", exclude={"next_slot_at"})


async def _read(read: Callable[[], Coroutine[Any, Any, object]]) -> str:
    return without_markup(_JSON.dump_json(await read())).decode()
