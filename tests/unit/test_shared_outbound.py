"""The outbound policy: which resolved addresses may be called, as a table."""

from __future__ import annotations

import errno
import socket
from typing import Final

import pytest

from shared.outbound import Network, OutboundPolicy

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


@pytest.mark.parametrize("address", ["fd00:ec2::254", "100.100.100.200", "192.0.0.192", "168.63.129.16"])
def test_no_clouds_metadata_service_is_called(address: str) -> None:
    """Those of AWS over IPv6, Alibaba, Oracle and Azure."""
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
