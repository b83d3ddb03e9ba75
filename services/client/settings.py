"""What the environment (or a file `.env`) decides for the client. Nothing else in this package reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, HttpUrl, StringConstraints, TypeAdapter
from pydantic_settings import NoDecode, SettingsConfigDict

from shared.contracts.client_protocol import Identifier
from shared.serving.page_settings import Hosts, OriginsOrAll
from shared.settings import Port, Seconds, ServiceSettings, Tokens
from shared.tokens import is_sendable


def base_url(value: str) -> str:
    """The http or https URL as it was given, without a trailing slash.

    Raises:
        ValueError: it is no such URL.
    """
    TypeAdapter(HttpUrl).validate_python(value)
    return value.strip().rstrip("/")


def sendable(value: str) -> str:
    """The token without blanks around it.

    Raises:
        ValueError: it can't stand in a header.
    """
    if not is_sendable(value.strip()):
        message = "must be printable ASCII characters without blanks"
        raise ValueError(message)
    return value.strip()


def users(value: object) -> object:
    """What stands between commas, which may have blanks; `none` for none."""
    if not isinstance(value, str):
        return value
    named = tuple(part.strip() for part in value.split(",") if part.strip())
    return () if named == ("none",) else named


Users = Annotated[tuple[Identifier, ...], NoDecode, BeforeValidator(users)]
BaseUrl = Annotated[str, StringConstraints(max_length=2_048), AfterValidator(base_url)]


class ClientSettings(ServiceSettings):
    """One field for each variable, by the same name; an empty variable counts as not set."""

    model_config = SettingsConfigDict(env_ignore_empty=True)

    client_host: str = "127.0.0.1"
    client_port: Port = 3001
    client_url: BaseUrl | None = None
    client_user_id: Identifier = "user_1"
    client_take_over_from: Users = ()
    """Other users whose captures, here or in the file, become this user's; without it, they end the start."""
    client_cors_origins: OriginsOrAll = ()
    """Origins of other pages and apps than its own that may call the client; `*` for all, as in the original."""
    client_hosts: Hosts = ()
    """Names by which it is called, beside localhost, IP addresses and the host of its URL."""
    client_database: Path = Path("client-data/captures.sqlite3")
    client_import_file: Path = Path("client-sync-data.json")
    """The original client's file, imported once when it is there."""
    client_retention_days: Annotated[int, Field(ge=1, le=36_500)] = 30
    """Acknowledged captures are deleted after the client has run for so long."""
    client_registration_check: Annotated[Seconds, Field(le=86_400)] = 30.0
    """Seconds between two questions to the registry whether it still knows this client."""
    client_nudge: bool = False
    """Whether the registry is told of a fresh capture, so that it pulls soon."""
    client_registration_token: Annotated[str, AfterValidator(sendable)] | None = Field(default=None, repr=False)
    """Shown to the registry by a client that has no token of its own yet; one of its REGISTRATION_TOKENS."""
    client_metrics_tokens: Tokens = ()
    """One of them is needed to read the metrics; empty: whoever may pull captures may read them."""
    backend_url: BaseUrl = "http://localhost:8000"

    @property
    def public_url(self) -> str:
        """Where the registry reaches this client."""
        return self.client_url or f"http://localhost:{self.client_port}"
