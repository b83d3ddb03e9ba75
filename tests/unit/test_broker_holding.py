"""How long a message is held, what is said of it, and what its copy keeps."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import asyncpg
import pytest
import structlog
from faststream.exceptions import AckMessage, RejectMessage

import shared.rabbitmq.holding
from shared.errors import TransientError
from shared.rabbitmq.holding import Holding, pause_s

HALF_AN_HOUR_S = 1_800.0


async def no_copy() -> None:
    """The queue is full."""
    message = "refused"
    raise RuntimeError(message)


def failing(times: int) -> Callable[[], Awaitable[str]]:
    """Work that succeeds after so many failures."""
    left = times

    async def work() -> str:
        nonlocal left
        left -= 1
        if left >= 0:
            raise TransientError
        return "done"

    return work


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pauses."""
    monkeypatch.setattr(shared.rabbitmq.holding, "_FIRST_PAUSE_S", 0.0)
    monkeypatch.setattr(shared.rabbitmq.holding, "_LONGEST_PAUSE_S", 0.0)


def test_pauses_grow_with_the_outage_and_are_bounded() -> None:
    """From half a second to half a minute, never the same twice, and far below RabbitMQ's own limit."""
    pauses = [[pause_s(held_s) for _ in range(200)] for held_s in (0.0, 10.0, 10_000.0)]
    assert [
        (min(found) >= low, max(found) <= high)
        for found, low, high in zip(pauses, (0.5, 2.5, 15.0), (1.0, 5.0, 30.0), strict=True)
    ] == [(True, True)] * 3
    assert all(len(set(found)) > 1 for found in pauses)
    assert shared.rabbitmq.holding.HELD_S < shared.rabbitmq.holding.HELD_AT_MOST_S < HALF_AN_HOUR_S / 1.2


@pytest.mark.usefixtures("impatient")
async def test_an_outage_is_told_once_however_many_messages_meet_it() -> None:
    """It begins with the first one and ends when none is held any more; another queue has its own."""
    holding = Holding()
    with structlog.testing.capture_logs() as logs:
        results = await asyncio.gather(*(holding.handle("a", failing(n), no_copy) for n in range(1, 50)))
        assert await holding.handle("b", failing(0), no_copy) == "done"
    assert results == ["done"] * 49
    assert [(entry["event"], entry["queue"]) for entry in logs] == [
        ("messages_held", "a"),
        ("messages_flow_again", "a"),
    ]


@pytest.mark.usefixtures("impatient")
async def test_after_its_time_a_copy_takes_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """The original is acknowledged once the copy is confirmed; without a copy it is held on, and then rejected."""
    monkeypatch.setattr(shared.rabbitmq.holding, "HELD_S", 0.0)
    copies: list[bool] = []

    async def copy() -> None:
        copies.append(True)

    with pytest.raises(AckMessage):
        await Holding().handle("a", failing(9), copy)
    assert copies == [True]
    assert await Holding().handle("a", failing(9), no_copy) == "done"
    monkeypatch.setattr(shared.rabbitmq.holding, "HELD_AT_MOST_S", 0.0)
    with pytest.raises(RejectMessage):
        await Holding().handle("a", failing(9), no_copy)


async def test_a_stopping_service_holds_nothing() -> None:
    """What fails then goes back at once."""
    holding = Holding()
    holding.stop()
    with pytest.raises(RejectMessage):
        await holding.handle("a", failing(1), no_copy)


async def test_a_failure_of_its_own_is_not_held() -> None:
    """A bug is raised as it is, at the first try."""

    async def buggy() -> None:
        raise KeyError

    with pytest.raises(KeyError):
        await Holding().handle("a", buggy, no_copy)


@pytest.mark.usefixtures("impatient")
async def test_what_one_message_alone_meets_is_its_own_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """An internal error of the database, while others are handled: it is given up, and what is damaged is not."""
    monkeypatch.setattr(shared.rabbitmq.holding, "HELD_S", 0.0)
    holding = Holding()

    async def ill(error: Exception, *, others: bool) -> None:
        if others:
            await holding.handle("a", failing(0), no_copy)
        raise error

    async def copy() -> None:
        """There is room for it."""

    async def end(error: Exception, *, others: bool) -> None:
        await holding.handle("a", partial(ill, error, others=others), copy)

    internal, damaged = asyncpg.InternalServerError("odd"), asyncpg.DataCorruptedError("bad page")
    with pytest.raises(AckMessage):
        await end(internal, others=False)
    with pytest.raises(asyncpg.InternalServerError):
        await end(internal, others=True)
    with pytest.raises(AckMessage):
        await end(damaged, others=True)
