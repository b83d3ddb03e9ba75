"""Settings that several services have in common, and how a bad one is told."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated, Final, Literal, NoReturn, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, InstanceOf, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from shared.outbound import Network
from shared.tokens import is_sendable
from shared.trust import trusting

LogLevel = Annotated[
    Literal["debug", "info", "warning", "error"],
    BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value),
]
Port = Annotated[int, Field(ge=1, le=65_535)]
SHORTEST_TOKEN: Final = 16
HOW_TO_MAKE: Final = "a good one is made by: python -c 'import secrets; print(secrets.token_urlsafe(32))'"
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_PORTS: Final = 65_536


def _scheme(*schemes: str) -> AfterValidator:
    def check(url: str) -> str:
        if not url.startswith(tuple(f"{scheme}://" for scheme in schemes)):
            message = f"must begin with {' or '.join(f'{scheme}://' for scheme in schemes)}"
            raise ValueError(message)
        return url

    return AfterValidator(check)


def _comma_separated(value: object) -> object:
    """`"public, private"` as a list of two."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _separated(value: object) -> object:
    """What stands between commas or in lines of its own, as a tuple."""
    return tuple(value.replace(",", " ").split()) if isinstance(value, str) else value


def is_good_token(token: str) -> bool:
    """Whether it can be sent, and hardly be guessed."""
    return len(token) >= SHORTEST_TOKEN and is_sendable(token)


def _not_guessable(tokens: tuple[str, ...]) -> tuple[str, ...]:
    if not all(map(is_good_token, tokens)):
        message = f"each must have {SHORTEST_TOKEN} printable ASCII characters at least; {HOW_TO_MAKE}"
        raise ValueError(message)
    return tokens


Separated = BeforeValidator(_separated)
Tokens = Annotated[tuple[str, ...], NoDecode, Separated, AfterValidator(_not_guessable), Field(repr=False)]
"""Secrets, several while one takes the place of another."""


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
    """The file, which was read to see that it has some. Raises as `trusting` does."""
    if path is not None:
        trusting(path)
    return path


DatabaseUrl = Annotated[str, _scheme("postgresql", "postgres")]
RabbitMQUrl = Annotated[str, _scheme("amqp", "amqps")]
HttpUrl = Annotated[str, _scheme("http", "https"), AfterValidator(lambda url: url.rstrip("/"))]
Networks = Annotated[frozenset[Network], Field(min_length=1), NoDecode, BeforeValidator(_comma_separated)]
Ports = Annotated[tuple[InstanceOf[range], ...], NoDecode, BeforeValidator(_port_ranges)]
CaFile = Annotated[Path | None, BeforeValidator(lambda value: value or None), AfterValidator(_certificates)]


_SECRET: Final = re.compile("TOKEN|KEY|PASSWORD")
"""In the names of settings that are shown nowhere."""


class ServiceSettings(BaseSettings):
    """Read from the environment, and from a file `.env` in the working directory; the environment wins."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", frozen=True, populate_by_name=True)

    log_level: LogLevel = "info"


SettingsT = TypeVar("SettingsT", bound=ServiceSettings)


def load_settings(settings: type[SettingsT]) -> SettingsT:
    """The settings of this process; a bad one ends it with status 2 and a line for each, without a stack trace."""
    try:
        return settings()
    except ValidationError as error:
        _exit_with(error)
    except UnicodeDecodeError as error:
        print(f"the file .env is not UTF-8: {error}", file=sys.stderr)  # noqa: T201 - before logging
        sys.exit(2)


def _exit_with(error: ValidationError) -> NoReturn:
    for problem in error.errors(include_url=False, include_context=False):
        name = "_".join(str(part) for part in problem["loc"]).upper()
        found = re.sub("//.*@", "//***@", repr(problem["input"]))  # a URL may hold a password
        found = "" if _SECRET.search(name) else f"; found {found}"
        print(f"setting {name}: {problem['msg']}{found}", file=sys.stderr)  # noqa: T201 - before logging
    sys.exit(2)
