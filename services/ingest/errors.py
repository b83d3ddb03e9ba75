"""What can go wrong in ingest, by what to do about it."""

from __future__ import annotations


class IngestError(Exception):
    """Base of ingest's errors."""


class StoreUnavailableError(IngestError):
    """Transient: Postgres did not take the captures in time; the message goes back to its queue."""
