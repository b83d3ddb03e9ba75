"""Who may be connected to a server: so many in all, so many from one address; and who goes when it is full. No I/O.

An idle connection costs its sender nothing, so it must not keep others out: when there is no room, the connection that
has waited longest without a whole request goes. Who was let in and asks at once meets that only in a flood that renews
all places within the time of his request.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, Generic, TypeVar

FOR_THIS_MACHINE: Final = 16
"""Places beside all others, for who calls from the machine itself: what looks after the service's health."""
_IPV6_PREFIX: Final = 64
"""What one caller has at least, and can choose from as he likes."""

ConnectionT = TypeVar("ConnectionT", bound=Hashable)


class NoPlaceError(Exception):
    """There is no room, and nobody who could go; the text is one sentence for the caller."""


class Places(Generic[ConnectionT]):
    """Those of one server. Each connection takes one and leaves it; what is done in between takes constant time."""

    def __init__(self, *, most: int, most_per_address: int, proxies: Sequence[str] = ()) -> None:
        """`proxies` are addresses and networks from which there may be as many as there are places."""
        self._most = most
        self._most_per_address = most_per_address
        self._proxies = [ip_network(each) for each in proxies]
        self._callers: dict[ConnectionT, str] = {}
        self._from: Counter[str] = Counter()
        self._idle: dict[ConnectionT, None] = {}
        """In the order in which they became so."""
        self._idle_from: dict[str, dict[ConnectionT, None]] = {}

    def take(self, connection: ConnectionT, host: str) -> ConnectionT | None:
        """Give this one a place; the connection whose place it is, if one has to go, which has left it then.

        Raises:
            NoPlaceError: all have asked for something and wait for their answer.
        """
        address = _parsed(host)
        caller = _caller(address, host)
        more = FOR_THIS_MACHINE if address is not None and address.is_loopback else 0
        going: ConnectionT | None = None
        if self._from[caller] >= self._most_per_address + more and not self._is_proxy(address):
            going = next(iter(self._idle_from.get(caller, ())), None)
            if going is None:
                message = f"More than {self._most_per_address} connections are open from your address; close some."
                raise NoPlaceError(message)
        elif len(self._callers) >= self._most + more:
            going = next(iter(self._idle), None)
            if going is None:
                message = "Too many connections are open; try again soon."
                raise NoPlaceError(message)
        if going is not None:
            self.leave(going)
        self._callers[connection] = caller
        self._from[caller] += 1
        self.is_idle(connection)
        return going

    def is_idle(self, connection: ConnectionT) -> None:
        """From now on it waits for a whole request; without a place it is nothing."""
        caller = self._callers.get(connection)
        if caller is not None:
            self._idle[connection] = None
            self._idle_from.setdefault(caller, {})[connection] = None

    def is_busy(self, connection: ConnectionT) -> None:
        """A whole request has come."""
        if connection not in self._idle:
            return
        del self._idle[connection]
        caller = self._callers[connection]
        of_caller = self._idle_from[caller]
        del of_caller[connection]
        if not of_caller:
            del self._idle_from[caller]

    def leave(self, connection: ConnectionT) -> None:
        """It has none any more; it may be said again."""
        self.is_busy(connection)
        caller = self._callers.pop(connection, None)
        if caller is not None:
            self._from[caller] -= 1
            if not self._from[caller]:
                del self._from[caller]

    def _is_proxy(self, address: IPv4Address | IPv6Address | None) -> bool:
        return address is not None and any(address in network for network in self._proxies)


def _parsed(host: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:  # a Unix socket
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _caller(address: IPv4Address | IPv6Address | None, host: str) -> str:
    """Who is counted as one."""
    if isinstance(address, IPv6Address) and not address.is_loopback:
        return str(IPv6Network((address, _IPV6_PREFIX), strict=False))
    return str(address) if address is not None else host
