"""Settings that several services have in common, and how a bad one is told."""

from __future__ import annotations

import sys
from typing import Annotated, Literal, NoReturn, TypeVar

from pydantic import BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

LogLevel = Annotated[
    Literal["debug", "info", "warning", "error"],
    BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value),
]
Port = Annotated[int, Field(ge=1, le=65_535)]
Seconds = Annotated[float, Field(gt=0)]


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


def _exit_with(error: ValidationError) -> NoReturn:
    for problem in error.errors(include_url=False, include_context=False):
        name = "_".join(str(part) for part in problem["loc"]).upper()
        print(f"setting {name}: {problem['msg']}; found {problem['input']!r}", file=sys.stderr)  # noqa: T201 - before logging
    sys.exit(2)
