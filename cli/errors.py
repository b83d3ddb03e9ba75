"""What can go wrong in a way that an operator can do something about: one or two lines, and an exit status each."""

from __future__ import annotations

from typing import ClassVar, Final

INTERRUPTED: Final = 130
"""The exit status after Ctrl-C, as shells have it."""


class CliError(Exception):
    """It could not be done. The text says what is wrong and what to do."""

    status: ClassVar[int] = 1


class FailedError(CliError):
    """The registry refused it, or could not do it."""


class NotFoundError(FailedError):
    """There is no such thing."""


class BusyError(FailedError):
    """The registry can't do it now; the same may succeed later."""


class TooOftenError(BusyError):
    """It was asked for often enough."""


class UsageError(CliError):
    """The command or a setting is not as it should be."""

    status = 2


class UnreachableError(CliError):
    """The registry was not reached, or what answers is not it."""

    status = 3


class NotAllowedError(CliError):
    """It takes a token, or one with more rights."""

    status = 4
