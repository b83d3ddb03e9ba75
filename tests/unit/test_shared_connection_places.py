"""Who gets a place at a server, and who goes for it."""

from __future__ import annotations

from typing import Final

import pytest

from shared.serving.connection_places import NoPlaceError, Places

PROXIES: Final = ("192.0.2.0/24", "2001:db8:1::/48")


@pytest.fixture
def places() -> Places[int]:
    """Five, three of one address."""
    return Places(most=5, most_per_address=3, proxies=PROXIES)


def busy(places: Places[int], number: int, host: str) -> None:
    """Takes a place, and asks for something."""
    assert places.take(number, host) is None
    places.is_busy(number)


@pytest.mark.parametrize(
    "hosts",
    [
        ["198.51.100.1"] * 4,
        ["2001:db8::1", "2001:db8::2", "2001:db8:0:0:ffff::", "2001:db8::3"],
        ["::ffff:198.51.100.1", "198.51.100.1", "::ffff:198.51.100.1", "198.51.100.1"],
    ],
    ids=["an address", "a /64", "IPv4 in IPv6"],
)
def test_one_caller_has_some_places_only(places: Places[int], hosts: list[str]) -> None:
    """Others find room beside him."""
    for number, host in enumerate(hosts[:3]):
        busy(places, number, host)
    with pytest.raises(NoPlaceError, match="from your address"):
        places.take(3, hosts[3])
    busy(places, 4, "203.0.113.1")
    busy(places, 5, "2001:db8:0:1::1")


@pytest.mark.parametrize("host", ["192.0.2.7", "2001:db8:1::7"])
def test_a_proxy_may_have_all(places: Places[int], host: str) -> None:
    """It calls for many."""
    for number in range(5):
        busy(places, number, host)
    with pytest.raises(NoPlaceError, match="Too many"):
        places.take(5, host)


def test_a_caller_who_has_his_places_gives_up_his_own(places: Places[int]) -> None:
    """The oldest of his idle ones; nobody else's."""
    assert places.take(0, "203.0.113.1") is None
    busy(places, 1, "198.51.100.1")
    assert [places.take(number, "198.51.100.1") for number in (2, 3, 4, 5)] == [None, None, 2, 3]


def test_when_all_places_are_taken_the_oldest_idle_one_goes(places: Places[int]) -> None:
    """Whose it is; who became idle last is the youngest."""
    for number in range(5):
        assert places.take(number, f"198.51.100.{number}") is None
    places.is_busy(0)
    places.is_busy(1)
    places.is_idle(0)
    assert [places.take(number, f"203.0.113.{number}") for number in range(5, 10)] == [2, 3, 4, 0, 5]


def test_a_place_is_left_once(places: Places[int]) -> None:
    """Who went for another says so again when his connection ends, or asks for something meanwhile."""
    for number in range(5):
        places.take(number, f"198.51.100.{number}")
    assert places.take(5, "203.0.113.1") == 0
    for _ in range(3):
        places.leave(0)
        places.is_busy(0)
        places.is_idle(0)
    assert places.take(6, "203.0.113.1") == 1
    places.leave(2)
    assert places.take(7, "203.0.113.1") is None


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_this_machine_finds_room(places: Places[int], host: str) -> None:
    """When all others are busy."""
    for number in range(5):
        busy(places, number, f"198.51.100.{number}")
    with pytest.raises(NoPlaceError):
        places.take(5, "203.0.113.1")
    assert places.take(5, host) is None


def test_nothing_is_kept_of_who_has_left() -> None:
    """Ten thousand callers, one after the other, and a thousand at once."""
    places: Places[int] = Places(most=1_000, most_per_address=10)
    for number in range(10_000):
        places.take(number, f"2001:db8:{number:x}::1")
    for number in range(10_000):
        places.leave(number)
    kept = [value for value in vars(places).values() if hasattr(value, "__len__")]
    assert sum(map(len, kept)) == 0


def test_who_has_no_address_is_one_caller(places: Places[int]) -> None:
    """As on a Unix socket."""
    for number in range(3):
        busy(places, number, "")
    with pytest.raises(NoPlaceError):
        places.take(3, "")
