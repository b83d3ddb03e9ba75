"""Serves an app within the process of a test, by HTTP, as its service's own process would."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import uvicorn
from fastapi import FastAPI


@asynccontextmanager
async def served(build: Callable[[int], FastAPI]) -> AsyncIterator[int]:
    """The app on a free port of its own, with its lifespan entered once it listens; the port."""
    async with AsyncExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        port: int = listener.getsockname()[1]
        app = build(port)
        server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None, ws="none"))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        await stack.enter_async_context(app.router.lifespan_context(app))
        try:
            yield port
        finally:
            server.should_exit = True
            await serving
