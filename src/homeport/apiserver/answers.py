"""Errors as they go on the wire, and the small vocabulary of HTTP status lines."""

from __future__ import annotations

from functools import cache
from http import HTTPStatus
from typing import Any

import msgspec

from homeport.kube.errors import ApiError, MethodNotAllowed, NotFound
from homeport.kube.wire import Response

JSON = "application/json"

_REASONS = {
    400: "BadRequest",
    405: "MethodNotAllowed",
    408: "Timeout",
    413: "RequestEntityTooLarge",
    429: "TooManyRequests",
    431: "RequestHeaderFieldsTooLarge",
    505: "HTTPVersionNotSupported",
}


@cache
def status_line(code: int) -> bytes:
    """``HTTP/1.1 200 OK`` and its line end."""
    try:
        phrase = HTTPStatus(code).phrase
    except ValueError:
        phrase = "Status"
    return f"HTTP/1.1 {code} {phrase}\r\n".encode()


def status_object(code: int, message: str, reason: str = "") -> dict[str, Any]:
    """A failed ``Status`` for errors that have no class of their own in the error tree."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason or _REASONS.get(code, ""),
        "code": code,
    }


def status_response(code: int, message: str) -> Response:
    """An answer made of :func:`status_object`."""
    return Response(code, {"content-type": JSON}, msgspec.json.encode(status_object(code, message)))


def error_response(error: ApiError) -> Response:
    """The answer for an error of the tree, with ``Retry-After`` where the error invites a retry."""
    status = error.to_status()
    headers = {"content-type": JSON}
    if error.retry_after is not None:
        headers["retry-after"] = str(error.retry_after)
    code = status.get("code")
    return Response(code if isinstance(code, int) else error.code, headers, msgspec.json.encode(status))


def not_served() -> NotFound:
    """For paths, groups, versions and resources that this server hasn't."""
    return NotFound("the server could not find the requested resource")


def not_allowed() -> MethodNotAllowed:
    """For methods that a path hasn't."""
    return MethodNotAllowed("the server does not allow this method on the requested resource")
