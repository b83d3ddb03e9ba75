"""Runs a rival as a process, and takes what it measured of itself."""

from __future__ import annotations

import asyncio
import json
from asyncio.subprocess import PIPE
from collections.abc import Sequence
from typing import Any

from dev.stack import CHECKOUT


class RivalError(Exception):
    """The rival did not come to its end; the text is what it said."""


async def run_rival(command: Sequence[str], urls: Sequence[str]) -> dict[str, Any]:
    """Give it the URLs on its standard input; what is in its last line.

    Raises:
        RivalError: it failed.
    """
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, stderr=PIPE, cwd=CHECKOUT)
    output, errors = await process.communicate("\n".join(urls).encode())
    if process.returncode != 0:
        raise RivalError(errors.decode()[-2_000:])
    seen: dict[str, Any] = json.loads(output.splitlines()[-1])
    return seen
