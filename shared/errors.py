"""Errors that every service treats in the same way."""

from __future__ import annotations

from collections.abc import Iterator


class StartupError(Exception):
    """The service can't start; the text is one line that says what to do."""


class TransientError(Exception):
    """Something that we depend on is away: the same work succeeds later, and no message is to blame."""


class OwnLackError(TransientError):
    """This process has no descriptor, port, memory or thread left for a call; whom it would have called did nothing."""


def causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it comes of, each once: errors that tasks share may come of each other."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__
