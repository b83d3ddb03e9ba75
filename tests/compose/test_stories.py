"""docker compose on a real engine, by what the documents say: `make compose`. It needs root, for `kill -9`."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest

from dev.stack import CHECKOUT
from tests.compose import stories

AT_ONCE: Final = 4
COMBINATIONS: Final = (("",), ("", ".tls"), ("", ".pitr"), ("", ".tls", ".pitr"))
"""Of compose files, by what is in their names."""
STORIES: Final[Mapping[str, Callable[[Path], None]]] = {
    story.__name__: story
    for story in (
        stories.faults_of_registry_and_ingest,
        stories.faults_of_rabbitmq_and_puller,
        stories.faults_of_postgres_and_client,
        stories.tls,
        stories.readme_and_backup,
        stories.upgrade,
    )
}

pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="session")
def told(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, _built: None
) -> Iterator[Mapping[str, Future[None]]]:
    """The stories that were asked for, under way."""
    asked = [item.callspec.params["story"] for item in request.session.items if "story" in item.fixturenames]  # type: ignore[attr-defined]
    with ThreadPoolExecutor(AT_ONCE) as threads:
        yield {story: threads.submit(STORIES[story], tmp_path_factory.mktemp(story)) for story in asked}
        threads.shutdown(cancel_futures=True)  # those that nobody waits for any more


@pytest.mark.parametrize("files", COMBINATIONS, ids="+".join)
@pytest.mark.parametrize("profile", ["", "monitoring", "sample"])
def test_docker_compose_has_nothing_to_say_of_the_files(files: tuple[str, ...], profile: str) -> None:
    """Alone and on top of each other they are read without a warning."""
    words = ["docker", "compose", f"--profile={profile}", *(f"--file=docker-compose{file}.yml" for file in files)]
    done = subprocess.run(  # noqa: S603 - ours
        [*words, "config", "--quiet"], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("story", STORIES)
def test_story(story: str, told: Mapping[str, Future[None]]) -> None:
    """It goes well to its end."""
    told[story].result()
