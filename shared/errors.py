"""Errors that every service ends with in the same way."""

from __future__ import annotations


class StartupError(Exception):
    """The service can't start; the text is one line that says what to do."""
