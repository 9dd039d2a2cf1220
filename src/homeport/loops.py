"""The event loop of processes that run for long."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T]) -> T:
    """As ``asyncio.run``, with uvloop's loop."""
    import uvloop  # not with the command line, which needs no loop to print its help

    return uvloop.run(_run(main))


async def _run(main: Coroutine[Any, Any, T]) -> T:
    asyncio.get_running_loop().set_exception_handler(handle)
    return await main


def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what nobody has caught, but for this: a connection that is given up in the middle of TLS's handshake lets
    uvloop answer the other side on a transport that is closed. Nobody waits for that answer."""
    error = context.get("exception")
    is_given_up = isinstance(error, RuntimeError) and str(error).endswith("the handler is closed")
    if not (is_given_up and context.get("message") == "Fatal error on SSL protocol"):
        loop.default_exception_handler(context)
