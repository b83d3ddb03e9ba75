"""Who asks too often is refused; a fleet behind one address is not; and callers, however many, cost the same."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from pydantic import ValidationError

from dev.docs import registry_document
from services.registry.api.openapi import operations
from services.registry.api.problems import answer, quota_headers
from services.registry.api.rate_limits import REGISTRATION_PATH, SYNC_PATHS, Limits, RateLimits, counter_of
from services.registry.errors import Quota, TooManyRequestsError
from services.registry.rate_limiter import RateLimiter, rates_of
from services.registry.settings import RegistrySettings

FLEET = 10_000
QUOTA = Quota(name="syncs-60s", limit=5, window_s=60, remaining=2, reset_s=41.2)


@pytest.mark.parametrize(
    ("text", "rates"),
    [
        ("60/minute", [(60, 60)]),
        ("5 per 10 second", [(5, 10)]),
        ("10000/minute; 30000/hour", [(10_000, 60), (30_000, 3_600)]),
        ("0", []),
        (" ", []),
        ("", []),
    ],
)
def test_rates_are_read(text: str, rates: list[tuple[int, int]]) -> None:
    """As people write them; 0 and nothing are none."""
    assert [(rate.amount, rate.get_expiry()) for rate in rates_of(text)] == rates


@pytest.mark.parametrize(
    "text", ["many", "60", "-1/minute", "0/minute", "60/fortnight", "60/minute;", "nan/minute", "none"]
)
def test_what_is_no_rate_is_refused_at_the_start(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In words that say how it should look."""
    monkeypatch.setenv("REGISTRY_LIMIT_SYNCS", text)
    with pytest.raises(ValidationError, match=r"0 (for no limit|alone is no limit)"):
        RegistrySettings()


@pytest.mark.parametrize(
    "text", ["*", "https://a.example, *", "dashboard.example", "https://a.example/", "ftp://a.example"]
)
def test_only_origins_can_be_named(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not all of them at once, and nothing that no browser sends."""
    monkeypatch.setenv("REGISTRY_CORS_ORIGINS", text)
    with pytest.raises(ValidationError, match="must name origins"):
        RegistrySettings()


def test_origins_and_proxies_are_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    """With commas between them; or none."""
    monkeypatch.setenv("REGISTRY_CORS_ORIGINS", "https://A.example, http://localhost:8100")
    monkeypatch.setenv("REGISTRY_PROXIES", "10.0.0.5,172.18.0.0/16 , ::1")
    settings = RegistrySettings()
    assert settings.registry_cors_origins == ("https://a.example", "http://localhost:8100")
    assert settings.registry_proxies == ("10.0.0.5/32", "172.18.0.0/16", "::1/128")
    for nothing in ("none", "", " , "):
        monkeypatch.setenv("REGISTRY_CORS_ORIGINS", nothing)
        monkeypatch.setenv("REGISTRY_PROXIES", nothing)
        settings = RegistrySettings()
        assert (settings.registry_cors_origins, settings.registry_proxies) == ((), ())


@pytest.mark.parametrize("text", ["*", "proxy.example", "10.0.0.5/8", "10.0.0"])
def test_a_proxy_is_an_address(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is believed is named exactly."""
    monkeypatch.setenv("REGISTRY_PROXIES", text)
    with pytest.raises(ValidationError, match="must be addresses or networks"):
        RegistrySettings()


async def test_a_fleet_behind_one_address_may_register_at_once() -> None:
    """By default: all of it, three times within an hour; and then there is an end."""
    limiter = RateLimiter(name="registrations", rates=rates_of(RegistrySettings().registry_limit_registrations))
    for _ in range(FLEET):
        await limiter.take("1")
    with pytest.raises(TooManyRequestsError) as refused:
        await limiter.take("1")
    assert refused.value.retry_after_s is not None
    assert 0 < refused.value.retry_after_s <= 60
    minute, hour = refused.value.quotas
    assert (minute.remaining, hour.remaining) == (0, 2 * FLEET)  # what is refused does not count for longer


async def test_others_are_not_refused_with_one() -> None:
    """Each caller and each kind has a counter of its own."""
    limiters = [RateLimiter(name=name, rates=rates_of("2/hour")) for name in ("a", "b")]
    for limiter in limiters:
        for caller in ("1", "2"):
            assert [quota.remaining for _ in range(2) for quota in await limiter.take(caller)] == [1, 0]
            with pytest.raises(TooManyRequestsError):
                await limiter.take(caller)


async def test_without_rates_everything_is_allowed() -> None:
    """And there is nothing to tell."""
    limiter = RateLimiter(name="syncs", rates=())
    assert [await limiter.take("1") for _ in range(100)] == [()] * 100
    assert quota_headers(()) == {}


def scope(host: str | None) -> dict[str, Any]:
    """A request from there."""
    return {"type": "http", "client": None if host is None else (host, 4711)}


@pytest.mark.parametrize(
    "hosts",
    [
        ("192.0.2.1", "::ffff:192.0.2.1", "::ffff:c000:201"),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:0db8:0001:0002::7%eth0"),
        (None, ""),
    ],
)
def test_one_subscriber_has_one_counter(hosts: tuple[str | None, ...]) -> None:
    """Whichever of his addresses he takes."""
    assert len({counter_of(scope(host)) for host in hosts}) == 1


def test_counters_are_as_many_as_they_are() -> None:
    """Any number of addresses, and of things that are none, share them; neighbours do not."""
    hosts = [f"10.{a}.{b}.{c}" for a in range(2) for b in range(100) for c in range(100)]
    hosts += [f"2001:db8:{part:x}::1" for part in range(10_000)] + [f"unknown-{number}" for number in range(1_000)]
    assert 4_000 < len({counter_of(scope(host)) for host in hosts}) <= 4_096
    assert len({counter_of(scope(f"192.0.2.{number}")) for number in range(20)}) > 15


def test_quotas_are_told_as_the_draft_has_it() -> None:
    """Whole seconds, never too few; and of a refusal also when to come again."""
    assert quota_headers((QUOTA, QUOTA)) == {
        "ratelimit-policy": '"syncs-60s";q=5;w=60, "syncs-60s";q=5;w=60',
        "ratelimit": '"syncs-60s";r=2;t=42, "syncs-60s";r=2;t=42',
    }
    refused = answer(TooManyRequestsError((QUOTA,), again_in_s=41.2))
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "42"
    assert refused.headers["ratelimit"] == '"syncs-60s";r=2;t=42'


def limits(**rates: str) -> Limits:
    """With these; the others are without end."""
    names = ("registrations", "syncs", "nudges", "wrong_tokens")
    limiters = {name: RateLimiter(name=name, rates=rates_of(rates.get(name, "0"))) for name in names}
    return Limits(**limiters)


async def test_who_is_refused_has_nothing_read() -> None:
    """Neither his body, nor anything else: the app is not asked. What the app does not count is not counted."""
    app = FastAPI()
    asked = []
    of_the_app = limits(syncs="1/hour")

    @app.post(SYNC_PATHS[0])
    @app.get(SYNC_PATHS[0])
    @app.post("/cheap")
    async def work(request: Request, *, counts: bool = True) -> str:
        asked.append(1)
        if counts:
            await of_the_app.count(request)
        return "done"

    app.add_middleware(RateLimits, limits=of_the_app)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://app") as http:
        uncounted = [await http.post(SYNC_PATHS[0], params={"counts": False}) for _ in range(3)]
        assert [(each.status_code, each.headers.get("ratelimit")) for each in uncounted] == [(200, None)] * 3
        answers = [await http.post(SYNC_PATHS[0]) for _ in range(3)]
        assert [each.status_code for each in answers] == [200, 429, 429]
        assert len(asked) == 4
        assert [each.headers["ratelimit"].partition(";t=")[0] for each in answers] == ['"syncs-3600s";r=0'] * 3
        for other in (await http.get(SYNC_PATHS[0]), await http.post("/cheap")):
            assert (other.status_code, other.headers.get("ratelimit")) == (200, None)


async def test_to_look_for_room_takes_none() -> None:
    """However often."""
    limiter = RateLimiter(name="syncs", rates=rates_of("1/minute;2/hour"))
    for _ in range(5):
        await limiter.require_room("1")
    await limiter.take("1")
    with pytest.raises(TooManyRequestsError) as refused:
        await limiter.require_room("1")
    assert [quota.remaining for quota in refused.value.quotas] == [0, 1]
    await limiter.require_room("2")


async def test_wrong_tokens_do_not_lock_out_right_ones() -> None:
    """One that was right lately passes, whatever else came from its address; of others the database is not asked."""
    ours, here = limits(wrong_tokens="3/hour"), scope("192.0.2.1")
    ours.remember("right")
    for number in range(3):
        await ours.require_trust(here, f"wrong-{number}")
        await ours.count_wrong(here)
    with pytest.raises(TooManyRequestsError):
        await ours.require_trust(here, "unknown")
    await ours.count_wrong(here)  # it counts no further, and raises nothing
    await ours.require_trust(here, "right")
    await ours.require_trust(scope("192.0.2.2"), "unknown")


def test_right_tokens_are_remembered_in_bounds() -> None:
    """The oldest are forgotten."""
    ours = limits()
    for number in range(20_000):
        ours.remember(f"token-{number}")
        ours.remember("again")
    assert len(ours._right) == 16_384  # noqa: SLF001 - what bounds the memory


def test_what_is_limited_is_what_the_document_says() -> None:
    """No path is limited in silence, and none that is there no longer; of clients' tokens wrong ones are."""
    told = {
        (method, path)
        for path, method, operation in operations(registry_document())
        if "too-many-requests" in str(operation["responses"].get("429"))
    }
    of_clients = {
        ("get", "pull-sync/clients/{user_id}"),
        ("get", "pull-sync/clients/{user_id}/pulls"),
        ("get", "pull-sync/clients/{user_id}/ranking"),
        ("delete", "pull-sync/unregister-client/{user_id}"),
        ("post", "pull-sync/nudge/{user_id}"),
        ("get", "captures/{user_id}/{capture_id}"),
    }
    assert told == {
        *(("post", path) for path in (REGISTRATION_PATH, *SYNC_PATHS)),
        *((method, f"/api/v1/{path}") for method, path in of_clients),
    }
