"""One exchange with a server: a request with what every request has, and an answer or an error."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import msgspec

from homeport import __version__
from homeport.client.transport import Transport, Unreachable, collect
from homeport.kube.errors import ApiError, InternalError
from homeport.kube.meta import Object
from homeport.kube.wire import NOT_JSON, Request, Response

JSON = "application/json"
_MOST_DIGITS = 9
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
decode_object = msgspec.json.Decoder(dict[str, Any]).decode


class Exchanges:
    """Over one transport. `timeout`: seconds for a whole exchange, of a stream until its answer starts. Every method
    raises ApiError for an error status, and Unreachable without an answer."""

    def __init__(self, transport: Transport, timeout: float) -> None:
        self._transport = transport
        self._timeout = timeout
        self._user_agent = f"homeport/{__version__}"

    def request(
        self,
        method: str,
        path: str,
        query: tuple[tuple[str, str], ...],
        body: Any = None,
        content_type: str = JSON,
        headers: Mapping[str, str] | None = None,
    ) -> Request:
        """A request with what every one has. `body`: bytes, or what is to be sent as JSON."""
        sent = {"accept": JSON, "user-agent": self._user_agent}
        data = b""
        if body is not None:
            data = body if isinstance(body, bytes) else _encode(body)
            sent["content-type"] = content_type
        if headers:
            sent.update(headers)
        return Request(method, path, query, sent, data)

    async def object(
        self,
        method: str,
        path: str,
        query: tuple[tuple[str, str], ...] = (),
        body: Any = None,
        content_type: str = JSON,
        headers: Mapping[str, str] | None = None,
    ) -> Object:
        """The answer, which has to be a JSON object."""
        data = await self.body(method, path, query, body, content_type, headers)
        try:
            return decode_object(data)
        except NOT_JSON as error:
            raise InternalError(f"{method} {path}: the server's answer is no JSON object: {error}") from error

    async def body(
        self,
        method: str,
        path: str,
        query: tuple[tuple[str, str], ...] = (),
        body: Any = None,
        content_type: str = JSON,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        """The answer's body."""
        request = self.request(method, path, query, body, content_type, headers)
        data: bytes = await self._in_time(request, lambda: self._exchange(request))
        return data

    async def _exchange(self, request: Request) -> bytes:
        response = await self._transport.send(request)
        data = await collect(response.body)
        if response.status >= 300:
            raise error_of(request, response, data)
        return data

    async def open(self, request: Request) -> AsyncIterator[bytes]:
        """The answer's body as it comes; to be discarded by whoever does not read it to the end."""
        response = await self._in_time(request, lambda: self._transport.send(request))
        if response.status >= 300:
            raise error_of(request, response, await collect(response.body))
        return _once(response.body) if isinstance(response.body, bytes) else response.body

    async def _in_time(self, request: Request, call: Callable[[], Awaitable[Any]]) -> Any:
        try:
            async with asyncio.timeout(self._timeout):
                return await call()
        except TimeoutError as error:
            raise Unreachable(f"{request.method} {request.path}: no answer within {self._timeout:g} s") from error


async def _once(data: bytes) -> AsyncIterator[bytes]:
    if data:
        yield data


def error_of(request: Request, response: Response, data: bytes) -> ApiError:
    """The error of an answer: its Status, or for a proxy's page its first line."""
    try:
        status = _decode(data)
    except NOT_JSON:
        status = None
    if not isinstance(status, dict) or "message" not in status:
        text = data.decode(errors="replace").strip().split("\n", 1)[0][:200]
        message = f"{request.method} {request.path}: the server answered {response.status}"
        status = {"code": response.status, "message": f"{message}: {text}" if text else message}
    error = ApiError.from_status(status, response.status)
    if error.retry_after is None:
        after = header(response.headers, "retry-after")
        if after.isascii() and after.isdigit() and len(after) < _MOST_DIGITS:
            error.details["retryAfterSeconds"] = int(after)
    return error


def header(headers: Mapping[str, str], lower_name: str) -> str:
    """A header's value whatever the case of its name; empty without."""
    value = headers.get(lower_name)
    if value is not None:
        return value
    return next((text for key, text in headers.items() if key.lower() == lower_name), "")
