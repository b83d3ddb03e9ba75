"""Errors that every service treats in the same way."""

from __future__ import annotations


class StartupError(Exception):
    """The service can't start; the text is one line that says what to do."""


class TransientError(Exception):
    """Something that we depend on is away: the same work succeeds later, and no message is to blame."""
