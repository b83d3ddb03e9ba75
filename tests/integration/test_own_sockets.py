"""A puller that has no descriptors left, as a real process: no client pays for it, and it says so itself."""

from __future__ import annotations

import resource
from typing import Final

import httpx

from dev.stack import Stack
from services.registry.domain import NewClient
from tests.raw_server import OK, served
from tests.registry_parts import Database, registry_over
from tests.waiting import eventually

NONE_LEFT: Final = 3
"""A limit that leaves what is open open, and lets nothing be opened."""
NOTHING: Final = b'{"user_id": "ash", "captures": []}'


def limit_files(pid: int, soft: int) -> None:
    """What `ulimit -n` would have set."""
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (min(soft, hard), hard))


async def test_no_client_pays_for_a_puller_without_descriptors(stack: Stack, database: Database) -> None:
    """On the timer and on demand: no pull fails, the puller is not ready, and all goes on when it has some again."""
    stack.start_together("registry", "puller-1")
    soft, _ = resource.prlimit(stack.pid("puller-1"), resource.RLIMIT_NOFILE)
    async with (
        served(OK + b"content-length: %d\r\n\r\n" % len(NOTHING) + NOTHING) as client_url,
        registry_over(database, running=True) as registry,
        httpx.AsyncClient(base_url=stack.url("puller-1"), trust_env=False) as puller,
    ):

        async def sockets_suffice() -> bool:
            checks = (await puller.get("/health/ready")).json()["checks"]  # by the connection that it has already
            return bool(checks["sockets"])

        assert await sockets_suffice()
        limit_files(stack.pid("puller-1"), NONE_LEFT)
        await registry.clients.register(NewClient(user_id="ash", client_url=client_url))
        await registry.make_due()
        run_id = await registry.runs.start("sync-all", since=None)

        async def lacks() -> bool:
            return not await sockets_suffice()

        await eventually(lacks)
        assert (await puller.get("/health/ready")).status_code == 503
        assert (await puller.get("/health/live")).status_code == 200
        assert "pullsync_own_lacks_total 0.0" not in (await puller.get("/metrics")).text
        record = await registry.record("ash")
        assert (record["failures"], record["last_reason"]) == (0, None)
        limit_files(stack.pid("puller-1"), soft)

        async def finished() -> bool:
            return not await registry.is_open(run_id)

        await eventually(finished, deadline_s=60.0)
        assert (await registry.runs.get(run_id)).failed == 0
        assert (await registry.record("ash"))["failures"] == 0
        await eventually(sockets_suffice)
    log = (stack.folder / "logs" / "puller-1.log").read_text()
    assert log.count("own_sockets_lacking") == 1
    assert "pull_failed" not in log
    assert "Traceback" not in log
