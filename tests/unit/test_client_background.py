"""Background steps repeat, outlive a failure, and end with their block."""

from __future__ import annotations

import asyncio
from typing import Any

import structlog

from services.client.background import repeating


async def test_a_step_that_fails_is_told_and_repeated() -> None:
    """One failure is logged with its task's name, and the steps go on."""
    done = asyncio.Event()
    steps = 0

    async def step() -> float:
        nonlocal steps
        steps += 1
        if steps == 1:
            message = "broken"
            raise ValueError(message)
        if steps == 3:
            done.set()
        return 0.0

    with structlog.testing.capture_logs() as logged:
        async with repeating("work", step, pause_after_failure_s=0.0), asyncio.timeout(5):
            await done.wait()
    entry: Any = logged[0]
    assert (entry["event"], entry["task"], entry["log_level"]) == ("background_step_failed", "work", "error")


async def test_a_step_under_way_is_cancelled_and_awaited() -> None:
    """When the block has ended, nothing of the step is left running."""
    began, ended = asyncio.Event(), asyncio.Event()

    async def step() -> float:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return 0.0

    async with repeating("work", step), asyncio.timeout(5):
        await began.wait()
    assert ended.is_set()


async def test_a_wakened_step_does_not_wait() -> None:
    """The pause ends at once, when that is asked for during it or before it; and only that one."""
    woken, paused, steps = asyncio.Event(), asyncio.Event(), 0

    async def step() -> float:
        nonlocal steps
        steps += 1
        if steps == 2:
            woken.set()  # before the pause
        if steps in {1, 3}:
            asyncio.get_running_loop().call_soon(paused.set)
        return 3600.0

    async with repeating("work", step, woken=woken), asyncio.timeout(5):
        await paused.wait()
        paused.clear()
        woken.set()
        await paused.wait()
        for _ in range(20):
            await asyncio.sleep(0)
        assert steps == 3
