"""Large answers in gzip, for clients that ask for it. Never streams: a watch or a log has to arrive as it happens.

As in kube-apiserver (``endpoints/handlers/responsewriters``) only from 128 KiB on, and at the fastest level.
Compressing takes longer than everything else about a large list, so it is done in a worker thread, piece by piece:
zlib lets go of the interpreter meanwhile.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator

from homeport.kube.wire import Request, Response

LEAST = 128 << 10
"""Smaller answers are sent as they are; in bytes."""
_LEVEL = 1
_GZIP = 31
"""zlib's number for its largest window with a gzip header."""
_PIECE = 256 << 10
"""What one call into the thread compresses: some milliseconds of work."""


def accepts_gzip(header: str | None) -> bool:
    """Whether an ``Accept-Encoding`` header takes gzip."""
    if not header:
        return False
    for part in header.lower().split(","):
        coding, _, parameters = part.partition(";")
        if coding.strip() == "gzip":
            return parameters.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


def compress(request: Request, response: Response) -> Response:
    """`response`, compressed if it is large and the client takes that. A streamed body counts as large by its
    ``Content-Length``; one without is a stream."""
    headers, body = response.headers, response.body
    size = len(body) if isinstance(body, bytes) else int(headers.get("content-length", 0))
    if size < LEAST or response.status != 200 or "content-encoding" in headers:
        return response
    if not accepts_gzip(request.headers.get("accept-encoding")) or request.method == "HEAD":
        return response
    headers.pop("content-length", None)
    headers["content-encoding"] = "gzip"
    headers["vary"] = "Accept-Encoding"
    response.body = _gzip(_pieces(body) if isinstance(body, bytes) else body)
    return response


async def _pieces(body: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(body), _PIECE):
        yield body[at : at + _PIECE]


async def _gzip(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
    try:
        async for piece in body:
            packed = await asyncio.to_thread(packer.compress, piece)
            if packed:
                yield packed
        yield packer.flush()
    finally:
        close = getattr(body, "aclose", None)
        if close is not None:
            await close()
