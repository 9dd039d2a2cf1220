"""One HTTP/1.1 request on one connection: what a probe needs of a client, and no more."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Mapping, Sequence

import msgspec

from homeport.node.handlers.target import LONGEST_OUTPUT

_LONGEST_HEAD = 1 << 20
"""Bytes of a response's head, as Go's client takes at most."""


class Malformed(Exception):
    """The server's answer is none; the text says why."""


class Answer(msgspec.Struct, frozen=True):
    status: int
    headers: Mapping[str, str]
    """By names in lower case."""
    body: bytes
    """Its beginning."""


def unverified() -> ssl.SSLContext:
    """TLS without a look at the certificate: a probe asks whether somebody serves, not who."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def streams(
    connected: socket.socket, host: str, context: ssl.SSLContext | None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """The connection as streams, over TLS with a `context`. Takes the socket over. Raises OSError."""
    try:
        name = host if context is not None else None
        return await asyncio.open_connection(sock=connected, ssl=context, server_hostname=name, limit=_LONGEST_HEAD)
    except BaseException:
        connected.close()
        raise


def request(method: str, target: str, headers: Sequence[tuple[str, str]]) -> bytes:
    """The head of a request without a body."""
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", errors="replace")


async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> Answer:
    """Send a request and read the answer, of its body no more than the beginning. Raises Malformed or OSError."""
    writer.write(head)
    await writer.drain()
    while True:
        try:
            text = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except asyncio.IncompleteReadError as error:
            raise Malformed("EOF" if not error.partial else "unexpected EOF") from None
        except asyncio.LimitOverrunError:
            raise Malformed("server response headers exceeded 1048576 bytes; aborted") from None
        status, headers = _head(text)
        if status >= 200 or status == 101:
            break
    return Answer(status, headers, await _body(reader, status, headers))


def _head(text: str) -> tuple[int, dict[str, str]]:
    first, *lines = text.split("\r\n")
    version, _, rest = first.partition(" ")
    code = rest[:3]
    if not version.startswith("HTTP/1.") or not code.isdigit() or len(code) != 3:
        raise Malformed(f"malformed HTTP response {first[:80]!r}")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            headers.setdefault(name.strip().lower(), value.strip())
    return int(code), headers


async def _body(reader: asyncio.StreamReader, status: int, headers: Mapping[str, str]) -> bytes:
    """Up to the length that is told, the last chunk, the end of the connection, or what is of interest."""
    if status in (204, 304):
        return b""
    chunked = headers.get("transfer-encoding", "").lower() == "chunked"
    length = headers.get("content-length", "")
    wanted = int(length) if length.isdigit() and not chunked else None
    if chunked:
        return await _chunks(reader)
    data = bytearray()
    most = LONGEST_OUTPUT if wanted is None else min(wanted, LONGEST_OUTPUT)
    while len(data) < most:
        part = await reader.read(most - len(data))
        if not part:
            if wanted is not None:
                raise Malformed("unexpected EOF")
            break
        data += part
    return bytes(data)


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    data = bytearray()
    try:
        while len(data) < LONGEST_OUTPUT:
            size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
            if size == 0:
                break
            data += await reader.readexactly(min(size, LONGEST_OUTPUT))
            if size > LONGEST_OUTPUT:
                break
            await reader.readexactly(2)
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        raise Malformed("unexpected EOF") from None
    except ValueError:
        raise Malformed("malformed chunked encoding") from None
    return bytes(data[:LONGEST_OUTPUT])
