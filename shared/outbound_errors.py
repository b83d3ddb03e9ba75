"""Why a client could not be called: a reason out of a fixed set, and a sentence without anything to fear in it."""

from __future__ import annotations

import errno
import os
import ssl
from collections.abc import Iterator
from typing import Final

import aiohttp

from shared.messages import Reason
from shared.untrusted_text import visible

_ERROR_CHARS: Final = 200


class ClientCallError(Exception):
    """A client could not be called, or its answer not be used."""

    def __init__(self, reason: Reason, text: str) -> None:
        """`text` is one sentence for an operator; foreign text in it is cut, and what can't be seen is escaped."""
        super().__init__(visible(text[:_ERROR_CHARS])[:_ERROR_CHARS])
        self.reason = reason


def connection_error(error: Exception) -> ClientCallError:
    """The reason behind an error of the HTTP stack, which wraps the socket's own.

    No text tells an address: whoever registers a client reads it, and is not to learn where names lead to.
    """
    for cause in _causes(error):
        if isinstance(cause, OSError) and cause.errno == errno.EACCES:
            return ClientCallError(Reason.FORBIDDEN_ADDRESS, str(cause.strerror or cause))
        if isinstance(cause, TimeoutError):
            return ClientCallError(Reason.TIMEOUT, "its name could not be looked up, or not be connected to, in time")
    if any(isinstance(cause, ssl.SSLError) for cause in _causes(error)):
        return ClientCallError(Reason.TLS, _tls_problem(error))
    if any(isinstance(cause, aiohttp.ClientResponseError) for cause in _causes(error)):
        return ClientCallError(Reason.BAD_PAYLOAD, f"the answer is not HTTP: {error}")
    return ClientCallError(Reason.CONNECT, _connect_problem(error))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _tls_problem(error: Exception) -> str:
    for cause in _causes(error):
        if isinstance(cause, aiohttp.ClientError):
            continue  # it wraps the one that knows more
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is refused: {cause.verify_message}"
        if isinstance(cause, ssl.SSLError) and cause.reason:
            return f"no TLS with it: {cause.reason.replace('_', ' ').lower()}"
    return "no TLS with it"


def _connect_problem(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return f"its name leads nowhere: {error.os_error.strerror or error.os_error}"
    if isinstance(error, aiohttp.ClientConnectorError):
        number = error.os_error.errno
        return f"not connected: {os.strerror(number)}" if number else "not connected, at none of its addresses"
    return f"{error}" or type(error).__name__
