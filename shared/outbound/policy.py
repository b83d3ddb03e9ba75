"""What may be called: schemes, ports, networks. Pure rules, for whoever opens the connection."""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, Final, Literal

from yarl import URL

if TYPE_CHECKING:
    import aiohttp  # which takes long to import, and is not needed to read settings

Network = Literal["public", "private", "loopback"]

USUAL_PORTS: Final = (range(80, 81), range(443, 444), range(1_024, 65_536))
"""Those of HTTP, and those that any user of a device may listen on.

What else is below 1024 belongs to the system: mail, names, shares, directories. No client lives there, and some of
these protocols take lines of HTTP for commands.
"""

_KERNEL_BYTES: Final = 256 * 1024
"""What the system may take in of an answer that is not read: without it up to 32 MiB, which count as memory too."""
_KNOWN_ADDRESSES: Final = 16_384
"""Of which it is kept whether they may be called."""

_NEVER: Final = tuple(
    ip_network(network)
    for network in (
        # Metadata and credentials of clouds, where they are not link-local: AWS, Google, Oracle, Scaleway, Linode,
        # Alibaba, Oracle again, Azure.
        "fd00:ec2::/32",
        "fd20:ce::254/128",
        "fd00:c1::a9fe:a9fe/128",
        "fd00:42::42/128",
        "fd00:a9fe:a9fe::1/128",
        "100.100.100.200/32",
        "192.0.0.192/32",
        "168.63.129.16/32",
        # This host on this network: no address of anybody else.
        "0.0.0.0/8",
        # Documentation, which this Python may not know yet.
        "3fff::/20",
    )
)


class ForbiddenUrlError(Exception):
    """A URL that may not be called, wherever its name leads to; the text says why in a few words."""


@dataclass(frozen=True, slots=True)
class OutboundPolicy:
    """Which addresses may be called. Link-local (and so the cloud's metadata), multicast and unspecified ones never."""

    networks: frozenset[Network]
    ports: tuple[range, ...] = field(default=USUAL_PORTS, hash=False)  # the hash is asked for at each connection

    @lru_cache(maxsize=_KNOWN_ADDRESSES)  # noqa: B019 - there is one policy for each process
    def permits(self, address: str) -> bool:
        """Whether a connection to this resolved IP address may be opened."""
        ip = _embedded(ip_address(address.split("%", 1)[0]))
        if ip.is_link_local or ip.is_multicast or ip.is_unspecified or (ip.is_reserved and not ip.is_loopback):
            return False
        if any(ip in network for network in _NEVER):
            return False
        return _network_of(ip) in self.networks

    def permits_port(self, port: int) -> bool:
        """Whether a connection to this port may be opened."""
        return any(port in ports for ports in self.ports)

    def check(self, url: URL) -> None:
        """Return when the URL may be called, as far as it can be told without looking its name up.

        Raises:
            ForbiddenUrlError: its scheme is not HTTP's, it has a user name or a password, or its port is not allowed.
        """
        if url.scheme not in {"http", "https"}:
            message = "only http and https may be called"
            raise ForbiddenUrlError(message)
        if url.raw_user is not None or url.raw_password is not None:
            message = "a URL with a user name or a password may not be called"
            raise ForbiddenUrlError(message)
        if url.port is None or not self.permits_port(url.port):
            raise ForbiddenUrlError(_forbidden_port(url.port))

    def open_socket(self, addr_info: aiohttp.AddrInfoType) -> socket.socket:
        """A socket for the connector, made only for a permitted address and port.

        Raises:
            PermissionError: the address or the port may not be called. The text does not tell the address: whoever
                registers a client reads it, and is not to learn where names of this network lead to.
        """
        family, kind, protocol, _, address = addr_info
        if not self.permits(str(address[0])):
            raise PermissionError(errno.EACCES, "its address may not be called; see PULL_SYNC_NETWORKS")
        if not self.permits_port(int(address[1])):
            raise PermissionError(errno.EACCES, _forbidden_port(address[1]))
        made = socket.socket(family, kind, protocol)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _KERNEL_BYTES)
        return made


def _forbidden_port(port: object) -> str:
    return f"its port {port} may not be called; see PULL_SYNC_PORTS"


def _embedded(ip: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address inside an IPv6 one (mapped, 6to4, Teredo, NAT64), since that is what is reached."""
    if isinstance(ip, IPv4Address):
        return ip
    if ip.ipv4_mapped or ip.sixtofour:
        return ip.ipv4_mapped or ip.sixtofour or ip
    if ip.teredo:
        return ip.teredo[1]
    nat64 = int(ip) >> 32 == 0x0064_FF9B << 64
    return IPv4Address(int(ip) & 0xFFFF_FFFF) if nat64 else ip


def _network_of(ip: IPv4Address | IPv6Address) -> Network:
    if ip.is_loopback:
        return "loopback"
    site_local = isinstance(ip, IPv6Address) and ip.is_site_local
    return "public" if ip.is_global and not site_local else "private"
