"""How full PullSync's queues are, as RabbitMQ's management API tells it. It changes nothing, and reads no message."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import httpx
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from services.registry.api.models import ApiModel
from services.registry.diagnosis.report import QueueKind, kind_of
from shared import tls
from shared.contracts.topology import BINDINGS

_ANSWER_S: Final = 2.5
"""For the whole answer."""
_ANSWER_BYTES: Final = 1024 * 1024
_PUBLISHED: Final = "message_stats.publish_details.rate"
_DELIVERED: Final = "message_stats.deliver_get_details.rate"
_COLUMNS: Final = f"name,messages,messages_ready,messages_unacknowledged,consumers,{_PUBLISHED},{_DELIVERED}"
_UNSET: Final = (
    "RABBITMQ_MANAGEMENT_URL is not set: set it to RabbitMQ's management API and a user who may look, such as "
    "http://pullsync_monitoring:PASSWORD@localhost:15672."
)
_WHO_MAKES_THEM: Final = "services make them when they start, or deploy/rabbitmq/definitions.json does."


class QueueFigures(ApiModel):
    """One queue."""

    queue: str
    kind: QueueKind
    """`work` is for services; `dead` is for what could not be handled; what is in `delay` comes back by itself."""
    messages: int
    ready: int
    """Messages that nobody has taken yet."""
    unacknowledged: int
    """Messages that somebody has in hand."""
    consumers: int
    publish_rate: float | None
    deliver_rate: float | None
    """Messages each second; null while RabbitMQ knows no rate."""


class QueuesReport(ApiModel):
    """All queues of PullSync that there are."""

    management_url: str | None
    """Where browsers find the management UI (`RABBITMQ_MANAGEMENT_LINK`)."""
    problem: str | None
    """Why the queues can't be told, and what to do; null when they can."""
    queues: list[QueueFigures]


class _Rate(BaseModel):
    rate: float | None = None


class _Stats(BaseModel):
    publish_details: _Rate = _Rate()
    deliver_get_details: _Rate = _Rate()


class _Told(BaseModel):
    """What RabbitMQ says of a queue. Right after its start a queue has no figures yet."""

    model_config = ConfigDict(extra="ignore")

    name: str
    messages: int = 0
    messages_ready: int = 0
    messages_unacknowledged: int = 0
    consumers: int = 0
    message_stats: _Stats = _Stats()


_TOLD: Final = TypeAdapter(list[_Told])


class _UnusableError(Exception):
    """The answer is none that tells of queues; the text says what to do."""


class Queues:
    """Asks within some seconds, for an answer of bounded size. It never raises, and never tells a password."""

    def __init__(self, *, url: str | None, link: str | None, rabbitmq_url: str, ca_file: Path | None = None) -> None:
        """`url` is the management API's, with user and password; None for none. Raises OSError for a bad `ca_file`."""
        self._url = url
        self._link = link
        self._vhost = unquote(urlsplit(rabbitmq_url).path[1:]) or "/"
        self._tls = tls.trusting(ca_file)

    async def report(self) -> QueuesReport:
        """The queues, or why they can't be told."""
        problem, queues = _UNSET, list[QueueFigures]()
        if self._url:
            problem, queues = await self._asked(self._url)
        return QueuesReport(management_url=self._link, problem=problem or None, queues=queues)

    async def _asked(self, url: str) -> tuple[str, list[QueueFigures]]:
        """A problem, or the queues."""
        bare = _without_login(url)
        try:
            async with asyncio.timeout(_ANSWER_S):
                told = await self._told(url, bare)
        except (httpx.HTTPError, TimeoutError) as error:
            return f"RabbitMQ's management API at {bare} can't be asked: {_remedy(error)}", []
        except _UnusableError as error:
            return str(error), []
        found = {one.name: one for one in told}
        queues = [_figures(found[queue.name], kind_of(queue)) for _, queue in BINDINGS if queue.name in found]
        if not queues:
            problem = f"RabbitMQ has no queue of PullSync in the virtual host {self._vhost!r}: {_WHO_MAKES_THEM}"
            return problem, []
        return "", queues

    async def _told(self, url: str, bare: str) -> list[_Told]:
        parts = urlsplit(url)
        auth = (unquote(parts.username or "guest"), unquote(parts.password or "guest"))
        async with (
            httpx.AsyncClient(auth=auth, timeout=_ANSWER_S, trust_env=False, verify=self._tls) as http,
            http.stream(
                "GET", f"{bare}/api/queues/{quote(self._vhost, safe='')}", params={"columns": _COLUMNS}
            ) as answer,
        ):
            self._require_success(answer.status_code, bare)
            try:
                return _TOLD.validate_json(await _body(answer, bare))
            except ValidationError as error:
                raise _UnusableError(_no_management(bare)) from error

    def _require_success(self, status: int, bare: str) -> None:
        if status in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
            message = (
                "RabbitMQ's management API refuses the user of RABBITMQ_MANAGEMENT_URL: name one who has the tag "
                f"`monitoring`, access to the virtual host {self._vhost!r}, and that password."
            )
            raise _UnusableError(message)
        if status == httpx.codes.NOT_FOUND:
            message = (
                f"The management API at {bare} knows no virtual host {self._vhost!r}: let RABBITMQ_MANAGEMENT_URL lead "
                "to the RabbitMQ of RABBITMQ_URL."
            )
            raise _UnusableError(message)
        if status != httpx.codes.OK:
            message = f"RabbitMQ's management API at {bare} answered {status}: see RabbitMQ's log."
            raise _UnusableError(message)


async def _body(answer: httpx.Response, bare: str) -> bytes:
    body = bytearray()
    async for part in answer.aiter_bytes():
        body += part
        if len(body) > _ANSWER_BYTES:
            raise _UnusableError(_no_management(bare))
    return bytes(body)


def _no_management(bare: str) -> str:
    return f"What answers at {bare} is not RabbitMQ's management API: correct RABBITMQ_MANAGEMENT_URL."


def _figures(told: _Told, kind: QueueKind) -> QueueFigures:
    return QueueFigures(
        queue=told.name,
        kind=kind,
        messages=told.messages,
        ready=told.messages_ready,
        unacknowledged=told.messages_unacknowledged,
        consumers=told.consumers,
        publish_rate=told.message_stats.publish_details.rate,
        deliver_rate=told.message_stats.deliver_get_details.rate,
    )


def _without_login(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="")).rstrip("/")


def _remedy(error: Exception) -> str:
    """What is wrong and what to do, as the end of a sentence."""
    if remedy := tls.remedy(error):
        return f"{remedy}."
    is_slow = isinstance(error, TimeoutError | httpx.TimeoutException)
    what = "it does not answer in time" if is_slow else "nobody answers"
    return f"{what}; is it running, and does RABBITMQ_MANAGEMENT_URL lead to it?"
