"""Many small items, few messages: gathers what arrives within a short linger and publishes it as one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from shared.observing.log_context import new_context

ItemT = TypeVar("ItemT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """When a message is full. `weight` is whatever the caller counts: captures, bytes, items."""

    weight: int
    linger_s: float
    """How long the first item waits for company."""
    crowd: int = 1
    """Weight that makes it worth to wait as long once more, when so much came in that time; few large messages cost
    everybody less than many small ones."""
    crowd_linger_s: float = 0.0
    """About how long the first item waits at most while they crowd."""


class Coalescer(Generic[ItemT]):
    """`add` returns when the message that carries the item is published, or raises what publishing it raised.

    So nothing is ever held that its owner does not wait for, and there is nothing to flush when the owner stops.
    Several messages may be on their way at once.
    """

    def __init__(self, *, publish: Callable[[Sequence[ItemT]], Awaitable[None]], limits: Limits) -> None:
        self._publish = publish
        self._limits = limits
        self._open: _Parcel[ItemT] | None = None

    async def add(self, item: ItemT, *, weight: int = 1) -> None:
        """Publish `item` with others. An item heavier than the limit travels alone.

        Raises:
            Exception: whatever `publish` raised; the item is then not known to be published.
        """
        parcel = self._open
        if parcel is not None and parcel.weight + weight > self._limits.weight:
            parcel.close()
            parcel = None
        if parcel is None:
            parcel = self._open = _Parcel(self._send, self._limits)
        parcel.items.append(item)
        parcel.weight += weight
        if parcel.weight >= self._limits.weight:
            parcel.close()
        # A caller that is cancelled must not take the others' message with it.
        await asyncio.shield(parcel.sent)

    async def _send(self, parcel: _Parcel[ItemT]) -> None:
        if self._open is parcel:
            self._open = None
        await self._publish(parcel.items)


class _Parcel(Generic[ItemT]):
    """One message in the making, and the task that sends it once it is full or has lingered."""

    def __init__(self, send: Callable[[_Parcel[ItemT]], Awaitable[None]], limits: Limits) -> None:
        self.items: list[ItemT] = []
        self.weight = 0
        self._limits = limits
        self._full = asyncio.Event()
        self.sent = asyncio.create_task(self._linger_and_send(send), context=new_context())
        self.sent.add_done_callback(_seen)

    def close(self) -> None:
        """Send now."""
        self._full.set()

    async def _linger_and_send(self, send: Callable[[_Parcel[ItemT]], Awaitable[None]]) -> None:
        lingered_s, before = 0.0, self.weight
        while not await self._is_full(self._limits.linger_s):
            lingered_s += self._limits.linger_s
            if self.weight - before < self._limits.crowd or lingered_s >= self._limits.crowd_linger_s:
                break
            before = self.weight
        await send(self)

    async def _is_full(self, within_s: float) -> bool:
        try:
            async with asyncio.timeout(within_s):
                await self._full.wait()
        except TimeoutError:
            return False
        return True


def _seen(sent: asyncio.Task[None]) -> None:
    """Those who wait are told; when all of them were cancelled, asyncio shall not complain that nobody looked."""
    if not sent.cancelled():
        sent.exception()
