"""Bounds the memory that clients' answers take. It counts and makes wait; it reads nothing itself.

Small answers are read freely. To read on beyond `SMALL_BYTES` an answer needs one of few permits, so that, whatever the
clients send, no more than `LARGE_AT_ONCE` large answers are in memory; TCP holds back the others.

The rule, for calls that may take `timeout_s`:

- To wait for a permit does not count against the client's time, but ends after `timeout_s` as well, so that a call
  takes twice that at most. Who came first is next.
- With a permit an answer has what was left of its time. Once another waits, it must be whole within a fifth of
  `timeout_s` since it got its permit: n large answers ahead, however slowly they drip, hold up a large one for
  n / `LARGE_AT_ONCE` such fifths at most, and the small ones not at all.
- The permit is kept until the caller has no more use for the answer, nor for what was read of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

SMALL_BYTES: Final = 256 * 1024
"""A page of 1,000 captures. Up to here an answer is read whatever the others do."""
LARGE_AT_ONCE: Final = 4
_HOLD_SHARE: Final = 1 / 5


class CallTime:
    """How long one call may still take; `timeout` is entered once, around all of it."""

    def __init__(self, timeout_s: float) -> None:
        """It runs from now on."""
        self.timeout = asyncio.timeout(timeout_s)
        self.late = f"no whole answer within {timeout_s:g} s"
        """What is wrong if it runs out."""

    def left_s(self) -> float:
        """Seconds until it runs out."""
        when = self.timeout.when()
        return 0.0 if when is None else when - asyncio.get_running_loop().time()

    def give(self, seconds: float, late: str) -> None:
        """Let it run out in so many seconds from now, with this text; unless it just has."""
        if self.timeout.expired():
            return
        self.timeout.reschedule(asyncio.get_running_loop().time() + seconds)
        self.late = late


class AnswerMemory:
    """All answers that are being read or used. Each takes its bytes by a share of its own."""

    def __init__(self, *, timeout_s: float) -> None:
        self._wait_s = timeout_s
        self._hold_s = timeout_s * _HOLD_SHARE
        self._permits = asyncio.Semaphore(LARGE_AT_ONCE)
        self._waiting = 0
        self._readers: dict[CallTime, float] = {}
        """With the moment of the loop's clock up to which each may read while others wait."""
        self.bytes_held = 0
        """Of all bodies in memory, whole or not."""
        self.large_held = 0
        """Permits in use."""

    @contextmanager
    def share(self, call: CallTime) -> Iterator[AnswerShare]:
        """The share of one call's answer, to be left when the answer is no longer needed."""
        share = AnswerShare(self, call)
        try:
            yield share
        finally:
            share.end_reading()
            self.bytes_held -= share.size
            if share.large:
                self.large_held -= 1
                self._permits.release()

    async def take_permit(self, call: CallTime) -> None:
        """Wait for a permit by the rule above, on the call's own time."""
        left_s, late = call.left_s(), call.late
        call.give(self._wait_s, f"other large answers were read first, for {self._wait_s:g} s")
        self._waiting += 1
        try:
            if self._permits.locked():
                self._press()
            await self._permits.acquire()
        finally:
            self._waiting -= 1
        call.give(left_s, late)
        self.large_held += 1
        self._readers[call] = asyncio.get_running_loop().time() + self._hold_s
        if self._waiting:
            self._press()

    def end_reading(self, call: CallTime) -> None:
        """The answer is whole, or given up: its time is no longer ours to cut."""
        self._readers.pop(call, None)

    def _press(self) -> None:
        """Let those that read be done within their fifth, since somebody waits."""
        now = asyncio.get_running_loop().time()
        for call, until in self._readers.items():
            if until - now < call.left_s():
                call.give(until - now, f"not whole within {self._hold_s:g} s, while other large answers waited")


class AnswerShare:
    """The bytes of one answer."""

    def __init__(self, memory: AnswerMemory, call: CallTime) -> None:
        self._memory = memory
        self._call = call
        self.size = 0
        self.large = False
        """Whether it has a permit."""

    async def grow(self, size: int) -> None:
        """Return when so many bytes more may be kept.

        Raises:
            asyncio.CancelledError: the call's time ran out, which its `timeout` makes a `TimeoutError`.
        """
        if self.size + size > SMALL_BYTES and not self.large:
            await self._memory.take_permit(self._call)
            self.large = True
        self.size += size
        self._memory.bytes_held += size

    def end_reading(self) -> None:
        """The answer is whole. It may be called again."""
        self._memory.end_reading(self._call)
