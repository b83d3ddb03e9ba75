"""Ids in log lines: which are taken from others, and that nobody has those of somebody else."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest
from structlog.contextvars import get_contextvars

from shared.contracts.messages import CaptureBatch, PullSettled
from shared.observing.log_context import bind, carried, cause, id_for, is_sane
from shared.rabbitmq.coalescer import Coalescer, Limits

RUN = UUID("7d3c9c5e-1a57-4a53-8d0e-2f8a4b9c6d7e")


@pytest.mark.parametrize("value", ["a", "0af7651916cd43dd8448eb211c80319c", str(RUN), "x" * 64, "a:b_c.d-e"])
def test_ids_are_taken(value: str) -> None:
    """Plain words."""
    assert is_sane(value)


@pytest.mark.parametrize(
    "value", ["", "x" * 65, "a\nb", "a b", "\x1b[2J", "\u202e", "é", "a=b", b"a", 7, None, {}, ["a"]]
)
def test_what_is_no_id_is_not_taken(value: object) -> None:
    """Whatever could break, move or colour a line, or is no text."""
    assert not is_sane(value)


async def in_a_task(work: Any) -> Any:
    """What `work` gives in a task of its own, whose ids end with it."""

    async def run() -> Any:
        return work()

    return await asyncio.create_task(run())


async def test_what_is_bound_is_carried_and_the_rest_is_not() -> None:
    """By messages: run, batch and request. Users and pulls stand in the messages themselves."""

    def bound() -> tuple[dict[str, Any], str | None]:
        bind(user_id="ash", run_id=RUN, batch_id="b-1")
        return carried(), cause()

    assert await in_a_task(bound) == ({"batch_id": "b-1", "run_id": str(RUN)}, "b-1")


async def test_a_batch_has_the_id_of_its_lines() -> None:
    """And other messages one of their own, also while a batch is handled."""

    def ids() -> tuple[str, str]:
        bind(batch_id="b-1")
        return id_for(CaptureBatch(pulls=())), id_for(PullSettled(outcomes=()))

    batch, other = await in_a_task(ids)
    assert batch == "b-1"
    assert other != "b-1"
    assert is_sane(other)


async def test_what_travels_together_has_the_ids_of_nobody() -> None:
    """Who happened to come first does not lend his ids to the message of all."""
    seen: list[dict[str, Any]] = []

    async def publish(_items: Sequence[str]) -> None:
        seen.append(get_contextvars())

    async def add() -> None:
        bind(user_id="ash")
        await Coalescer(publish=publish, limits=Limits(weight=1, linger_s=0.0)).add("a")

    await asyncio.create_task(add())
    assert seen == [{}]
