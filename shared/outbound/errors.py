"""Why a client could not be called: a reason out of a fixed set, and a sentence for anybody.

What the other side sent is in no such sentence, since it may be no client: whoever registers an address would read out
what answers there. It is in the log.
"""

from __future__ import annotations

import errno
import os
import ssl
from typing import Final

import aiohttp

from shared.contracts.messages import Reason
from shared.errors import causes
from shared.untrusted_text import visible

_ERROR_CHARS: Final = 200


class ClientCallError(Exception):
    """A client could not be called, or its answer not be used. As a text it is one visible line, for logs only."""

    def __init__(self, reason: Reason, sentence: str, *, detail: str = "", retry_after_s: float = 0.0) -> None:
        """`sentence` is for anybody, so it has nothing that the other side sent; `detail` may, and is for logs.

        `retry_after_s` is how long the client asks not to be called, if it does.
        """
        super().__init__(_line(f"{sentence}: {detail}" if detail else sentence))
        self.reason = reason
        self.retry_after_s = retry_after_s
        self.sentence = _line(sentence)


def _line(text: str) -> str:
    """Cut, and what can't be seen is escaped."""
    return visible(text[:_ERROR_CHARS])[:_ERROR_CHARS]


def not_http(error: Exception) -> ClientCallError:
    """For what the HTTP parsers raise, which quotes the answer."""
    return ClientCallError(Reason.BAD_PAYLOAD, "the answer is not HTTP", detail=str(error))


def connection_error(error: Exception) -> ClientCallError:
    """The reason behind an error of the HTTP stack, which wraps the socket's own.

    No text tells an address: whoever registers a client reads it, and is not to learn where names lead to.
    """
    for cause in causes(error):
        if isinstance(cause, OSError) and cause.errno == errno.EACCES:
            return ClientCallError(Reason.FORBIDDEN_ADDRESS, str(cause.strerror or cause))
        if isinstance(cause, TimeoutError):
            return ClientCallError(Reason.TIMEOUT, "its name could not be looked up, or not be connected to, in time")
    if any(isinstance(cause, ssl.SSLError) for cause in causes(error)):
        return ClientCallError(Reason.TLS, _tls_problem(error))
    if any(isinstance(cause, aiohttp.ClientResponseError) for cause in causes(error)):
        return not_http(error)
    return _not_connected(error)


def _tls_problem(error: Exception) -> str:
    for cause in causes(error):
        if isinstance(cause, aiohttp.ClientError):
            continue  # it wraps the one that knows more
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is refused: {cause.verify_message}"
        if isinstance(cause, ssl.SSLError) and cause.reason:
            return f"no TLS with it: {cause.reason.replace('_', ' ').lower()}"
    return "no TLS with it"


def _not_connected(error: Exception) -> ClientCallError:
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        sentence = f"its name leads nowhere: {error.os_error.strerror or error.os_error}"
    elif isinstance(error, aiohttp.ClientConnectorError):
        number = error.os_error.errno
        sentence = f"not connected: {os.strerror(number)}" if number else "not connected, at none of its addresses"
    else:
        return ClientCallError(
            Reason.CONNECT, "the connection ended before the answer did", detail=f"{error}" or type(error).__name__
        )
    return ClientCallError(Reason.CONNECT, sentence)
