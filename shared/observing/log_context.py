"""Ids that log lines have without being told: bound for a task, and carried from service to service by messages.

`user_id` and `pull_id` are of one client and stand in the messages themselves; they are bound where one pull is
handled. What is carried in headers is bound for a whole message: the `batch_id` of captures on their way into the
store, the `run_id` of a complete run, the `request_id` of the HTTP request that asked for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextvars import Context
from typing import Any, Final
from uuid import uuid4

from faststream import BaseMiddleware
from structlog.contextvars import bind_contextvars, bound_contextvars, get_contextvars

from shared.contracts.encoding import UnreadableMessageError
from shared.contracts.messages import CaptureBatch, Message
from shared.observing import tracing

__all__ = ["Follow", "bind", "carried", "cause", "id_for", "is_sane", "new_context", "new_id"]

_CARRIED: Final = ("batch_id", "run_id", "request_id")
_CAUSES: Final = ("batch_id", "message_id", "request_id", "run_id")
_SANE: Final = re.compile(r"[A-Za-z0-9._:-]{1,64}", re.ASCII)

bind = bind_contextvars
"""Have all lines of the current task, and of those that it begins, tell these values."""
new_context = Context
"""For a task that works for several: it has no ids of whoever happened to begin it."""


def new_id() -> str:
    """An id that nothing else has."""
    return uuid4().hex


def id_for(message: Message) -> str:
    """The id of a message that the current task is about to publish: of a batch the one that its lines have."""
    bound = get_contextvars().get("batch_id") if isinstance(message, CaptureBatch) else None
    return str(bound) if bound else new_id()


def is_sane(value: object) -> bool:
    """Whether it may stand in log lines and headers as an id: foreign ones may be anything."""
    return isinstance(value, str) and _SANE.fullmatch(value) is not None


def carried() -> dict[str, Any]:
    """The headers of a message that the current task publishes."""
    bound = get_contextvars()
    return {name: str(bound[name]) for name in _CARRIED if name in bound}


def cause() -> str | None:
    """The id of the message or request that the current task handles."""
    bound = get_contextvars()
    return next((str(bound[name]) for name in _CAUSES if name in bound), None)


class Follow(BaseMiddleware[Any, Any]):
    """Around each handler: its lines, spans and messages have the ids and the trace that came with its message.

    Whoever may write to RabbitMQ decides what they are; what is no id is passed over.
    """

    async def consume_scope(self, call_next: Callable[[Any], Any], msg: Any) -> Any:
        """Called by FastStream with the decoded message."""
        raw, spans = msg.raw_message, tracing.current()
        with bound_contextvars(**_ids_of(raw)):
            if spans is None:
                return await call_next(msg)
            queue = self.context.get_local("handler_").queue.name
            with spans.processing(raw, tracing.pulls_of(await _decoded(msg)), queue):
                return await call_next(msg)


async def _decoded(msg: Any) -> Any:
    """The message, which FastStream keeps for the handler; None for one that is refused further in."""
    try:
        return await msg.decode()
    except UnreadableMessageError:
        return None


def _ids_of(raw: Any) -> dict[str, str]:
    ids = {name: raw.headers[name] for name in _CARRIED if is_sane(raw.headers.get(name))}
    if is_sane(raw.message_id):
        ids["batch_id" if raw.type == CaptureBatch.__name__ else "message_id"] = raw.message_id
    return ids
