"""What the puller makes of the registry's answers to its claims."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import structlog

from services.puller.leases import HeldLeases
from services.puller.registry_api import RefusedError, RegistryApi, RegistryAwayError
from shared.tokens import DerivedTokens

OURS = DerivedTokens(["the-key-of-tokens-0123456789abcdef"]).fingerprint
OTHER = DerivedTokens(["a-key-that-is-not-known-0123456789"]).fingerprint

CLAIM = HeldLeases().next_claim()


def api_over(answers: list[httpx.Response], key_fingerprint: str | None = None) -> RegistryApi:
    """A registry that gives these answers, one after the other."""
    http = httpx.AsyncClient(transport=httpx.MockTransport(lambda _request: answers.pop(0)))
    return RegistryApi(http=http, backend_url="http://registry", key_fingerprint=key_fingerprint)


def nothing_due(**members: Any) -> httpx.Response:
    """Claims without a client."""
    return httpx.Response(200, json={"targets": [], **members})


@pytest.mark.parametrize("status", [401, 403])
async def test_a_token_that_is_refused_is_told_as_such(status: int) -> None:
    """With the setting that is wrong; and the puller is not ready until it is taken."""
    api = api_over([httpx.Response(status, json={"detail": "no"}), nothing_due()])
    assert await api.accepts_us()
    with pytest.raises(RefusedError, match="SERVICE_TOKENS"):
        await api.claim(10, ahead_s=0, claim=CLAIM)
    assert not await api.accepts_us()
    assert await api.claim(10, ahead_s=0, claim=CLAIM) == ()
    assert await api.accepts_us()


@pytest.mark.parametrize("answer", [httpx.Response(503), httpx.Response(200, text="<html>"), httpx.Response(404)])
async def test_any_other_failure_may_pass(answer: httpx.Response) -> None:
    """It says nothing of us."""
    api = api_over([answer])
    with pytest.raises(RegistryAwayError) as error:
        await api.claim(10, ahead_s=0, claim=CLAIM)
    assert not isinstance(error.value, RefusedError)
    assert await api.accepts_us()


@pytest.mark.parametrize(
    ("of_registry", "of_puller", "told"),
    [(OURS, OURS, 0), (OURS, OTHER, 1), (OURS, None, 1), (None, OURS, 0), (None, None, 0)],
)
async def test_keys_that_differ_are_told_once(of_registry: str | None, of_puller: str | None, told: int) -> None:
    """Each client would refuse the puller, and none could say why."""
    api = api_over([nothing_due(key_fingerprint=of_registry), nothing_due(key_fingerprint=of_registry)], of_puller)
    with structlog.testing.capture_logs() as logged:
        for _ in range(2):
            assert await api.claim(10, ahead_s=0, claim=CLAIM) == ()
    assert [entry["event"] for entry in logged] == ["clients_will_refuse"] * told
    assert all("PULL_TOKEN_KEYS" in entry["problem"] for entry in logged)


async def test_a_registry_before_there_were_fingerprints_is_borne() -> None:
    """It leaves the member out."""
    assert await api_over([nothing_due()], OURS).claim(10, ahead_s=0, claim=CLAIM) == ()
