"""TLS to the servers of the backend and to clients: who is trusted, and what to do when a certificate is refused."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

from shared.errors import causes

SSLMODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
"""As libpq has them. Only the last two verify anything, and only the very last one the server's name."""

_UNTRUSTED: Final = (
    "nobody who is trusted here has signed the server's certificate: TLS_CA_FILE must name the PEM file of the CA "
    "that has, and is read at the start"
)
_OTHER_NAME: Final = (
    "the server's certificate is for another name: use one that it has in the URL, or issue one for the name in the URL"
)
_OTHER_TIME: Final = "renew the server's certificate, or set the clocks right; it is tried again by itself"
_REPLACE: Final = "replace the server's certificate"
_NO_TLS: Final = "the server does not speak TLS there, or no version since 1.2: see port and scheme of the URL"
_REMEDIES: Final = {
    # X509_V_ERR_* of OpenSSL.
    2: _UNTRUSTED,
    9: _OTHER_TIME,
    10: _OTHER_TIME,
    18: _UNTRUSTED,
    19: _UNTRUSTED,
    20: _UNTRUSTED,
    21: _UNTRUSTED,
    62: _OTHER_NAME,
    64: _OTHER_NAME,
}
_CUT_OFF: Final = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)
"""What a server that goes away looks like."""


def trusting(ca_file: Path | None) -> ssl.SSLContext:
    """Verifies certificate and name of a server: by the CAs in the file and no others, by the system's without one.

    Raises:
        OSError: the file can't be read, or has no certificate.
    """
    return ssl.create_default_context(cafile=ca_file)


def for_clients(ca_file: Path | None) -> ssl.SSLContext:
    """Verifies certificate and name of a client: by the system's CAs, and by those in the file as well.

    Raises:
        OSError: the file can't be read, or has no certificate.
    """
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    if ca_file is not None:
        context.load_verify_locations(cafile=ca_file)
    return context


def for_rabbitmq(url: str, ca_file: Path | None) -> ssl.SSLContext | None:
    """For a connection to `url`; None when that asks for none (`amqp://`). Raises as `trusting` does."""
    return trusting(ca_file) if urlsplit(url).scheme == "amqps" else None


def for_postgres(url: str, ca_file: Path | None) -> ssl.SSLContext | None:
    """For a connection to `url`; None when that does not ask for verification, and asyncpg decides by its sslmode.

    Raises as `trusting` does.
    """
    mode = sslmode(url)
    if mode not in ("verify-ca", "verify-full"):
        return None
    context = trusting(ca_file)
    context.check_hostname = mode == "verify-full"
    context.set_alpn_protocols(["postgresql"])
    return context


def sslmode(url: str) -> str | None:
    """What a Postgres URL says."""
    said = parse_qs(urlsplit(url).query).get("sslmode")
    return said[-1] if said else None


def remedy(error: BaseException) -> str | None:
    """What to do about a connection that TLS has refused; None when that is not what the error comes of."""
    for cause in causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _REMEDIES.get(cause.verify_code, _REPLACE)
        if isinstance(cause, ssl.SSLError):
            return None if isinstance(cause, _CUT_OFF) else _NO_TLS
    return None
