"""The HTTP server: a listening socket and its connections.

`connection` has the protocol itself, with `parser` and `head`; nothing else in the API server knows HTTP's framing.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from contextlib import suppress
from socket import SO_KEEPALIVE, SOL_SOCKET, socket
from time import gmtime, strftime, time
from typing import Any

from homeport.apiserver.transport.connection import Connection
from homeport.apiserver.transport.parser import Limits
from homeport.apiserver.transport.turn import Turn
from homeport.apiserver.transport.unfinished import Unfinished
from homeport.kube.wire import Handler, Request, Response

__all__ = ["HttpServer", "Limits", "serve"]


AtOnce = Callable[[Request, dict[str, Any]], Response | None]
"""The answer to a request, if nothing has to be waited for. What it may remember is the connection's, and the same for
all of its ``GET`` requests with the same headers."""


class HttpServer:
    """A listening socket and its connections. Made by :func:`serve`."""

    def __init__(self, handler: Handler, limits: Limits, at_once: AtOnce = lambda request, memory: None) -> None:
        self.handler = handler
        self.at_once = at_once
        self.limits = limits
        self.connections: set[Connection] = set()
        self.turn = Turn()
        self.unfinished = Unfinished(limits.unfinished_bytes)
        self._listeners: list[asyncio.Server] = []
        self._empty = asyncio.Event()
        self._date = (0, b"")

    async def listen(self, sock: socket, context: ssl.SSLContext | None) -> None:
        """Serve on one more socket, of whatever network."""
        sock.setsockopt(SOL_SOCKET, SO_KEEPALIVE, 1)  # inherited by connections: a vanished peer is noticed
        listener = await asyncio.get_running_loop().create_server(
            lambda: Connection(self),
            sock=sock,
            ssl=context,
            backlog=1024,
            ssl_handshake_timeout=self.limits.handshake_seconds if context else None,
        )
        self._listeners.append(listener)

    def forget(self, connection: Connection) -> None:
        self.connections.discard(connection)
        if not self.connections:
            self._empty.set()

    def date(self) -> bytes:
        """The Date header's value, formatted once a second."""
        now = int(time())
        if now != self._date[0]:
            self._date = (now, strftime("%a, %d %b %Y %H:%M:%S GMT", gmtime(now)).encode())
        return self._date[1]

    async def close(self, grace: float = 5.0) -> None:
        """Take no more connections, answer what was received, end streams; cut the rest off after `grace` seconds."""
        for listener in self._listeners:
            listener.close()
        self._empty.clear()
        for connection in list(self.connections):
            connection.shut_down()
        if self.connections:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), grace)
        for connection in list(self.connections):
            connection.abort()


async def serve(
    handler: Any,
    sock: socket,
    ssl_context: ssl.SSLContext | None = None,
    *,
    limits: Limits | None = None,
) -> HttpServer:
    """Serve `handler` (an :class:`~homeport.apiserver.server.ApiServer` or any ``async (Request) -> Response``).
    One that has a method ``at_once`` is asked for an answer there first.

    `sock` is bound; it is put to listen here and closed by the server. Without `ssl_context` the server speaks plain
    HTTP: for tests only.
    """
    server = HttpServer(getattr(handler, "handle", handler), limits or Limits())
    server.at_once = getattr(handler, "at_once", server.at_once)
    await server.listen(sock, ssl_context)
    return server
