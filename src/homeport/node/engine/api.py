"""The Docker Engine API over a unix socket, as Docker and Podman both serve it.

https://docs.docker.com/reference/api/engine/version/v1.41/
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import socket
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from homeport.client.connection import Connection, Stale, encode_request
from homeport.client.transport import Unreachable
from homeport.kube.wire import Request, Response

VERSION = "v1.41"
"""The oldest that has everything that is used here: Docker 20.10, Podman 3."""
_HOST = "docker"


class EngineError(Exception):
    """The engine refused; the text is its own. `status` is HTTP's, 0 if the engine can't be reached."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class Engine:
    """A Docker or Podman engine at the unix socket `path`."""

    def __init__(self, path: str) -> None:
        self.path = path

    async def request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | bytes | None = None,
        *,
        query: Mapping[str, str] | None = None,
    ) -> Any:
        """The answer's JSON; None if it has none, or is an id alone (as some of Podman's). Raises EngineError."""
        response = await self._send(method, path, body, query)
        content = (await _whole(response)).strip()
        _check(response, content)
        return None if not content or content.isalnum() else json.loads(content)

    async def described(self, container: str) -> Mapping[str, Any] | None:
        """What the engine says of a container, by its id or name; None if there is none. Raises EngineError."""
        try:
            found: Mapping[str, Any] = await self.request("GET", f"/containers/{container}/json")
        except EngineError as error:
            if error.status == 404:
                return None
            raise
        return found

    async def lines(
        self, method: str, path: str, body: bytes | None = None, *, query: Mapping[str, str] | None = None
    ) -> AsyncGenerator[dict[str, Any], None]:
        """The answer's JSON objects, one after the other, as they come. Raises EngineError."""
        rest = b""
        async with contextlib.aclosing(self.stream(method, path, body, query=query)) as chunks:
            async for chunk in chunks:
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    if line.strip():
                        yield json.loads(line)
        if rest.strip():
            yield json.loads(rest)

    async def stream(
        self, method: str, path: str, body: bytes | None = None, *, query: Mapping[str, str] | None = None
    ) -> AsyncGenerator[bytes, None]:
        """The answer's body as it comes. Raises EngineError."""
        response = await self._send(method, path, body, query)
        if response.status >= 300:
            _check(response, await _whole(response))
        if isinstance(response.body, bytes):
            yield response.body
            return
        try:
            async for chunk in response.body:
                yield chunk
        except Unreachable as error:
            raise EngineError(str(error)) from error
        finally:
            close = getattr(response.body, "aclose", None)
            if close is not None:
                await close()

    async def hijack(
        self, path: str, body: Mapping[str, Any] | None = None, *, query: Mapping[str, str] | None = None
    ) -> tuple[socket.socket, bytes]:
        """Ask for a connection that is no longer HTTP: the socket, non-blocking, and what has come already.

        Raises EngineError.
        """
        loop = asyncio.get_running_loop()
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.setblocking(False)
        try:
            await loop.sock_connect(connection, self.path)
            await loop.sock_sendall(connection, _encode("POST", path, body, query, connection="Upgrade", upgrade="tcp"))
            data = b""
            while b"\r\n\r\n" not in data:
                data += await self._receive(connection)
            head, _, rest = data.partition(b"\r\n\r\n")
            status = int(head.split(b" ", 2)[1])
            if status in (101, 200):
                return connection, rest
            length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
            while length is not None and len(rest) < int(length[1]):
                rest += await self._receive(connection)
            raise _refusal(status, rest)
        except OSError as error:
            connection.close()
            raise self._unreachable(error) from error
        except BaseException:
            connection.close()
            raise

    async def _receive(self, connection: socket.socket) -> bytes:
        part = await asyncio.get_running_loop().sock_recv(connection, 65536)
        if not part:
            raise EngineError(f"{self.path}: the engine closed the connection")
        return part

    async def _send(
        self, method: str, path: str, body: Mapping[str, Any] | bytes | None, query: Mapping[str, str] | None
    ) -> Response:
        try:
            # One for each request: it costs next to nothing here, and none has been closed when it is needed.
            _, connection = await asyncio.get_running_loop().create_unix_connection(
                lambda: Connection(self.path), self.path
            )
        except OSError as error:
            raise self._unreachable(error) from error
        try:
            response = await connection.exchange(method, _encode(method, path, body, query, connection="close"))
        except (Stale, Unreachable) as error:
            connection.close()
            raise EngineError(str(error) or f"{self.path}: the engine closed the connection") from error
        if isinstance(response.body, bytes):
            connection.close()
        return response

    def _unreachable(self, error: OSError) -> EngineError:
        return EngineError(f"{self.path}: {os.strerror(error.errno) if error.errno else error}")


def _encode(
    method: str, path: str, body: Mapping[str, Any] | bytes | None, query: Mapping[str, str] | None, **headers: str
) -> bytes:
    content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    headers["content-type"] = "application/x-tar" if isinstance(body, bytes) else "application/json"
    request = Request(method, f"/{VERSION}{path}", tuple((query or {}).items()), headers, content)
    return encode_request(request, _HOST, ())


async def _whole(response: Response) -> bytes:
    if isinstance(response.body, bytes):
        return response.body
    try:
        return b"".join([chunk async for chunk in response.body])
    except Unreachable as error:
        raise EngineError(str(error)) from error


def _check(response: Response, content: bytes) -> None:
    """Raises EngineError if the answer is an error."""
    if response.status >= 300 and response.status != 304:
        raise _refusal(response.status, content)


def _refusal(status: int, content: bytes) -> EngineError:
    """With the engine's own words."""
    try:
        text = str(json.loads(content)["message"])
    except (ValueError, KeyError, TypeError):
        text = content.decode(errors="replace").strip() or f"HTTP status {status}"
    return EngineError(text, status)
