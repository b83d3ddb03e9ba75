"""Who may read a large answer, and for how long: on a clock that moves only when told."""

from __future__ import annotations

import asyncio
from typing import Final

import pytest

from shared.outbound.answer_memory import LARGE_AT_ONCE, SMALL_BYTES, AnswerMemory, CallTime

TIMEOUT_S: Final = 100.0
FIFTH_S: Final = 20.0
LARGE: Final = SMALL_BYTES + 1


class Clock:
    """The loop's, standing still."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._now = asyncio.get_running_loop().time()
        monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: self._now)

    async def forward(self, seconds: float = 0.0) -> None:
        """Let time pass, and whatever is due happen."""
        self._now += seconds
        for _ in range(20):
            await asyncio.sleep(0)


class Answer:
    """A client's answer: some bytes at once, and the rest when told."""

    def __init__(self, memory: AnswerMemory, size: int) -> None:
        self._memory = memory
        self._size = size
        self._call = CallTime(TIMEOUT_S)
        self.read = False
        """Whether its bytes so far are in memory."""
        self.whole = asyncio.Event()
        self.done_with = asyncio.Event()
        self.task = asyncio.create_task(self._be_read())

    async def _be_read(self) -> None:
        with self._memory.share(self._call) as share:
            async with self._call.timeout:
                await share.grow(self._size)
                self.read = True
                await self.whole.wait()
                share.end_reading()
            await self.done_with.wait()

    @property
    def late(self) -> str | None:
        """Why it was given up, if it was."""
        if not self.task.done() or self.task.exception() is None:
            return None
        assert isinstance(self.task.exception(), TimeoutError)
        return self._call.late


@pytest.fixture
async def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Of this test's loop."""
    return Clock(monkeypatch)


@pytest.fixture
async def memory() -> AnswerMemory:
    """For calls of a hundred seconds."""
    return AnswerMemory(timeout_s=TIMEOUT_S)


async def answers(memory: AnswerMemory, clock: Clock, count: int, size: int = LARGE) -> list[Answer]:
    """So many, which have sent this much, in this order."""
    made = [Answer(memory, size) for _ in range(count)]
    await clock.forward()
    return made


async def test_small_answers_wait_for_nobody(memory: AnswerMemory, clock: Clock) -> None:
    """Up to the last byte, while large ones wait."""
    large = await answers(memory, clock, LARGE_AT_ONCE + 1)
    small = await answers(memory, clock, 100, SMALL_BYTES)
    assert [answer.read for answer in large] == [True] * LARGE_AT_ONCE + [False]
    assert all(answer.read for answer in small)
    await end(clock, *large, *small)
    assert (memory.bytes_held, memory.large_held) == (0, 0)


async def test_what_is_held_is_counted_until_it_is_done_with(memory: AnswerMemory, clock: Clock) -> None:
    """A permit is free when nobody needs the answer any more, not when it was read; then the next is the first."""
    *first, second, third = await answers(memory, clock, LARGE_AT_ONCE + 2)
    first[0].whole.set()
    await clock.forward()
    assert (second.read, memory.large_held, memory.bytes_held) == (False, LARGE_AT_ONCE, LARGE_AT_ONCE * LARGE)
    first[0].done_with.set()
    await clock.forward()
    assert (second.read, third.read, memory.large_held) == (True, False, LARGE_AT_ONCE)
    await end(clock, *first, second, third)
    assert (memory.bytes_held, memory.large_held) == (0, 0)


async def test_a_slow_answer_has_its_time_while_nobody_waits(memory: AnswerMemory, clock: Clock) -> None:
    """As long as a small one, and no longer."""
    in_time, slow = await answers(memory, clock, 2)
    await clock.forward(TIMEOUT_S - 1)
    in_time.whole.set()
    await clock.forward(1)
    assert (in_time.late, slow.late) == (None, "no whole answer within 100 s")
    await end(clock, in_time)


async def test_a_slow_answer_makes_room_for_who_waits(memory: AnswerMemory, clock: Clock) -> None:
    """A fifth after it got its permit, or at once if that has passed; and those that came last wait no longer."""
    old = await answers(memory, clock, LARGE_AT_ONCE - 1)
    await clock.forward(FIFTH_S + 1)
    (new,) = await answers(memory, clock, 1)
    (one,) = await answers(memory, clock, 1)
    assert [answer.late for answer in old] == ["not whole within 20 s, while other large answers waited"] * len(old)
    assert (new.late, one.read) == (None, True)
    waiting = await answers(memory, clock, LARGE_AT_ONCE)
    await clock.forward(FIFTH_S - 1)
    assert [answer.read for answer in waiting] == [True] * 2 + [False] * 2
    await clock.forward(1)
    assert (new.late is None, [answer.read for answer in waiting]) == (False, [True] * LARGE_AT_ONCE)
    await end(clock, new, one, *waiting)


async def test_an_honest_answer_outlasts_the_dripping_ones(memory: AnswerMemory, clock: Clock) -> None:
    """Sixteen that never end, in four rows of a fifth; who came after them is next."""
    hostile = await answers(memory, clock, 4 * LARGE_AT_ONCE)
    (honest,) = await answers(memory, clock, 1)
    for row in range(1, 5):
        assert not honest.read
        await clock.forward(FIFTH_S)
        assert sum(answer.late is not None for answer in hostile) == row * LARGE_AT_ONCE
    assert honest.read
    await end(clock, honest)


async def test_an_answer_being_used_is_not_cut_off(memory: AnswerMemory, clock: Clock) -> None:
    """Only reading is; who waits for it is given up after the timeout, and told why."""
    used = await answers(memory, clock, LARGE_AT_ONCE)
    for answer in used:
        answer.whole.set()
    (waiting,) = await answers(memory, clock, 1)
    await clock.forward(TIMEOUT_S - 1)
    assert waiting.late is None
    await clock.forward(1)
    assert waiting.late == "other large answers were read first, for 100 s"
    assert [answer.late for answer in used] == [None] * LARGE_AT_ONCE
    await end(clock, *used)


async def test_waiting_is_not_the_clients_time(memory: AnswerMemory, clock: Clock) -> None:
    """It has afterwards what it had left before."""
    used = await answers(memory, clock, LARGE_AT_ONCE)
    for answer in used:
        answer.whole.set()
    (waiting,) = await answers(memory, clock, 1)
    await clock.forward(TIMEOUT_S - 1)
    await end(clock, *used)
    assert waiting.read
    await clock.forward(TIMEOUT_S - 1)
    assert waiting.late is None
    await clock.forward(1)
    assert waiting.late == "no whole answer within 100 s"


async def test_who_gives_up_waiting_takes_no_permit(memory: AnswerMemory, clock: Clock) -> None:
    """Cancelled, it leaves its place to the next, and nothing behind."""
    *first, second, third = await answers(memory, clock, LARGE_AT_ONCE + 2)
    second.task.cancel()
    await clock.forward()
    first[0].task.cancel()
    await clock.forward()
    assert third.read
    await end(clock, *first[1:], third)
    assert (memory.bytes_held, memory.large_held) == (0, 0)


async def end(clock: Clock, *made: Answer) -> None:
    """Let them all be whole, and be done with."""
    for answer in made:
        answer.whole.set()
        answer.done_with.set()
    for _ in made:
        await clock.forward()
    assert all(answer.task.done() for answer in made)
