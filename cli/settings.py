"""Where the registry is and who we are; each field is an environment variable of the same name in capitals."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field
from pydantic_settings import SettingsConfigDict

from cli.errors import UsageError
from shared.settings import CaFile, HttpUrl, SourcedSettings
from shared.tokens import is_sendable

LONGEST_TOKEN_FILE_BYTES: Final = 64 * 1024


def _sendable(token: str) -> str:
    if not is_sendable(token.strip()):
        message = "must be printable ASCII characters without blanks"
        raise ValueError(message)
    return token.strip()


def _has_host(url: str) -> str:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or not url.isprintable() or " " in url:
        message = "must be a URL such as http://localhost:8000"
        raise ValueError(message)
    return url


def _without_login(url: str) -> str:
    if "@" in urlsplit(url).netloc:
        message = "must not have a user or a password in it; a token goes into PULLSYNC_TOKEN"
        raise ValueError(message)
    return url


Url = Annotated[HttpUrl, AfterValidator(_has_host)]
RegistryUrl = Annotated[Url, AfterValidator(_without_login)]
Token = Annotated[str, AfterValidator(_sendable)]


class CliSettings(SourcedSettings):
    """An empty variable counts as not set."""

    model_config = SettingsConfigDict(env_ignore_empty=True)

    pullsync_url: RegistryUrl = "http://localhost:8000"
    """The registry."""
    pullsync_token: Annotated[Token | None, Field(repr=False)] = None
    """An operator's token, one of the registry's OPERATOR_TOKENS without its scope."""
    pullsync_ca_file: CaFile = None
    """The CAs that the registry may have its certificate from; if none, those of `tls_ca_file`."""
    tls_ca_file: CaFile = None
    """As the services have it: the CAs of RabbitMQ, PostgreSQL and the registry; the system's if none."""
    rabbitmq_management_url: Annotated[Url | None, Field(repr=False)] = None
    """RabbitMQ's management API with user and password, for the doctor."""


def token_in(path: Path) -> str:
    """The token in a file, without the line's end.

    Raises:
        UsageError: the file can't be read, or has something else than a token.
    """
    try:
        with path.open("rb") as file:
            text = file.read(LONGEST_TOKEN_FILE_BYTES).decode()
        return _sendable(text)
    except OSError as error:
        message = f"The file of the token, {path}, can't be read: {error.strerror}."
        raise UsageError(message) from error
    except ValueError as error:  # UnicodeDecodeError is one
        message = f"The file {path} must have a token in it, and nothing else."
        raise UsageError(message) from error
