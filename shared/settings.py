"""Settings that several services have in common, and how a bad one is told."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Final, Literal, TypeVar
from urllib.parse import parse_qs, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, InstanceOf, ValidationError
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from shared import tls
from shared.outbound.policy import Network
from shared.secret_files import SecretFilesError, given_in, secrets_dir
from shared.tokens import is_sendable

LogLevel = Annotated[
    Literal["debug", "info", "warning", "error"],
    BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value),
]
LogFormat = Annotated[
    Literal["auto", "json", "text"],
    BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value),
]
Sampler = Literal[
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
]
Port = Annotated[int, Field(ge=1, le=65_535)]
SHORTEST_TOKEN: Final = 16
SHORTEST_KEY: Final = 32
_FEWEST_CHARACTERS: Final = 8
HOW_TO_MAKE: Final = "a good one is made by: python -c 'import secrets; print(secrets.token_urlsafe(32))'"
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_PORTS: Final = 65_536

_SECRET: Final = re.compile("TOKEN|KEY|PASSWORD")
"""In the names of settings that are shown nowhere."""
_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^:\[\]]*)(?::(\d{1,5}))?")
_SECRET_PART: Final = re.compile(r".*@|(?<=password=)[^&]*", re.DOTALL | re.IGNORECASE)
"""What a URL may hold of a password, however badly it is written."""


def _scheme(*schemes: str) -> AfterValidator:
    def check(url: str) -> str:
        if not url.startswith(tuple(f"{scheme}://" for scheme in schemes)):
            message = f"must begin with {' or '.join(f'{scheme}://' for scheme in schemes)}"
            raise ValueError(message)
        return url

    return AfterValidator(check)


def _address(url: str) -> str:
    """The URL, when it can be taken apart; if not, then the libraries would tell of a part of the password."""
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = None
    hosts = parts.netloc.rpartition("@")[2].split(",") if parts else ()
    if not parts or not all(map(_is_host, hosts)) or "@" in f"{parts.path}{parts.query}{parts.fragment}":
        message = "has no host and port that can be read; in a password, write / as %2F, # as %23, ? as %3F, @ as %40"
        raise ValueError(message)
    return url


def _is_host(text: str) -> bool:
    match = _HOST.fullmatch(text)
    return match is not None and int(match[2] or 0) < _PORTS


def _without(*names: str) -> AfterValidator:
    """A URL that leaves it to TLS_CA_FILE who is trusted: what else it says of that would be ignored."""

    def check(url: str) -> str:
        found = [name for name in names if name in parse_qs(urlsplit(url).query, keep_blank_values=True)]
        if found:
            message = f"must not say {', '.join(found)}: certificates are verified against TLS_CA_FILE, or the system's"
            raise ValueError(message)
        return url

    return AfterValidator(check)


def _without_login(url: str) -> str:
    if "@" in url:
        message = "must not contain a user name or a password: browsers are sent there"
        raise ValueError(message)
    return url


def _known_sslmode(url: str) -> str:
    if tls.sslmode(url) not in (None, *tls.SSLMODES):
        message = f"must have one of these as sslmode: {', '.join(tls.SSLMODES)}"
        raise ValueError(message)
    return url


def separated(value: object) -> object:
    """What stands between commas, blanks or lines, as a tuple; anything but a string is left to the validation."""
    return tuple(value.replace(",", " ").split()) if isinstance(value, str) else value


def _listed(value: object) -> object:
    """The same, with `none` for none."""
    parts = separated(value)
    return () if parts == ("none",) else parts


def is_good_token(token: str, *, shortest: int = SHORTEST_TOKEN) -> bool:
    """Whether it can be sent, and is long and varied enough that it may have been made by chance."""
    return len(token) >= shortest and len(set(token)) >= _FEWEST_CHARACTERS and is_sendable(token)


def what_is_good(shortest: int) -> str:
    """What `is_good_token` asks for, and how to make one."""
    return f"{shortest} printable ASCII characters at least, {_FEWEST_CHARACTERS} different ones; {HOW_TO_MAKE}"


def _not_guessable(shortest: int) -> AfterValidator:
    def check(tokens: tuple[str, ...]) -> tuple[str, ...]:
        if not all(is_good_token(token, shortest=shortest) for token in tokens):
            message = f"each must have {what_is_good(shortest)}"
            raise ValueError(message)
        return tokens

    return AfterValidator(check)


Separated = BeforeValidator(separated)
Listed = BeforeValidator(_listed)
Tokens = Annotated[tuple[str, ...], NoDecode, Separated, _not_guessable(SHORTEST_TOKEN), Field(repr=False)]
"""Secrets, several while one takes the place of another."""
TokenKeys = Annotated[tuple[str, ...], NoDecode, Separated, _not_guessable(SHORTEST_KEY), Field(repr=False)]
"""Keys of which tokens are made; whoever has such a token can try at leisure which key made it."""


def _port_ranges(value: object) -> object:
    """`"80, 1024-65535"` as ranges; anything but a string is left to the validation.

    Raises:
        ValueError: it is something else than ports and ranges of them.
    """
    if not isinstance(value, str):
        return value
    parts = [part.strip() for part in value.split(",") if part.strip()]
    found = tuple(_port_range(part) for part in parts)
    if not found or not all(1 <= ports.start < ports.stop <= _PORTS for ports in found):
        message = "must be ports from 1 to 65535 and ranges of them, such as 80,443,1024-65535"
        raise ValueError(message)
    return found


def _port_range(text: str) -> range:
    """Empty if it is none."""
    match = re.fullmatch(r"(\d{1,5})(?:\s*-\s*(\d{1,5}))?", text, re.ASCII)
    return range(int(match[1]), int(match[2] or match[1]) + 1) if match else range(0)


def _certificates(path: Path | None) -> Path | None:
    """The file, which was read to see that it has some."""
    try:
        if path is not None:
            tls.trusting(path)
    except OSError as error:  # that of OpenSSL is one, too
        message = f"must be a file with the certificate of a CA as PEM, which this user can read: {error.strerror}"
        raise ValueError(message) from None
    return path


DatabaseUrl = Annotated[
    str,
    _scheme("postgresql", "postgres"),
    AfterValidator(_address),
    _without("sslrootcert", "sslcert", "sslkey", "sslpassword", "sslcrl"),
    AfterValidator(_known_sslmode),
]
RabbitMQUrl = Annotated[
    str,
    _scheme("amqp", "amqps"),
    AfterValidator(_address),
    _without("cafile", "capath", "cadata", "certfile", "keyfile", "no_verify_ssl"),
]
HttpUrl = Annotated[str, _scheme("http", "https"), AfterValidator(lambda url: url.rstrip("/"))]
ManagementUrl = Annotated[HttpUrl, AfterValidator(_address)]
"""Of RabbitMQ's management API, with user and password."""
PublicUrl = Annotated[HttpUrl, AfterValidator(_without_login)]
"""To be shown to browsers."""
Networks = Annotated[frozenset[Network], Field(min_length=1), NoDecode, Separated]
Ports = Annotated[tuple[InstanceOf[range], ...], NoDecode, BeforeValidator(_port_ranges)]
CaFile = Annotated[Path | None, BeforeValidator(lambda value: value or None), AfterValidator(_certificates)]


class SourcedSettings(BaseSettings):
    """Read from files in a folder of secrets, the environment, and a file `.env` in the working directory.

    The first of these that has a setting wins.
    """

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", frozen=True, populate_by_name=True)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Files first: who mounts a secret means it, and a forgotten variable must not hide it."""
        _ = settings_cls
        return init_settings, file_secret_settings, env_settings, dotenv_settings


class ServiceSettings(SourcedSettings):
    """What every service reads."""

    log_level: LogLevel = "info"
    log_format: LogFormat = "auto"
    """`auto` is text on a terminal, and JSON elsewhere."""
    otel_exporter_otlp_endpoint: Annotated[HttpUrl | None, BeforeValidator(lambda value: value or None)] = None
    """A collector that takes traces, OTLP by HTTP; without one there are none."""
    otel_exporter_otlp_headers: Annotated[str, Field(repr=False)] = ""
    """What the collector asks for, such as `authorization=Bearer%20...`; a secret, perhaps."""
    otel_traces_sampler: Sampler = "parentbased_always_on"
    otel_traces_sampler_arg: Annotated[float, Field(ge=0, le=1)] = 1.0
    """The share of traces that the samplers with `ratio` in their names record."""
    tls_ca_file: CaFile = None
    """The CAs that RabbitMQ, PostgreSQL and the registry may have their certificates from; the system's if none."""

    @property
    def opentelemetry(self) -> dict[str, str]:
        """The variables of OpenTelemetry, as its SDK reads them; none without a collector."""
        if self.otel_exporter_otlp_endpoint is None:
            return {}
        names = [name for name in ServiceSettings.model_fields if name.startswith("otel_")]
        return {name.upper(): str(getattr(self, name)) for name in names}


SettingsT = TypeVar("SettingsT", bound=SourcedSettings)


class SettingsError(Exception):
    """Some settings can't be used."""

    def __init__(self, problems: Collection[str]) -> None:
        """Each problem is one line that names the setting and says what is wrong with it."""
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


def load_settings(settings: type[SettingsT]) -> SettingsT:
    """The settings of this process; a bad one ends it with status 2 and a line for each, without a stack trace."""
    try:
        return read_settings(settings)
    except SettingsError as error:
        for line in error.problems:
            print(line, file=sys.stderr)  # noqa: T201 - before logging
        sys.exit(2)


def read_settings(settings: type[SettingsT]) -> SettingsT:
    """The settings as this process finds them.

    Raises:
        SettingsError: one is bad. No line shows what a file of a secret says, or a setting whose name is that of a
            secret.
    """
    files: frozenset[str] = frozenset()
    try:
        folder = secrets_dir(os.environ)
        if folder is not None:
            files = given_in(folder, settings.model_fields)
        return settings(_secrets_dir=folder)
    except SecretFilesError as error:
        raise SettingsError(error.problems) from error
    except ValidationError as error:
        raise SettingsError(_described(error, files)) from error
    except UnicodeDecodeError as error:
        problem = f"the file .env is not UTF-8: {error.reason} at byte {error.start}"
        raise SettingsError([problem]) from error


def _described(error: ValidationError, files: Collection[str]) -> list[str]:
    lines = []
    for problem in error.errors(include_url=False, include_context=False):
        name = "_".join(str(part) for part in problem["loc"]).upper()
        setting = str(problem["loc"][0]) if problem["loc"] else ""
        found = f"; found {_SECRET_PART.sub('***', repr(problem['input']))}"
        if setting in files:
            found = ", in the file of that name"
        elif _SECRET.search(name):
            found = ""
        lines.append(f"setting {name}: {problem['msg']}{found}")
    return lines
