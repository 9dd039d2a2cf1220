"""A stream of bytes as messages on a WebSocket (upstream: ``wsstream.Reader``): logs, as some clients follow them."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator

from homeport.apiserver.streaming.channels import WebSocket
from homeport.kube.wire import Duplex

BASE64_PROTOCOL = "base64.binary.k8s.io"
PROTOCOLS = ("", "binary.k8s.io", BASE64_PROTOCOL)


async def send(peer: Duplex, chunks: AsyncIterator[bytes], *, encoded: bool) -> None:
    """Send all chunks, a message each, and close. What the client says is of no interest, but its end is the end."""
    socket = WebSocket(peer)

    async def write() -> None:
        async for chunk in chunks:
            await socket.send(base64.b64encode(chunk) if encoded else chunk, text=encoded)
        await socket.close()

    async def listen() -> None:
        async for _ in socket.pieces():
            pass

    tasks = {asyncio.ensure_future(write()), asyncio.ensure_future(listen())}
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        # A client that has gone is how most of them end.
        await asyncio.gather(*tasks, return_exceptions=True)
        close = getattr(chunks, "aclose", None)
        if close is not None:
            await close()
