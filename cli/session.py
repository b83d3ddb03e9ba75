"""What every command has: the settings, the registry, and somewhere to write."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Annotated

import typer

from cli.errors import UsageError
from cli.output import Output
from cli.registry import Registry
from cli.settings import CliSettings, token_in
from shared import tls
from shared.settings import SettingsError, read_settings

AsJson = Annotated[bool, typer.Option("--json", help="Print what the API answers, as JSON.")]


class Session:
    """Of one invocation. What the options say wins over the settings."""

    def __init__(self, *, url: str | None = None, token_file: Path | None = None) -> None:
        self.output = Output()
        self._url = url
        self._token_file = token_file

    @cached_property
    def settings(self) -> CliSettings:
        """As the environment and the options have them.

        Raises:
            UsageError: one is bad.
        """
        try:
            found = read_settings(CliSettings)
            if self._url is not None:
                given = CliSettings(_env_file=None, pullsync_url=self._url)
                found = found.model_copy(update={"pullsync_url": given.pullsync_url})
        except SettingsError as error:
            raise UsageError(str(error)) from error
        except ValueError as error:
            message = f"--url must be a URL such as http://localhost:8000, without a user in it; found {self._url}"
            raise UsageError(message) from error
        if self._token_file is not None:
            found = found.model_copy(update={"pullsync_token": token_in(self._token_file)})
        return found

    @contextmanager
    def registry(self, *, otherwise: str | None = None) -> Iterator[Registry]:
        """The registry's API, until leaving. Without a token of ours it is shown `otherwise`.

        Raises UsageError as `settings` does.
        """
        settings = self.settings
        verify: ssl.SSLContext | bool = True
        if settings.pullsync_url.startswith("https:"):
            verify = tls.trusting(settings.pullsync_ca_file or settings.tls_ca_file)
        token = settings.pullsync_token or otherwise
        with Registry(url=settings.pullsync_url, token=token, verify=verify) as registry:
            yield registry


def session_of(context: typer.Context) -> Session:
    """The one that was made when the program began."""
    found = context.find_object(Session)
    assert found is not None, "the app's callback makes it"  # noqa: S101 - ours
    return found
