"""Runs a rival as a process, and takes what it measured of itself."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from asyncio.subprocess import PIPE
from collections.abc import Sequence
from typing import Any, Final

from dev.stack import CHECKOUT, inherited_environment

_TIMEOUT_S: Final = 600.0


class RivalError(Exception):
    """The rival did not come to its end; the text is what it said."""


async def run_rival(command: Sequence[str], urls: Sequence[str]) -> dict[str, Any]:
    """Give it the URLs on its standard input; what is in its last line.

    Raises:
        RivalError: it failed.
        TimeoutError: it took longer than ten minutes, and was ended.
    """
    process = await asyncio.create_subprocess_exec(
        *command, stdin=PIPE, stdout=PIPE, stderr=PIPE, cwd=CHECKOUT, env=inherited_environment(), process_group=0
    )
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            output, errors = await process.communicate("\n".join(urls).encode())
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
    if process.returncode != 0:
        raise RivalError(errors.decode()[-2_000:])
    seen: dict[str, Any] = json.loads(output.splitlines()[-1])
    return seen
