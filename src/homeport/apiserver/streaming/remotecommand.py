"""Commands in containers, and the containers' own processes, at the far end of a connection.

Two ways to carry the streams, one conversation (upstream: ``cri/streaming/remotecommand``): a WebSocket with numbered
channels, or SPDY with a stream for each. At the end goes a ``Status`` with the exit code.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from homeport.apiserver.node import Reader, Session, Writer
from homeport.apiserver.streaming.channels import CLOSE_CHANNEL, Channels, WebSocket
from homeport.apiserver.streaming.pipe import Pipe
from homeport.apiserver.streaming.session import SpdySession, Stream
from homeport.kube.errors import ApiError, BadRequest
from homeport.kube.meta import Object
from homeport.kube.wire import Duplex

STDIN, STDOUT, STDERR, ERROR, RESIZE = range(5)
_OUTPUTS = {"stdout": STDOUT, "stderr": STDERR}
_STREAM_SECONDS = 30.0
"""How long a SPDY client may take to open its streams."""
_FINISH_SECONDS = 10.0
"""How long a client may take to close once it has been told how its command ended."""
_MOST_SIZES = 4096
_DECODER = json.JSONDecoder()
"""Bytes of sizes of a terminal that make no sense yet."""
WEBSOCKET_PROTOCOLS = (
    "v5.channel.k8s.io",
    "v4.channel.k8s.io",
    "v4.base64.channel.k8s.io",
    "channel.k8s.io",
    "base64.channel.k8s.io",
    "",
)
SPDY_PROTOCOLS = ("v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io")
SUCCESS: Object = {"metadata": {}, "status": "Success"}


class Options(msgspec.Struct, frozen=True):
    """What a client asks for (upstream: ``core/v1`` PodExecOptions and PodAttachOptions)."""

    container: str = ""
    command: tuple[str, ...] = ()
    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    tty: bool = False


def options(query: Sequence[tuple[str, str]]) -> Options:
    """The options in a query. Raises BadRequest."""

    def flag(name: str) -> bool:
        value = next((value for key, value in query if key == name), "")
        return value.lower() in ("1", "true", "t")

    tty = flag("tty")
    found = Options(
        next((value for key, value in query if key == "container"), ""),
        tuple(value for key, value in query if key == "command"),
        flag("stdin"),
        flag("stdout"),
        # A terminal has one output.
        flag("stderr") and not tty,
        tty,
    )
    if not (found.stdin or found.stdout or found.stderr):
        raise BadRequest("you must specify at least 1 of stdin, stdout, stderr")
    return found


class Size(NamedTuple):
    rows: int
    columns: int


class Client(Protocol):
    """A client's streams, whatever carries them."""

    async def serve(self) -> None:
        """Take what the client sends until it goes. Raises ConnectionError."""

    async def ready(self) -> None:
        """Return once the client can be written to. Raises TimeoutError."""

    @property
    def stdin(self) -> Pipe | Stream: ...

    async def write(self, output: str, data: bytes) -> None:
        """`output` is ``stdout`` or ``stderr``. Raises ConnectionError."""

    def sizes(self) -> AsyncIterator[Size]:
        """The terminal's size, each time it changes."""

    async def finish(self, status: Object) -> None:
        """Say how it ended, and that there is no more."""


class WebSocketClient:
    def __init__(self, peer: Duplex, protocol: str, wanted: Options) -> None:
        self._socket = WebSocket(peer)
        self._channels = Channels(self._socket, encoded="base64" in protocol)
        self._protocol = protocol
        self._wanted = wanted
        self.stdin = Pipe()
        self._sizes = Pipe(_MOST_SIZES)

    async def serve(self) -> None:
        try:
            async for channel, data in self._channels.messages():
                if channel == STDIN and self._wanted.stdin:
                    await self.stdin.write(data)
                elif channel == RESIZE and self._wanted.tty:
                    await self._sizes.write(data)
                elif channel == CLOSE_CHANNEL and self._protocol.startswith("v5.") and data[0] == STDIN:
                    self.stdin.end()
        finally:
            self.stdin.end()
            self._sizes.end()

    async def ready(self) -> None:
        # Upstream says so too that the connection stands: clients have come to wait for it.
        channel = STDOUT if self._wanted.stdout else STDERR if self._wanted.stderr else ERROR
        await self._channels.send(channel, b"")

    async def write(self, output: str, data: bytes) -> None:
        await self._channels.send(_OUTPUTS[output], data)

    def sizes(self) -> AsyncIterator[Size]:
        return _sizes(self._sizes)

    async def finish(self, status: Object) -> None:
        self.stdin.discard()
        self._sizes.discard()
        text = _status_text(status, self._protocol[:3] in ("v4.", "v5."))
        if text:
            await self._channels.send(ERROR, text)
        await self._socket.close()


class SpdyClient:
    def __init__(self, peer: Duplex, protocol: str, wanted: Options) -> None:
        self._session = SpdySession(peer, self._opened)
        self._protocol = protocol
        names = {"error"} | {name for name in ("stdin", "stdout", "stderr") if getattr(wanted, name)}
        if wanted.tty and protocol[:2] in ("v3", "v4"):
            names.add("resize")
        self._expected = frozenset(names)
        self._streams: dict[str, Stream] = {}
        self._complete = asyncio.Event()

    def _opened(self, stream: Stream) -> None:
        name = stream.headers.get("streamtype", "")
        if name in self._expected and name not in self._streams:
            self._streams[name] = stream
            if name in ("error", "stdout", "stderr"):
                stream.discard()
        else:
            stream.discard()
        if len(self._streams) == len(self._expected):
            self._complete.set()

    async def serve(self) -> None:
        await self._session.run()

    async def ready(self) -> None:
        async with asyncio.timeout(_STREAM_SECONDS):
            await self._complete.wait()

    @property
    def stdin(self) -> Pipe | Stream:
        return self._streams["stdin"]

    async def write(self, output: str, data: bytes) -> None:
        await self._streams[output].write(data)

    async def sizes(self) -> AsyncIterator[Size]:
        stream = self._streams.get("resize")
        if stream is not None:
            async for size in _sizes(stream):
                yield size

    async def finish(self, status: Object) -> None:
        error = self._streams["error"]
        text = _status_text(status, self._protocol.startswith("v4."))
        if text:
            await error.write(text)
        for stream in self._streams.values():
            stream.discard()
            await stream.close()
        await self._session.leave()


def _status_text(status: Object, structured: bool) -> bytes:
    """Before v4 a failure was told as its message, and success by nothing."""
    if structured:
        return msgspec.json.encode(status)
    return b"" if status["status"] == "Success" else str(status.get("message", "")).encode()


async def _sizes(source: Pipe | Stream) -> AsyncIterator[Size]:
    """``{"Width": 80, "Height": 24}`` one after the other, cut anywhere."""
    text = ""
    while data := await source.read():
        found, text = read_sizes(text + data.decode(errors="replace"))
        for size in found:
            yield size
        if len(text) > _MOST_SIZES:
            return


def read_sizes(text: str) -> tuple[list[Size], str]:
    """The sizes at the beginning of `text`, and what is left: the beginning of another, or what never becomes one."""
    sizes = []
    while text := text.lstrip():
        try:
            found, end = _DECODER.raw_decode(text)
        except (ValueError, RecursionError):
            break
        text = text[end:]
        if (size := _size(found)) is not None:
            sizes.append(size)
    return sizes, text


def _size(found: Any) -> Size | None:
    if not isinstance(found, dict):
        return None
    rows, columns = found.get("Height"), found.get("Width")
    if not (isinstance(rows, int) and isinstance(columns, int)):
        return None
    return Size(rows, columns) if 0 < rows < 1 << 16 and 0 < columns < 1 << 16 else None


Start = Callable[[], Awaitable[Session]]


async def converse(client: Client, start: Start, *, tells_exit_code: bool) -> None:
    """The whole of it, from the first byte to the connection's end. `start` begins the process, or attaches to it; a
    command's exit code is told, that of a container is not (its pod's status has it)."""
    serving = asyncio.create_task(client.serve())
    talking = asyncio.create_task(_talk(client, start, tells_exit_code))
    try:
        await asyncio.wait((serving, talking), return_when=asyncio.FIRST_COMPLETED)
        if talking.done() and talking.result():
            # The client closes once it has read the end.
            await asyncio.wait((serving,), timeout=_FINISH_SECONDS)
    finally:
        for task in (serving, talking):
            task.cancel()
        await asyncio.gather(serving, talking, return_exceptions=True)


async def _talk(client: Client, start: Start, tells_exit_code: bool) -> bool:
    """True once the client has been told the end."""
    try:
        await client.ready()
        try:
            session = await start()
        except ApiError as error:
            await client.finish(failure(error))
            return True
        try:
            status = await _carry(client, session)
        finally:
            session.close()
        await client.finish(status if tells_exit_code else SUCCESS)
        return True
    except (ConnectionError, TimeoutError):
        return False


async def _carry(client: Client, session: Session) -> Object:
    """Move bytes until the process has ended and its last output has been sent."""
    asides = [asyncio.create_task(_resize(client, session))]
    if session.stdin is not None:
        asides.append(asyncio.create_task(_feed(client.stdin, session.stdin)))
    outputs = [
        asyncio.create_task(_drain(client, name, reader))
        for name, reader in (("stdout", session.stdout), ("stderr", session.stderr))
        if reader is not None
    ]
    try:
        try:
            code = await _first_error(outputs, session.wait())
        except ConnectionError as error:
            if any(task.done() and not task.cancelled() and task.exception() is error for task in outputs):
                raise
            return failure(ApiError(f"the command's end is not known: {error}"))
        await asyncio.gather(*outputs)
        return exit_status(code)
    finally:
        for task in (*asides, *outputs):
            task.cancel()
        await asyncio.gather(*asides, *outputs, return_exceptions=True)


async def _first_error(tasks: Sequence[asyncio.Task[None]], ending: Awaitable[int]) -> int:
    """The result of `ending`; or the exception of one of the tasks, if that comes first."""
    end = asyncio.ensure_future(ending)
    pending: set[asyncio.Future[Any]] = {end, *tasks}
    try:
        while not end.done():
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in done - {end}:
                task.result()
        return end.result()
    finally:
        end.cancel()


async def _drain(client: Client, name: str, reader: Reader) -> None:
    while data := await reader.read():
        await client.write(name, data)


async def _feed(source: Pipe | Stream, writer: Writer) -> None:
    try:
        while data := await source.read():
            await writer.write(data)
    except BrokenPipeError:
        # The process reads no more; what comes is of no use to anybody.
        source.discard()
    except ConnectionError:
        return  # the client has gone, as whoever serves it will see
    finally:
        writer.close()


async def _resize(client: Client, session: Session) -> None:
    try:
        async for size in client.sizes():
            session.resize(size.rows, size.columns)
    except ConnectionError:
        return  # as above


def exit_status(code: int) -> Object:
    """How a command ended, as clients read it."""
    if code == 0:
        return SUCCESS
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: exit status {code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }


def failure(error: ApiError) -> Object:
    """Why there is no process to talk to (upstream: ``apierrors.NewInternalError``)."""
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"Internal error occurred: {error.message}",
        "reason": "InternalError",
        "details": {"causes": [{"message": error.message}]},
        "code": 500,
    }


def spdy_protocol(headers: Mapping[str, str]) -> str | None:
    """The version that both sides know, by the client's preference; upstream's oldest if it names none. None if nothing
    fits."""
    named = [name.strip() for name in headers.get("x-stream-protocol-version", "").split(",") if name.strip()]
    return next((name for name in named or ["channel.k8s.io"] if name in SPDY_PROTOCOLS), None)
