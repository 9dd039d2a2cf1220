"""How long a request may take: as its parameter ``timeout`` says, and never longer than a minute.

Upstream: ``apiserver/pkg/endpoints/filters/request_deadline.go``. What lasts as long as its client likes (watches,
streams) has other limits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from homeport.apiserver.measure import is_long_running
from homeport.apiserver.routes import RequestInfo
from homeport.kube import durations
from homeport.kube.errors import BadRequest, Timeout
from homeport.kube.wire import Request, Response

LONGEST = 60.0
"""Seconds that a request may take, as upstream's default."""


def asked(request: Request, info: RequestInfo) -> float | None:
    """Seconds that the client gives the request, if it says so. Raises BadRequest."""
    for key, value in request.query:
        if key == "timeout" and value and not is_long_running(info):
            try:
                seconds = durations.seconds(value)
            except ValueError as error:
                raise BadRequest(f"invalid timeout specified in the request URL - {error}") from error
            return seconds if 0 < seconds < LONGEST else LONGEST
    return None


async def within(seconds: float, answer: Awaitable[Response]) -> Response:
    """`answer`, if it is there in time. Raises Timeout."""
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            return await answer
    except TimeoutError as error:
        if not limit.expired():
            raise
        words = "Timeout: request did not complete within the allotted timeout"
        raise Timeout(words, retry_after=0) from error
