"""TLS servers with certificates of every kind, from authorities that were made a moment ago."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme


def context(certificate: trustme.LeafCert) -> ssl.SSLContext:
    """Of a server with this certificate."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(made)
    return made


def expired(authority: trustme.CA, *names: str) -> trustme.LeafCert:
    """Since yesterday."""
    now = datetime.now(UTC)
    return authority.issue_cert(*names, not_before=now - timedelta(days=3), not_after=now - timedelta(days=1))


def not_yet_valid(authority: trustme.CA, *names: str) -> trustme.LeafCert:
    """From tomorrow on."""
    now = datetime.now(UTC)
    return authority.issue_cert(*names, not_before=now + timedelta(days=1), not_after=now + timedelta(days=3))


def self_signed(authority: trustme.CA, folder: Path) -> ssl.SSLContext:
    """Of a server that shows the authority's own certificate."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.cert_pem.write_to_path(folder / "self.pem")
    authority.private_key_pem.write_to_path(folder / "self.key")
    made.load_cert_chain(folder / "self.pem", folder / "self.key")
    return made


def written(authority: trustme.CA, folder: Path) -> Path:
    """The file that believers in the authority are given."""
    path = folder / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return path


@asynccontextmanager
async def tls_server(tls: ssl.SSLContext, answer: bytes) -> AsyncIterator[int]:
    """The port of a server on 127.0.0.1 that reads a request and answers so."""
    talks: set[asyncio.Task[None] | None] = set()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talks.add(asyncio.current_task())
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for each in filter(None, talks):
            each.cancel()
        await asyncio.gather(*filter(None, talks))
        await server.wait_closed()
