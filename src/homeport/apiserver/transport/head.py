"""The head of an answer as it goes on the wire."""

from __future__ import annotations

from functools import lru_cache

from homeport.apiserver.answers import status_line
from homeport.kube.wire import Response

_REMEMBERED = 64
"""The length of headers' values that are remembered as they go on the wire: most answers have the same few."""


def head_of(response: Response, date: bytes) -> list[bytes]:
    """The status line and the headers that `response` has whatever its body is, to be joined with what follows. `date`
    is that of the answer."""
    head = [status_line(response.status), b"date: ", date, b"\r\n"]
    for name, value in response.headers.items():
        head.append(_remembered(name, value) if len(value) <= _REMEMBERED else _header(name, value))
    for name, value in response.repeated:
        head.append(_header(name, value))
    return head


def _header(name: str, value: str) -> bytes:
    """One header and its line end."""
    if "\r" in value or "\n" in value:
        value = value.replace("\r", " ").replace("\n", " ")
    return f"{name}: {value}\r\n".encode("utf-8", "replace")


_remembered = lru_cache(maxsize=1024)(_header)
