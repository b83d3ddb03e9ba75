"""The outbound policy: which resolved addresses, ports and URLs may be called, as tables."""

from __future__ import annotations

import errno
import socket
from typing import Final

import aiohttp
import pytest
from yarl import URL

from shared.contracts.messages import Reason
from shared.outbound.client_http import Network, OutboundPolicy
from shared.outbound.errors import connection_error
from shared.outbound.policy import USUAL_PORTS, ForbiddenUrlError

EVERYTHING: Final = OutboundPolicy(frozenset({"public", "private", "loopback"}))

NETWORK_OF: Final[dict[str, Network]] = {
    "8.8.8.8": "public",
    "2606:4700::1": "public",
    "::ffff:8.8.8.8": "public",
    "64:ff9b::8.8.8.8": "public",
    "2002:808:808::1": "public",
    "10.0.0.1": "private",
    "172.16.0.1": "private",
    "172.31.255.255": "private",
    "192.168.1.1": "private",
    "100.64.0.1": "private",
    "198.18.0.1": "private",
    "fd00::1": "private",
    "::ffff:10.0.0.1": "private",
    "64:ff9b::10.0.0.1": "private",
    "2002:a00:1::1": "private",
    "127.0.0.1": "loopback",
    "127.255.255.255": "loopback",
    "::1": "loopback",
    "::ffff:127.0.0.1": "loopback",
    "64:ff9b::127.0.0.1": "loopback",
    "2002:7f00:1::": "loopback",
    "2001:0:4136:e378:8000:63bf:80ff:fffe": "loopback",
}

NEVER: Final = (
    "169.254.169.254",
    "169.254.0.1",
    "fe80::1",
    "fe80::1%eth0",
    "224.0.0.1",
    "239.255.255.255",
    "ff02::1",
    "0.0.0.0",
    "0.1.2.3",
    "::",
    "240.0.0.1",
    "255.255.255.255",
    "::ffff:169.254.169.254",
    "::ffff:0.0.0.0",
    "::ffff:224.0.0.1",
    "2002:a9fe:a9fe::1",
    "2001:0:4136:e378:8000:63bf:5601:5601",
    "64:ff9b::169.254.169.254",
    "64:ff9b:1::a9fe:a9fe",
    "::ffff:0:169.254.169.254",
    "::169.254.169.254",
    "::127.0.0.1",
)


@pytest.mark.parametrize(("address", "network"), NETWORK_OF.items())
def test_an_address_belongs_to_one_network(address: str, network: Network) -> None:
    """It is permitted where its network is, and where only the others are, it is not."""
    others = EVERYTHING.networks - {network}
    assert OutboundPolicy(frozenset({network})).permits(address)
    assert not OutboundPolicy(others).permits(address)


@pytest.mark.parametrize("address", NEVER)
def test_some_addresses_are_never_called(address: str) -> None:
    """Link-local, multicast, unspecified and reserved ones, also inside an IPv6 address."""
    assert not EVERYTHING.permits(address)


METADATA: Final = {
    "AWS, ECS": "169.254.170.2",
    "AWS, EKS": "fd00:ec2::23",
    "AWS, IPv6": "fd00:ec2::254",
    "Alibaba": "100.100.100.200",
    "Azure": "168.63.129.16",
    "Google, IPv6": "fd20:ce::254",
    "Linode, IPv6": "fd00:a9fe:a9fe::1",
    "Oracle": "192.0.0.192",
    "Oracle, IPv6": "fd00:c1::a9fe:a9fe",
    "Scaleway": "169.254.42.42",
    "Scaleway, IPv6": "fd00:42::42",
    "inside NAT64": "64:ff9b::6464:64c8",
    "mapped": "::ffff:168.63.129.16",
}


@pytest.mark.parametrize("address", METADATA.values(), ids=METADATA)
def test_no_clouds_metadata_service_is_called(address: str) -> None:
    """Whatever the setting says: who reads it gets the credentials of this machine."""
    assert not EVERYTHING.permits(address)


@pytest.mark.parametrize("address", ["fec0::1", "3fff::1"])
def test_addresses_of_no_public_network_are_not_public(address: str) -> None:
    """What is not routed on the internet is not the internet."""
    assert not OutboundPolicy(frozenset({"public"})).permits(address)


def test_a_socket_is_made_only_for_a_permitted_address() -> None:
    """The refusal is the operating system's own error, which the HTTP stack passes on."""
    loopback = OutboundPolicy(frozenset({"loopback"}))
    with loopback.open_socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 80))) as made:
        assert made.family == socket.AF_INET
    with pytest.raises(PermissionError) as caught:
        loopback.open_socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.1", 80)))
    assert caught.value.errno == errno.EACCES


@pytest.mark.parametrize("port", [80, 443, 1_024, 3_001, 8_080, 65_535])
def test_usual_ports_may_be_called(port: int) -> None:
    """Those of HTTP, and those that anybody may listen on."""
    assert EVERYTHING.permits_port(port)


@pytest.mark.parametrize("port", [0, 1, 22, 25, 53, 79, 81, 110, 389, 442, 444, 445, 1_023, 65_536])
def test_odd_ports_are_not_called(port: int) -> None:
    """Neither by a URL nor by a socket: what listens there is no client, and may take HTTP for commands."""
    assert not EVERYTHING.permits_port(port)
    with pytest.raises(PermissionError, match=f"its port {port} may not be called; see PULL_SYNC_PORTS"):
        EVERYTHING.open_socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)))


def test_ports_are_a_setting() -> None:
    """A server of one's own can be left out."""
    policy = OutboundPolicy(frozenset({"loopback"}), ports=(range(1_024, 5_432), range(5_433, 65_536)))
    assert (policy.permits_port(5_431), policy.permits_port(5_432), policy.permits_port(80)) == (True, False, False)
    assert EVERYTHING.ports == USUAL_PORTS


FORBIDDEN_URLS: Final = {
    "credentials": ("http://user:secret@8.8.8.8/", "user name"),
    "user name": ("http://user@8.8.8.8/", "user name"),
    "password": ("http://:secret@8.8.8.8/", "user name"),
    "ftp": ("ftp://8.8.8.8/", "http"),
    "file": ("file:///etc/passwd", "http"),
    "gopher": ("gopher://8.8.8.8:6379/_FLUSHALL", "http"),
    "websocket": ("ws://8.8.8.8/", "http"),
    "data": ("data:text/plain,x", "http"),
    "no scheme": ("//8.8.8.8/", "http"),
    "odd port": ("http://8.8.8.8:25/", "port 25"),
    "port 0": ("http://8.8.8.8:0/", "port 0"),
}


@pytest.mark.parametrize(("url", "reason"), FORBIDDEN_URLS.values(), ids=FORBIDDEN_URLS)
def test_a_forbidden_url_is_told(url: str, reason: str) -> None:
    """Before its name is looked up."""
    with pytest.raises(ForbiddenUrlError, match=reason):
        EVERYTHING.check(URL(url))


@pytest.mark.parametrize("url", ["http://8.8.8.8", "https://client.example/a@b", "http://[::1]:3001/x?limit=1"])
def test_other_urls_may_be_called(url: str) -> None:
    """By the ports of their schemes, too; where they lead to is another question."""
    EVERYTHING.check(URL(url))


def test_errors_that_come_of_each_other_are_each_looked_at_once() -> None:
    """Tasks that share an error may chain it in a circle."""
    first, second = OSError("a"), aiohttp.ClientError("b")
    first.__cause__, second.__cause__ = second, first
    assert connection_error(second).reason is Reason.CONNECT
