"""One pull, from the request to the client until what became of it is published."""

from __future__ import annotations

import time
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import structlog

from services.puller.client_api import ClientApi
from services.puller.observer import PullObserver
from services.puller.publisher import BatchPublisher
from services.puller.reading import Page
from shared.contracts.messages import CompletePull, Outcome, Pull, PullOutcome, PullTarget, Reason
from shared.observing import tracing
from shared.observing.log_context import bind
from shared.outbound.client_http import ClientCallError
from shared.rabbitmq.broker import PublishError
from shared.rabbitmq.settlements import Settlements

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What to ask clients for: what is pending, newer than `since` if that is set; or a page of all that they have."""

    since: datetime | None = None
    complete: CompletePull | None = None


PENDING: Final = Asked()
"""All that is pending."""


class Puller:
    """Every pull ends in one settlement: here when there was nothing or it failed, else by ingest."""

    def __init__(
        self,
        *,
        client_api: ClientApi,
        batches: BatchPublisher,
        settlements: Settlements,
        observer: PullObserver | None = None,
    ) -> None:
        self._client_api = client_api
        self._batches = batches
        self._settlements = settlements
        self._observer = observer or PullObserver()

    async def pull(self, target: PullTarget, asked: Asked = PENDING) -> None:
        """Pull one client; its failures are part of the outcome.

        Raises:
            OwnLackError: it was not called, or its answer not read, for want of something here: it did nothing wrong,
                so no outcome is told.
            PublishError: the outcome could not be told either; the lease is then given back.
        """
        bind(user_id=target.user_id, pull_id=target.pull_id)
        with tracing.of_pull("pull", target) as traced:
            await self._pull(traced, asked)

    async def _pull(self, target: PullTarget, asked: Asked) -> None:
        started = time.monotonic()
        try:
            async with self._ask(
                target, asked
            ) as page:  # until RabbitMQ has the captures, so that memory stays bounded
                await self._tell(target, page, time.monotonic() - started)
        except ClientCallError as error:
            _log_failure(target, error.reason, error)
            await self._failed(
                target,
                error.reason,
                error.sentence,
                time.monotonic() - started,
                retry_after_s=error.retry_after_s,
            )

    def _ask(self, target: PullTarget, asked: Asked) -> AbstractAsyncContextManager[Page]:
        if asked.complete is not None:
            return self._client_api.all_captures(target, asked.complete)
        return self._client_api.sync_data(target, since=asked.since)

    async def _tell(self, target: PullTarget, page: Page, duration_s: float) -> None:
        if page.captures or page.unreadable or page.complete:  # what a client lost is known from an empty page
            await self._hand_over(target, page, duration_s)
            return
        self._observer.had_nothing(duration_s)
        log.debug("nothing_pending")
        await self._settlements.add(
            PullOutcome(
                pull_id=target.pull_id,
                user_id=target.user_id,
                outcome=Outcome.NOTHING,
                pending=page.pending,
                duration_s=duration_s,
                traceparent=target.traceparent,
            )
        )

    async def _hand_over(self, target: PullTarget, page: Page, duration_s: float) -> None:
        pull = Pull(
            pull_id=target.pull_id,
            user_id=target.user_id,
            client_url=target.client_url,
            pulled_at=datetime.now(UTC),
            duration_s=duration_s,
            pending=page.pending,
            more_pending=page.more_pending,
            captures=page.captures,
            unreadable=page.unreadable,
            complete=page.complete,
            token_generation=target.token_generation,
            traceparent=target.traceparent,
        )
        try:
            await self._batches.add(pull)
        except PublishError as error:
            _log_failure(target, Reason.PUBLISH, error)
            await self._failed(target, Reason.PUBLISH, str(error), duration_s)
        else:
            self._observer.handed_over(len(page.captures), duration_s)

    async def _failed(
        self, target: PullTarget, reason: Reason, error: str, duration_s: float, *, retry_after_s: float = 0.0
    ) -> None:
        self._observer.failed(reason, duration_s)
        tracing.failed(reason, error)
        await self._settlements.add(
            PullOutcome(
                pull_id=target.pull_id,
                user_id=target.user_id,
                outcome=Outcome.FAILED,
                reason=reason,
                error=error[:500],
                duration_s=duration_s,
                retry_after_s=retry_after_s,
                traceparent=target.traceparent,
            )
        )


def _log_failure(target: PullTarget, reason: Reason, error: Exception) -> None:
    """With what the other side sent, which goes no further: clients may read their own record."""
    log.info("pull_failed", user_id=target.user_id, client_url=target.client_url, reason=reason, error=str(error))
