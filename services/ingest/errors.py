"""What can go wrong in ingest, by what to do about it."""

from __future__ import annotations

from shared.errors import TransientError


class IngestError(Exception):
    """Base of ingest's errors."""


class StoreUnavailableError(IngestError, TransientError):
    """Postgres did not take the captures in time; the message is held, and tried again."""
