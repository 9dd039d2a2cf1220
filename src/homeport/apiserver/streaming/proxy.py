"""Requests passed on to pods and services, as upstream's proxy does (``apimachinery/pkg/util/proxy``).

The answer is a stream, and so is a connection that switches protocols; only pages whose links are led through the proxy
are kept whole. Credentials for this server never reach the backend.
"""

from __future__ import annotations

import asyncio
import ssl
import zlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import NamedTuple
from urllib.parse import quote, urlencode

from homeport.apiserver.authn import TOKEN_PROTOCOL
from homeport.apiserver.context import Api
from homeport.apiserver.streaming import dial, links
from homeport.apiserver.streaming.backend import Exchange
from homeport.kube.errors import InternalError, ServiceUnavailable
from homeport.kube.wire import Duplex, Request, Response

_HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_OURS = ("authorization", "impersonate-", "x-remote-", "expect", "content-length", "http2-settings")
"""Headers, or the beginnings of their names, that are meant for this server."""
_MOST_PAGE = 2 << 20
"""Bytes of a page whose links are looked at; a longer one is passed on as it is."""
_SAFE_IN_PATH = "/:@!$&'()*+,;=~-._"


class Backend(NamedTuple):
    addresses: Sequence[dial.Address]
    scheme: str
    prefix: str
    """The path of the proxy itself, without a slash at its end."""
    path: str
    """The path behind it; empty if the request's ends with the proxy's own name."""


async def forward(api: Api, request: Request, backend: Backend) -> Response:
    """The backend's answer. Raises ServiceUnavailable or InternalError if there is none."""
    upgrade = asks_for_upgrade(request)
    if not backend.path and not upgrade and request.method in ("GET", "HEAD"):
        # Else a page's relative links would lead past it.
        asked = f"?{query(request)}" if request.query else ""
        return Response(301, {"location": f"{quoted(backend.prefix)}/{asked}"})
    tls = _any_certificate() if backend.scheme == "https" else None
    try:
        reader, writer = await dial.open_address(api, backend.addresses, tls=tls, server_hostname="")
    except ssl.SSLError as error:
        raise ServiceUnavailable(f"error trying to reach service: {error.reason or error}") from error
    exchange = Exchange(reader, writer)
    try:
        headers = request_headers(request, backend, upgrade=upgrade)
        target = (quoted(backend.path) or "/") + (f"?{query(request)}" if request.query else "")
        exchange.send(request.method, target, headers, request.body)
        await exchange.receive(is_head=request.method == "HEAD", upgrade=upgrade)
        if upgrade:
            return upgraded(request, exchange, reader, writer)
        return await _answer(request, backend, exchange)
    except BaseException:
        exchange.close()
        raise


def _any_certificate() -> ssl.SSLContext:
    """A pod's certificate is nobody's to check: upstream's proxy takes any."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def asks_for_upgrade(request: Request) -> bool:
    tokens = [token.strip().lower() for token in request.headers.get("connection", "").split(",")]
    return "upgrade" in tokens and "upgrade" in request.headers


def query(request: Request) -> str:
    return urlencode(request.query)


def quoted(path: str) -> str:
    return quote(path, safe=_SAFE_IN_PATH)


def request_headers(request: Request, backend: Backend, *, upgrade: bool) -> dict[str, str]:
    named = {token.strip().lower() for token in request.headers.get("connection", "").split(",")}
    headers = {
        name: value
        for name, value in request.headers.items()
        if name not in _HOP_BY_HOP and name not in named and not name.startswith(_OURS)
    }
    headers.setdefault("host", _authority(backend.addresses[0]))
    if "trailers" in request.headers.get("te", "").lower():
        headers["te"] = "trailers"
    offered = headers.pop("sec-websocket-protocol", "")
    kept = [name.strip() for name in offered.split(",") if not name.strip().startswith(TOKEN_PROTOCOL)]
    if any(kept):
        headers["sec-websocket-protocol"] = ", ".join(kept)
    if upgrade:
        headers |= {"connection": "Upgrade", "upgrade": request.headers["upgrade"]}
    else:
        headers["connection"] = "close"
        if request.body or request.method in ("POST", "PUT", "PATCH"):
            headers["content-length"] = str(len(request.body))
    headers["x-forwarded-uri"] = quoted(backend.prefix + backend.path)
    if "host" in request.headers:
        headers["x-forwarded-host"] = request.headers["host"]
    headers["x-forwarded-proto"] = "https"
    return headers


def _authority(address: dial.Address) -> str:
    host = f"[{address.host}]" if ":" in address.host else address.host
    return f"{host}:{address.port}"


async def _answer(request: Request, backend: Backend, exchange: Exchange) -> Response:
    headers, repeated = answer_headers(exchange)
    hosts = frozenset({_authority(backend.addresses[0]), request.headers.get("host", "")})
    if "location" in headers:
        headers["location"] = links.rewrite_url(headers["location"], backend.prefix, hosts, "", "")
    body: AsyncIterator[bytes] | bytes = exchange.body()
    media = headers.get("content-type", "").partition(";")[0].strip()
    if media == "text/html" and "location" not in headers and request.method != "HEAD":
        body = await _page(exchange, headers, lambda page: links.rewrite_html(page, backend.prefix, hosts))
    return Response(exchange.status, headers, body, repeated=repeated)


def answer_headers(exchange: Exchange) -> tuple[dict[str, str], tuple[tuple[str, str], ...]]:
    named = {
        token.strip().lower() for name, value in exchange.headers if name == "connection" for token in value.split(",")
    }
    headers: dict[str, str] = {}
    repeated = []
    for name, value in exchange.headers:
        if name in _HOP_BY_HOP or name in named or name == "date":
            continue
        if name == "set-cookie":
            repeated.append((name, value))
        else:
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers, tuple(repeated)


async def _page(
    exchange: Exchange, headers: dict[str, str], rewrite: Callable[[bytes], bytes]
) -> AsyncIterator[bytes] | bytes:
    """A page with its links rewritten; as it is if it is too long, or in an encoding that isn't understood."""
    encoding = headers.get("content-encoding", "")
    body = exchange.body()
    if encoding not in ("", "identity", "gzip"):
        return body
    page = bytearray()
    async for part in body:
        page += part
        if len(page) > _MOST_PAGE:
            exchange.unread(bytes(page))
            return body
    plain = bytes(page)
    if encoding == "gzip":
        unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
        try:
            plain = unpacker.decompress(plain, _MOST_PAGE)
        except zlib.error:
            return bytes(page)
        if unpacker.unconsumed_tail or not unpacker.eof:
            return bytes(page)
        del headers["content-encoding"]
    headers.pop("content-length", None)
    return await asyncio.to_thread(rewrite, plain)


def upgraded(
    request: Request, exchange: Exchange, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> Response:
    """The answer to a request for another protocol. Raises InternalError if the backend ignores that."""
    headers, repeated = answer_headers(exchange)
    if exchange.status != 101:
        if exchange.status < 400:
            raise InternalError(f"Internal error occurred: invalid upgrade response: status code {exchange.status}")
        return Response(exchange.status, headers, exchange.body(), repeated=repeated)
    headers |= {"connection": "Upgrade", "upgrade": dict(exchange.headers).get("upgrade", request.headers["upgrade"])}

    async def talk(peer: Duplex) -> None:
        try:
            await _relay(peer, exchange.leftover, reader, writer)
        finally:
            exchange.close()

    return Response(101, headers, upgrade=talk, repeated=repeated)


async def _relay(peer: Duplex, first: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carry bytes both ways until one side has ended."""

    async def up() -> None:
        while data := await peer.read():
            writer.write(data)
            await writer.drain()

    async def down() -> None:
        if first:
            await peer.write(first)
        while data := await reader.read(65536):
            await peer.write(data)

    tasks = (asyncio.create_task(up()), asyncio.create_task(down()))
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        # Whichever way one side went, the other hears of it by the connection's end.
        await asyncio.gather(*tasks, return_exceptions=True)
