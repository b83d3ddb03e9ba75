"""The tree of everything that the registry refuses. `services.registry.api.problems` turns each into its HTTP answer.

A class is a kind of problem: its status, its slug (the end of a stable URN, which callers may compare) and its title
are the same for all of its instances, and derived from its name where it does not say otherwise. An instance's text is
one sentence, fit for a caller: what is wrong and what to do.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from shared.postgres.illness import Illness
from shared.serving.starting import AGAIN_IN_S
from shared.serving.utf8_urls import SENTENCE

ILLNESSES: Mapping[Illness, str] = {
    Illness.READ_ONLY: "is read-only, as a standby is: let DATABASE_URL lead to the primary, or promote it",
    Illness.DISK_FULL: "has no room left on its disk: make room there",
    Illness.IO_ERROR: "can't read or write its files: see its log, and its disk",
    Illness.DAMAGED: "has damaged data: see its log, and restore a backup if its disk is well",
    Illness.INTERNAL_ERROR: "reports an internal error: see its log",
    Illness.NOT_ALLOWED: "does not let the registry do what it needs: the registry's log names the table",
    Illness.TABLES_MISSING: "lacks tables: restart the service that owns them, or restore the backup as a whole",
}
"""What PostgreSQL does, and what to do about it."""

_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z]|$|\d)|[A-Z][a-z]*|\d+")


@dataclass(frozen=True, slots=True, kw_only=True)
class InvalidField:
    """A part of a request that can't be as it is, and why; without what was sent."""

    field: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """How often something may be done in a window, and what is left of that for a caller."""

    name: str
    limit: int
    window_s: int
    remaining: int
    reset_s: float
    """Seconds until there is more."""


class RegistryError(Exception):
    """Base of the registry's errors. A subclass sets `status`, and the rest only where its name says too little."""

    status: int = 500
    slug: ClassVar[str] = "internal-error"
    title: ClassVar[str] = "Internal error"
    headers: ClassVar[Mapping[str, str]] = {}
    """What HTTP asks to be sent with it."""
    retry_after_s: float | None = None
    """Seconds after which the same request may succeed, where that is known; sent as `Retry-After`."""
    members: Mapping[str, object] = {}
    """What the problem has beyond its own members, by their names; as JSON."""
    quotas: tuple[Quota, ...] = ()
    """Those that the caller has used up, or not yet; sent as `RateLimit-Policy` and `RateLimit`."""

    def __init_subclass__(cls, **options: Any) -> None:
        """Name the kind of problem: `UnknownClientError` is `unknown-client`, "Unknown client"."""
        super().__init_subclass__(**options)
        words = [word.lower() for word in _WORD.findall(cls.__name__.removesuffix("Error"))]
        if "slug" not in cls.__dict__:
            cls.slug = "-".join(words)
        if "title" not in cls.__dict__:
            cls.title = " ".join(words).capitalize()


class InternalError(RegistryError):
    """It is our fault, and was logged."""

    slug = RegistryError.slug
    title = RegistryError.title

    def __init__(self) -> None:
        """Without a word of what happened, which is none of the caller's business."""
        super().__init__("Something went wrong here, and was logged.")


class RefusedError(RegistryError):
    """The request can't be served as it is; sending it again does not help."""

    status = 400


class MalformedBodyError(RefusedError):
    """The body is no JSON."""

    def __init__(self) -> None:
        """The same for whatever it is instead."""
        super().__init__("The body is not valid JSON.")


class UndecodableUrlError(RefusedError):
    """The path or the query of the URL is no UTF-8, so no name in it can be told."""

    title = "Undecodable URL"

    def __init__(self) -> None:
        """Wherever the bytes are."""
        super().__init__(SENTENCE)


class InvalidRequestError(RefusedError):
    """A parameter or a part of the body has a value that it can't have; `fields` tells which."""

    status = 422
    _NAMED = 20

    def __init__(self, fields: Sequence[InvalidField]) -> None:
        """For these fields, of which the first are named: a body may have thousands of faults."""
        self.fields = tuple(fields[: self._NAMED])
        more = len(fields) - len(self.fields)
        named = "; ".join(f"{field.field}: {field.detail}" for field in self.fields)
        super().__init__(f"{named}; and {more} more" if more else named)


class BodyTooLargeError(RefusedError):
    """The body is larger than any request of this service."""

    status = 413

    def __init__(self, limit_bytes: int) -> None:
        """Larger than `limit_bytes`."""
        super().__init__(f"The body is larger than {limit_bytes} bytes.")


class BodyTooSlowError(RefusedError):
    """The body did not arrive in time."""

    status = 408

    def __init__(self, within_s: float) -> None:
        """Not within `within_s` seconds."""
        super().__init__(f"The body did not arrive within {within_s:.0f} s; send it again.")


class TooManyRequestsError(RefusedError):
    """The caller asked for this too often."""

    status = 429

    def __init__(self, quotas: tuple[Quota, ...], *, again_in_s: float) -> None:
        """For a caller with these quotas, who may come again in `again_in_s` seconds."""
        super().__init__(f"Too many such requests came from this address; try again in {math.ceil(again_in_s)} s.")
        self.quotas = quotas
        self.retry_after_s = again_in_s


class ForeignPageError(RefusedError):
    """A web page of another origin asked for it, in its visitor's browser."""

    status = 403

    def __init__(self) -> None:
        """Whichever page it is."""
        super().__init__(
            "Web pages of other origins may not call the registry: name the page's origin in REGISTRY_CORS_ORIGINS."
        )


class ForeignHostError(RefusedError):
    """It was called by a name that is not known to be its own."""

    status = 421

    def __init__(self) -> None:
        """Whichever name it is."""
        super().__init__(
            "This registry has no tokens, so it answers to localhost, to IP addresses and to the names in "
            "REGISTRY_HOSTS only: add the name that is called, or set OPERATOR_TOKENS."
        )


class UnknownPathError(RefusedError):
    """Nothing is served there."""

    status = 404

    def __init__(self) -> None:
        """The path itself is not repeated."""
        super().__init__("Nothing is served at this path; /docs lists what is.")


class MethodNotAllowedError(RefusedError):
    """The path exists, and does not take that method."""

    status = 405

    def __init__(self) -> None:
        """The header `Allow` names a method that it takes."""
        super().__init__("This path does not take that method; the header Allow names what it takes.")


class UnknownClientError(RegistryError):
    """No such client is registered."""

    status = 404

    def __init__(self, user_id: str) -> None:
        """For the client of `user_id`."""
        super().__init__(f"No client is registered for user {user_id!r}.")


class UnknownRunError(RegistryError):
    """No such sync run is kept."""

    status = 404


class UnavailableError(RegistryError):
    """Something behind the registry is away; the same request may succeed later."""

    status = 503


class StartingError(UnavailableError):
    """The registry is starting."""

    retry_after_s = AGAIN_IN_S

    def __init__(self) -> None:
        """Whatever it waits for."""
        super().__init__("The registry is starting and waits for what /health/ready names; try again soon.")


class NoSocketError(UnavailableError):
    """The registry itself has nothing left to call a client with."""

    retry_after_s = AGAIN_IN_S

    def __init__(self) -> None:
        """Whatever it lacks, which is in the log with what to do."""
        super().__init__("The registry can't call clients now, for want of sockets of its own; try again soon.")


class DatabaseRefusesError(UnavailableError):
    """PostgreSQL does not let the registry in."""

    def __init__(self) -> None:
        super().__init__(
            "PostgreSQL refuses one of the registry's logins: repeat deploy/postgres/init.sh, which makes the roles "
            "and sets their passwords, or see DATABASE_URL and CAPTURES_DATABASE_URL."
        )


class DatabaseAwayError(UnavailableError):
    """PostgreSQL does not answer, or ended the transaction."""

    def __init__(self) -> None:
        """Whatever the reason, which is in the log."""
        super().__init__("The database is not available; try again soon.")


class DatabaseIllError(UnavailableError):
    """PostgreSQL answers, and can't do its work."""

    def __init__(self, illness: Illness) -> None:
        """Whatever the server said, which is in the log."""
        super().__init__(f"The database {ILLNESSES[illness]}.")


class TooManyStreamsError(UnavailableError):
    """As many event streams are open as this registry serves at once."""

    retry_after_s = 5.0

    def __init__(self) -> None:
        """Whatever they tell of."""
        super().__init__("Too many event streams are open; ask for the present state instead, or try again soon.")


class CapturesNotReadyError(UnavailableError):
    """What ingest publishes for the registry is not there, or older than this registry expects."""

    title = "Captures not set up"

    def __init__(self) -> None:
        """Whichever view or column is missing."""
        super().__init__(
            "The captures are not set up yet: is ingest running, and up to date? It creates its tables when it starts."
        )
