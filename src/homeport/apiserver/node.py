"""How the API server reaches what runs pods."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from homeport.apiserver.routes import parse_bool
from homeport.kube import field
from homeport.kube.errors import BadRequest, FieldError, Invalid
from homeport.kube.meta import Object, parse_time

ALL_STREAMS = "All"
_STREAMS = (ALL_STREAMS, "Stderr", "Stdout")


class LogOptions(msgspec.Struct, frozen=True):
    """What part of a log to deliver (upstream: ``core/v1`` PodLogOptions)."""

    follow: bool = False
    previous: bool = False
    """Of the container's attempt before the present one."""
    timestamps: bool = False
    """Begin each line with its RFC 3339 time and a space."""
    tail_lines: int | None = None
    """Only the last so many lines; 0 for none of those that are there."""
    since: datetime | None = None
    """Only lines from this moment on."""
    since_seconds: int | None = None
    """Only lines of the last so many seconds."""
    limit_bytes: int | None = None
    """The API server cuts the stream off itself; here for a node that can save the work."""
    stream: str = ALL_STREAMS
    """``Stdout`` or ``Stderr`` for what was written to that alone."""


class Wanted(Protocol):
    """Which streams of a process a client wants to have."""

    @property
    def stdin(self) -> bool: ...
    @property
    def stdout(self) -> bool: ...
    @property
    def stderr(self) -> bool: ...
    @property
    def tty(self) -> bool:
        """All of them as one terminal."""


class Reader(Protocol):
    async def read(self, limit: int = 65536) -> bytes:
        """What is there; empty at the end."""


class Writer(Protocol):
    async def write(self, data: bytes) -> None:
        """Raises BrokenPipeError once the process can't read it any more."""

    def close(self) -> None: ...


class Session(Protocol):
    """A client at a process in a container. Streams that were not asked for, or that there are none of, are None."""

    @property
    def stdin(self) -> Writer | None: ...
    @property
    def stdout(self) -> Reader | None: ...
    @property
    def stderr(self) -> Reader | None: ...

    def resize(self, rows: int, columns: int) -> None:
        """Of the terminal, if there is one."""

    async def wait(self) -> int:
        """The process's exit code. What it wrote can still be read then, to the end. Raises ConnectionError if nobody
        knows it."""

    def close(self) -> None:
        """Let go. The process goes on, without its streams."""


class NodeProxy(Protocol):
    """Delivers what a node has."""

    async def logs(self, pod: Object, container: str, options: LogOptions) -> AsyncIterator[bytes]:
        """The log as chunks of whole lines; the iterator's end is the log's. It is closed when the reader goes.

        Raises BadRequest for a container that has not started, or that has no previous attempt.
        """

    async def ended(self, namespace: str) -> list[Object]:
        """Jobs' pods that are gone and whose logs are kept, as they ended; of all namespaces if none is given."""

    async def ended_logs(self, pod: tuple[str, str, str], container: str, options: LogOptions) -> AsyncIterator[bytes]:
        """As :meth:`logs`, of such a pod: its namespace, name and uid. Raises BadRequest or NotFound."""

    async def event_files(self, pod: Object, container: str, directory: str, after: str) -> Object:
        """The newest value of each scalar in TensorBoard's event files in a directory of a container: ``scalars``, the
        ``position`` to go on ``after``, and whether there is ``more``. Raises BadRequest or NotFound."""

    async def summary(self) -> Object:
        """What the node and its running containers use now, as the kubelet's ``/stats/summary``; with the seconds that
        the rates are of (``windowSeconds``)."""

    async def dial(self, address: str, port: int) -> socket.socket:
        """A TCP connection to an address that pods can reach, non-blocking. Raises OSError as ``connect`` does."""

    async def connect(self, pod: Object, port: int) -> socket.socket:
        """A TCP connection to the pod's own loopback, non-blocking. Raises OSError as ``connect`` does, and an ApiError
        if the pod does not run."""

    def check_running(self, pod: Object, container: str) -> None:
        """Raises an ApiError in the kubelet's words if no command can be run in the container now."""

    async def execute(self, pod: Object, container: str, command: Sequence[str], wanted: Wanted) -> Session:
        """Run a further command in a container. Raises an ApiError in the kubelet's words if that can't be."""

    async def attach(self, pod: Object, container: str, wanted: Wanted) -> Session:
        """Get at the streams of a container's own process. Raises an ApiError as `execute` does."""


def log_options(query: dict[str, str]) -> LogOptions:
    """The options in a query. Raises BadRequest or Invalid."""
    errors: list[FieldError] = []

    def number(name: str, least: int) -> int | None:
        text = query.get(name)
        if not text:
            return None
        if not (text.isascii() and text.removeprefix("-").isdigit()) or len(text) > 18:
            raise BadRequest(f'{name}: Invalid value: "{text}": it has to be a number')
        value = int(text)
        if value < least:
            detail = "must be greater than 0" if least else "must be greater than or equal to 0"
            errors.append(FieldError(name, "FieldValueInvalid", f"Invalid value: {value}: {detail}"))
        return value

    tail_lines = number("tailLines", 0)
    since_seconds = number("sinceSeconds", 1)
    limit_bytes = number("limitBytes", 1)
    since = None
    if query.get("sinceTime"):
        try:
            since = parse_time(query["sinceTime"])
        except ValueError as error:
            raise BadRequest(f'sinceTime: Invalid value: "{query["sinceTime"]}": it has to be RFC 3339') from error
        if since_seconds is not None:
            text = "Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified"
            errors.append(FieldError("", "FieldValueForbidden", text))
    stream = query.get("stream") or ALL_STREAMS
    if stream not in _STREAMS:
        errors.append(field.not_supported("stream", stream, _STREAMS))
    elif stream != ALL_STREAMS and tail_lines is not None:
        text = "Forbidden: `tailLines` and specific `stream` are mutually exclusive for now"
        errors.append(FieldError("", "FieldValueForbidden", text))
    if errors:
        raise Invalid.of("", "PodLogOptions", "", errors)
    return LogOptions(
        parse_bool(query.get("follow")),
        parse_bool(query.get("previous")),
        parse_bool(query.get("timestamps")),
        tail_lines,
        since,
        since_seconds,
        limit_bytes,
        stream,
    )
